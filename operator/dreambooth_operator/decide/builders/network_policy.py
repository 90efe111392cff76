"""The NetworkPolicy around the pods of a job, which no namespace's own policy could give: it alone knows their peers.

In: peers of the same job, the operator and Prometheus at the trainer's port. Out: those peers, names, and a model hub where the
job names one. Images are pulled and volumes mounted by the node, which no policy concerns.
"""

from ipaddress import ip_network
from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings

HUB_SCHEME = "hf://"
HUB_PORT = 443
DNS_PORT = 53
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has, with its own name."""
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
"""Networks of clusters and clouds, with their metadata services (RFC 1918, 3927, 4193, 4291, 6598)."""


def build_network_policy(owner: Object, job: DreamBoothJob, settings: Settings) -> dict[str, Any]:
    """The NetworkPolicy of a job.

    Args:
        owner: the DreamBoothJob as it stands in the API server.
        job: the same, read.
        settings: what the administrator decides.
    """
    own = names.selector(job.metadata.name, owner["metadata"]["uid"])
    peers = [{"podSelector": {"matchLabels": own}}] if job.spec.resources.nodes > 1 else []
    readers = [_operator(settings.namespace), *map(_namespace, settings.monitoring_namespaces)]
    ingress: list[dict[str, Any]] = [{"from": readers, "ports": [_port("TCP", settings.trainer_port)]}]
    # A library that asks for the name of an address would wait long for an answer that a closed port 53 never gives.
    egress: list[dict[str, Any]] = [{"ports": [_port("UDP", DNS_PORT), _port("TCP", DNS_PORT)]}]
    if peers:
        # NCCL and Gloo choose their ports.
        ingress.append({"from": peers})
        egress.append({"to": peers})
    if _asks_a_hub(job) and settings.hub_networks:
        networks = [_outside(str(network)) for network in settings.hub_networks]
        egress.append({"to": networks, "ports": [_port("TCP", HUB_PORT)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner, names.network_policy(job.metadata.name)),
        "spec": {
            "podSelector": {"matchLabels": own},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _asks_a_hub(job: DreamBoothJob) -> bool:
    evaluation = job.spec.evaluation
    sources = [job.spec.model.source, *([evaluation.encoder] if evaluation.enabled else [])]
    return any(source.startswith(HUB_SCHEME) for source in sources)


def _operator(namespace: str) -> dict[str, Any]:
    return _namespace(namespace) | {"podSelector": {"matchLabels": {"app.kubernetes.io/name": names.OPERATOR}}}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}}


def _outside(cidr: str) -> dict[str, Any]:
    """A network without the private ones inside of it; one that is private itself was meant."""
    network = ip_network(cidr)
    inside = [
        str(one)
        for one in PRIVATE
        if one.version == network.version and one != network and one.subnet_of(network)  # type: ignore[arg-type]
    ]
    return {"ipBlock": {"cidr": cidr, **({"except": inside} if inside else {})}}


def _port(protocol: str, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "port": port}
