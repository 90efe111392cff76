"""Checks the addresses of pods before they are polled: pure functions for `poller.py`.

Pods are not trusted: a tenant may create a pod with the labels and owner references of a trainer, or use the network of the node.
The check prevents requests to addresses that only the operator or a node can reach (server-side request forgery).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from dreambooth_operator.objects.observed import Object

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def refusal(pod: Object, networks: Sequence[Network]) -> str | None:
    """Why a running pod must not be polled; None: it may be polled.

    Args:
        pod: The pod, with `status.podIP`.
        networks: Allowed networks (`trainer_networks`); if empty, all addresses except loopback, link-local (metadata services of
            clouds), multicast and unspecified addresses.
    """
    status = pod["status"]
    try:
        address = _plain(status["podIP"])
        hosts = {_plain(one) for one in (status.get("hostIP"), *_ips(status.get("hostIPs"))) if one}
    except ValueError:
        return "the pod has no valid IP address."
    if pod.get("spec", {}).get("hostNetwork") or address in hosts:
        return "the pod uses the network of its node. Remove hostNetwork."
    if networks:
        inside = any(address in network for network in networks)
        return None if inside else "the IP address of the pod is not in the networks that the administrator allows."
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "the IP address of the pod is not in a pod network."
    return None


def _ips(entries: Sequence[Object] | None) -> list[str]:
    return [entry["ip"] for entry in entries or () if entry.get("ip")]


def _plain(text: str) -> Address:
    """The address; for an IPv4-mapped IPv6 address, the IPv4 address."""
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
