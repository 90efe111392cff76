"""Which addresses of pods are asked for progress: pure functions for `poller.py`.

A pod of a job is a tenant's: it may run beside ours with our labels and owners, and be on its node's own network. So that nobody
can make the operator call what only the operator or a node reaches, its address must be one of a pod.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from dreambooth_operator.objects.observed import Object

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def refusal(pod: Object, networks: Sequence[Network]) -> str | None:
    """Why the address of a running pod is not asked; None: it is.

    Args:
        pod: The pod, with `status.podIP`.
        networks: Where pods are, if the administrator says so (`trainer_networks`); else everywhere but on loopback, link-local
            (metadata services of clouds), multicast and unspecified addresses.
    """
    status = pod["status"]
    try:
        address = _plain(status["podIP"])
        hosts = {_plain(one) for one in (status.get("hostIP"), *_ips(status.get("hostIPs"))) if one}
    except ValueError:
        return "its pod's address is none."
    if pod.get("spec", {}).get("hostNetwork") or address in hosts:
        return "its pod is on the network of its node. Remove hostNetwork."
    if networks:
        inside = any(address in network for network in networks)
        return None if inside else "its pod's address is in none of the networks that the administrator allows."
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "its pod's address is none of a pod network."
    return None


def _ips(entries: Sequence[Object] | None) -> list[str]:
    return [entry["ip"] for entry in entries or () if entry.get("ip")]


def _plain(text: str) -> Address:
    """The address; that of IPv4 where IPv6 only wraps it."""
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
