from ipaddress import ip_network
from typing import Any

import pytest

from dreambooth_operator.poll.addresses import refusal


def pod(address: str, host: str = "192.0.2.1", hosts: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    status = {"podIP": address, "hostIP": host, "hostIPs": [{"ip": one} for one in hosts]}
    return {"spec": spec, "status": status}


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.7.1", "100.64.0.9", "34.1.2.3", "240.0.0.7", "fd00::7", "2600::1"]
)
def test_pod_addresses_are_accepted(address: str) -> None:
    assert refusal(pod(address), []) is None


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "169.254.169.254", "0.0.0.0", "224.0.0.1"),
        *("::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
        *("localhost", "kubernetes.default.svc", "10.1.2.3:443", "10.1.2.3/../..", "2130706433", "0x7f.1", "127.1"),
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    assert refusal(pod(address), []) is not None


@pytest.mark.parametrize(
    "described",
    [
        pod("192.0.2.1"),
        pod("::ffff:192.0.2.1"),
        pod("fd00::1", hosts=("192.0.2.1", "fd00::1")),
        pod("10.1.2.3", hostNetwork=True),
    ],
)
def test_addresses_of_nodes_are_refused_even_in_allowed_networks(described: dict[str, Any]) -> None:
    everywhere = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    for networks in ([], everywhere):
        assert "network of its node" in (refusal(described, networks) or "")


def test_only_allowed_networks_are_polled() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert refusal(pod("10.1.2.3"), networks) is None
    assert refusal(pod("fd00::7"), networks) is None
    assert "not in the networks" in (refusal(pod("11.1.2.3"), networks) or "")
    assert refusal(pod("127.0.0.1", host=""), [ip_network("127.0.0.0/8")]) is None
