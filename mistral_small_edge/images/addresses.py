"""Hosts and their addresses: one spelling for each, which of them are public, and which are this machine's.

Everything here is about who may be connected to, and by whom. Resolves names and connects to
nothing itself.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_LONGEST_HOST = 253  # characters, as in DNS
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label that makes the host an IPv4 address
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_CLOSED = tuple(
    ip_network(each)
    for each in (
        "168.63.129.16",  # Azure's own, seen from every machine there
        "192.0.0.0/24",  # protocols; Oracle's metadata
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocols: Teredo, benchmarks, hashes
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, around an IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is that of one host on the public internet.

    An IPv4 address inside an IPv6 one counts as itself where something still translates it; the
    retired ways to embed one are refused whole. Source: IANA's registries of special-purpose
    addresses. Python's `is_global` knows them as of its release; `_CLOSED` is what it may lack.
    """
    if isinstance(address, IPv6Address):
        in_nat64 = IPv4Address(address.packed[-4:]) if address in _NAT64 else None
        inner = in_nat64 or address.ipv4_mapped
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    special = address.is_multicast or any(address in network for network in _CLOSED)
    return address.is_global and not special


def is_loopback(host: str) -> bool:
    """Whether only this machine is reached there; of other names nobody knows who is."""
    address = as_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def resolve_host(host: str, port: int) -> list[str]:
    """A host's addresses, best first, as the system finds them; OSError if there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def canonical(host: str) -> str | None:
    """The one spelling of a host; None if nothing can be there.

    IPv4 addresses in whatever form the C library reads (`2130706433`, `0x7f.1`) become four plain
    numbers here, and not in a resolver, which may ask somebody else for them.
    """
    host = host.removesuffix(".")
    if ":" in host:
        return None if "%" in host else str(ip_address(host))
    if len(host) > _LONGEST_HOST or not _HOST_NAME.fullmatch(host):
        return None
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def as_address(text: str) -> Address | None:
    """The address that a text is; None if it is a name."""
    try:
        return ip_address(text)
    except ValueError:
        return None
