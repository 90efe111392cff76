"""Evaluates the NetworkPolicy according to the API reference: which connections are allowed."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from dreambooth_operator.decide.builders.network_policy import build_network_policy
from dreambooth_operator.decide.programs import training_program
from dreambooth_operator.settings import Settings, settings_from
from tests.operator.pieces import OWNER, UID, read

TWO_NODES = {"resources": {"nodes": 2}}
HUB = {"model": {"source": "hf://organisation/model"}}
PEER = {"dreambooth.io/job": "dog", "dreambooth.io/job-uid": UID}
OPERATOR = {"app.kubernetes.io/name": "dreambooth-operator"}


def policy(spec: dict[str, Any], **settings: str) -> dict[str, Any]:
    given = {"trainer_image": "t", "namespace": "system", "monitoring_namespaces": "monitoring", **settings}
    read_settings: Settings = settings_from({f"DREAMBOOTH_{name.upper()}": value for name, value in given.items()})
    job = read(**spec)
    return dict(build_network_policy(OWNER, job, training_program(job), read_settings)["spec"])


def matches(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    return selector is None or selector["matchLabels"].items() <= labels.items()


def is_peer(peer: dict[str, Any], namespace: str, labels: dict[str, str]) -> bool:
    """Whether a peer of a NetworkPolicy in the namespace `space` selects a pod."""
    if "ipBlock" in peer:
        return False
    space = peer.get("namespaceSelector")
    inside = namespace == "space" if space is None else matches(space, {"kubernetes.io/metadata.name": namespace})
    return inside and matches(peer.get("podSelector"), labels)


def allows_port(rule: dict[str, Any], port: int) -> bool:
    return "ports" not in rule or port in [one["port"] for one in rule["ports"]]


def may_come(spec: dict[str, Any], namespace: str, labels: dict[str, str], port: int) -> bool:
    return any(
        allows_port(rule, port) and any(is_peer(peer, namespace, labels) for peer in rule["from"])
        for rule in policy(spec)["ingress"]
    )


def may_reach(spec: dict[str, Any], address: str, port: int, **settings: str) -> bool:
    def is_inside(peer: dict[str, Any]) -> bool:
        block, target = peer.get("ipBlock"), ip_address(address)
        return (
            block is not None
            and target in ip_network(block["cidr"])
            and not any(target in ip_network(one) for one in block.get("except", ()))
        )

    rules = policy(spec, **settings)["egress"]
    return any(allows_port(rule, port) and ("to" not in rule or any(map(is_inside, rule["to"]))) for rule in rules)


def test_it_selects_the_pods_of_the_dreamboothjob_for_ingress_and_egress() -> None:
    assert policy({})["podSelector"] == {"matchLabels": PEER}
    assert policy({})["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("spec", "namespace", "labels", "port", "expected"),
    [
        ({}, "system", OPERATOR, 8080, True),
        ({}, "system", OPERATOR, 29500, False),
        ({}, "system", {}, 8080, False),
        ({}, "space", OPERATOR, 8080, False),
        ({}, "monitoring", {}, 8080, True),
        ({}, "monitoring", {}, 22, False),
        ({}, "other", {}, 8080, False),
        ({}, "space", PEER, 29500, False),
        (TWO_NODES, "space", PEER, 29500, True),
        (TWO_NODES, "space", {**PEER, "dreambooth.io/job-uid": "earlier"}, 29500, False),
        (TWO_NODES, "other", PEER, 29500, False),
    ],
)
def test_ingress(spec: dict[str, Any], namespace: str, labels: dict[str, str], port: int, expected: bool) -> None:
    assert may_come(spec, namespace, labels, port) == expected


@pytest.mark.parametrize(
    ("spec", "address", "port", "expected"),
    [
        ({}, "10.96.0.10", 53, True),
        ({}, "8.8.8.8", 443, False),
        ({}, "10.0.0.1", 443, False),
        (HUB, "8.8.8.8", 443, True),
        (HUB, "2600:9000::1", 443, True),
        (HUB, "8.8.8.8", 80, False),
        (HUB, "10.96.0.1", 443, False),
        (HUB, "169.254.169.254", 443, False),
        (HUB, "fd00::1", 443, False),
        ({"model": {"source": "pvc://models/sd.safetensors"}}, "8.8.8.8", 443, True),
        ({"model": {"source": "pvc://models/sd.safetensors", "config": "organisation/sd"}}, "8.8.8.8", 443, True),
        ({"model": {"source": "pvc://models/sd.safetensors", "config": "pvc://models/sd"}}, "8.8.8.8", 443, False),
        ({"model": {"source": "pvc://models/sd"}}, "8.8.8.8", 443, False),
        ({"evaluation": {"encoder": "hf://organisation/clip"}}, "8.8.8.8", 443, True),
        ({"evaluation": {"encoder": "hf://organisation/clip", "enabled": False}}, "8.8.8.8", 443, False),
    ],
)
def test_egress(spec: dict[str, Any], address: str, port: int, expected: bool) -> None:
    assert may_reach(spec, address, port) == expected


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        ("", "8.8.8.8", False),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.0.0/16", "8.8.8.8", False),
        ("0.0.0.0/0,10.1.0.0/16", "10.1.2.3", True),
    ],
)
def test_hub_networks(networks: str, address: str, expected: bool) -> None:
    assert may_reach(HUB, address, 443, hub_networks=networks) == expected


@pytest.mark.parametrize(
    ("settings", "namespace", "address", "expected"),
    [
        ({"dns_networks": "169.254.20.10/32"}, "kube-system", "169.254.20.10", (False, True)),
        ({"dns_networks": "169.254.20.10/32"}, "kube-system", "10.96.0.10", (False, False)),
        ({"dns_namespaces": "kube-system"}, "kube-system", "169.254.20.10", (True, False)),
        ({"dns_namespaces": "kube-system"}, "space", "169.254.20.10", (False, False)),
        (
            {"dns_namespaces": "a,openshift-dns", "dns_networks": "fd00::a/128,10.0.0.0/8"},
            "openshift-dns",
            "10.96.0.10",
            (True, True),
        ),
    ],
)
def test_dns_servers(settings: dict[str, str], namespace: str, address: str, expected: tuple[bool, bool]) -> None:
    rules = policy({}, **settings)["egress"]
    to_pods = any(allows_port(rule, 53) and any(is_peer(one, namespace, {}) for one in rule["to"]) for rule in rules)
    assert (to_pods, may_reach({}, address, 53, **settings)) == expected
    assert not may_reach({}, address, 443, **settings)


def test_pods_of_one_dreamboothjob_reach_each_other_at_any_port() -> None:
    assert {"to": [{"podSelector": {"matchLabels": PEER}}]} in policy(TWO_NODES)["egress"]
    assert all("podSelector" not in peer for rule in policy({})["egress"] for peer in rule.get("to", ()))


def test_a_hub_behind_a_proxy_has_another_port() -> None:
    assert not may_reach(HUB, "8.8.8.8", 3128)
    assert may_reach(HUB, "8.8.8.8", 3128, hub_ports="443,3128")
