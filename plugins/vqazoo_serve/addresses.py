"""Which addresses belong to the open internet: a list of our own. Imports nothing but `ipaddress`.

What Python's `is_global` says depends on its patch release, and it knows nothing of clouds.

Sources, as they stood in November 2026: IANA's IPv4 and IPv6 Special-Purpose Address Registries
(https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry),
IANA's registries of multicast addresses, RFC 4291 section 2.4 (only 2000::/3 is global unicast),
and the clouds' own pages about their metadata services. Every range of the registries is refused,
also the few that are reachable from everywhere (AS112, AMT, the anycast addresses of PCP and TURN):
none of them holds pictures.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

REFUSED_IPV4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # behind a provider's NAT; Alibaba's metadata, 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata and agents; in no registry
        "169.254.0.0/16",  # link local; the metadata of most clouds, 169.254.169.254
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata, 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")  # loopback, fc00::/7, fe80::/10, ff00::/8 ... lie outside
REFUSED_IPV6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # IETF protocol assignments
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
# They carry IPv4 addresses, to which a translator or relay sends what comes. 64:ff9b:1::/48 carries
# one too, but where in it, each network decides for itself (RFC 8215): it is refused.
MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet.

    Args:
        address: IPv4 or IPv6 as `getaddrinfo` gives it; one with a zone (`fe80::1%eth0`) is not.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return not any(found in net for net in REFUSED_IPV4)
    if "%" in address:
        return False
    carried = _carried(found)
    if carried:
        return all(is_public(str(inner)) for inner in carried)
    return found in GLOBAL_UNICAST and not any(found in net for net in REFUSED_IPV6)


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses inside an IPv6 address of a transition mechanism; none in any other."""
    bits = int(address)
    low = bits & 0xFFFFFFFF
    if address in MAPPED or address in NAT64:
        return [IPv4Address(low)]
    if address in SIX_TO_FOUR:  # RFC 3056
        return [IPv4Address(bits >> 80 & 0xFFFFFFFF)]
    if address in TEREDO:  # the server, and the client with its bits inverted (RFC 4380)
        return [IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(low ^ 0xFFFFFFFF)]
    return []
