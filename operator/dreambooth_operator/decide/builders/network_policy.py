"""Builds the NetworkPolicy that selects the pods of a workload.

Ingress: from the pods of the same workload, and from the operator and Prometheus to the port of the trainer. Egress: to the
pods of the same workload, to DNS, and to services outside of the cluster if the spec names one, such as a model hub. Nodes pull
images and mount volumes; a NetworkPolicy does not affect that.
"""

from ipaddress import ip_network
from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings

DNS_PORT = 53
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label that Kubernetes sets on each namespace to its name."""
PRIVATE = [
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
]
"""Private networks of clusters and clouds, including metadata services (RFC 1918, 3927, 4193, 4291, 6598)."""


def build_network_policy(owner: Object, workload: Workload, program: Program, settings: Settings) -> dict[str, Any]:
    """The NetworkPolicy of a workload.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed.
        program: what its pods run.
        settings: the settings of the operator.
    """
    own = names.selector(owner)
    peers = [{"podSelector": {"matchLabels": own}}] if workload.spec.resources.nodes > 1 else []
    readers = [_operator(settings.namespace), *map(_namespace, settings.monitoring_namespaces)]
    ingress: list[dict[str, Any]] = [{"from": readers, "ports": [_port("TCP", settings.trainer_port)]}]
    # Without DNS, a library that resolves a name would block until a timeout.
    egress: list[dict[str, Any]] = [_dns(settings)]
    if peers:
        # NCCL and Gloo use random ports.
        ingress.append({"from": peers})
        egress.append({"to": peers})
    if program.uses_services and settings.hub_networks:
        networks = [_without_private(str(network)) for network in settings.hub_networks]
        egress.append({"to": networks, "ports": [_port("TCP", port) for port in settings.hub_ports]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner, names.network_policy(workload)),
        "spec": {
            "podSelector": {"matchLabels": own},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _dns(settings: Settings) -> dict[str, Any]:
    blocks = [{"ipBlock": {"cidr": str(network)}} for network in settings.dns_networks]
    servers = [*map(_namespace, settings.dns_namespaces), *blocks]
    ports = {"ports": [_port("UDP", DNS_PORT), _port("TCP", DNS_PORT)]}
    return {"to": servers, **ports} if servers else ports


def _operator(namespace: str) -> dict[str, Any]:
    return _namespace(namespace) | {"podSelector": {"matchLabels": {"app.kubernetes.io/name": names.OPERATOR}}}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}}


def _without_private(cidr: str) -> dict[str, Any]:
    """A network except the private networks that it contains; a network that is itself private is allowed as a whole."""
    network = ip_network(cidr)
    private = [
        str(one)
        for one in PRIVATE
        if one.version == network.version and one != network and one.subnet_of(network)  # type: ignore[arg-type]
    ]
    return {"ipBlock": {"cidr": cidr, **({"except": private} if private else {})}}


def _port(protocol: str, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "port": port}
