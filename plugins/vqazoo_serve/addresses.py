"""Which addresses are of the open internet. Imports nothing but the standard library.

An own list, since `ipaddress.is_global` of Python changes with its patch releases (3.11.7 takes
192.88.99.1 and 3fff:: for public) and knows no address that a cloud answers its machines on.

Source: IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890, RFC 8190, with
RFC 9602 and RFC 9637) and of IPv6 global unicast (RFC 4291, section 2.4). Ranges that a registry
calls globally reachable but where no picture can be (anycast of protocols, AS112) are left out too.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPV4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared by a provider's customers; metadata of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, which answers each machine in it
        "169.254.0.0/16",  # link local; metadata of most clouds
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # relays of 6to4, withdrawn
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
UNICAST = IPv6Network("2000::/3")  # all that was ever given out; the rest of IPv6 is special
IPV6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments, Teredo among them, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, for sure.

    An IPv4 address in IPv6's form is judged as IPv4. What a gateway translates (NAT64, 6to4,
    Teredo) is not public, whatever it carries: the gateway may send it anywhere.
    """
    if "%" in address:  # only what is local needs a zone
        return False
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if isinstance(ip, IPv4Address):
        return not any(ip in net for net in IPV4)
    return ip in UNICAST and not any(ip in net for net in IPV6)
