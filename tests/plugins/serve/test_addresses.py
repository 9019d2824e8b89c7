"""Every range that is not of the open internet is refused from its first address to its last."""

from __future__ import annotations

import ipaddress
import random

import pytest

from vqazoo_serve.addresses import IPV4, IPV6, UNICAST, is_public

# Ranges by hand, from the registries, and what Python 3.11.7 took for public among them.
SPECIAL = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.192/32",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
    "100.100.100.200/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)


@pytest.mark.parametrize("net", SPECIAL)
def test_no_address_of_a_special_range_is_public(net):
    range_ = ipaddress.ip_network(net)
    dice = random.Random(net)
    inside = [dice.randrange(range_.num_addresses) for _ in range(50)]
    for number in (0, range_.num_addresses - 1, *inside):
        assert not is_public(str(range_[number])), range_[number]


@pytest.mark.parametrize("net", [str(one) for one in IPV4])
def test_an_ipv4_address_in_the_form_of_ipv6_is_judged_as_what_it_is(net):
    range_ = ipaddress.IPv4Network(net)
    assert not is_public(f"::ffff:{range_[0]}")
    assert not is_public(f"::ffff:{range_[-1]}")


def test_the_neighbours_of_a_range_are_public_unless_another_range_holds_them():
    """Among these are addresses that people use, so the list must not be wider than it says."""
    for range_ in (*IPV4, *IPV6):
        for number in (int(range_[0]) - 1, int(range_[-1]) + 1):
            if not 0 <= number < 1 << range_.max_prefixlen:
                continue
            near = type(range_[0])(number)
            special = any(near in other for other in (*IPV4, *IPV6)) or (
                near.version == 6 and near not in UNICAST
            )
            assert is_public(str(near)) is not special, near


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "168.63.129.15",
        "168.63.129.17",
        "192.0.1.1",
        "192.88.98.255",
        "192.88.100.0",
        "::ffff:8.8.8.8",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "2400:cb00::1",
    ],
)
def test_addresses_of_the_open_internet_are_public(address):
    assert is_public(address)


def test_whatever_is_public_here_is_global_for_python_too():
    dice = random.Random(0)
    four = [ipaddress.IPv4Address(dice.getrandbits(32)) for _ in range(20_000)]
    six = [ipaddress.IPv6Address(int(UNICAST[0]) | dice.getrandbits(125)) for _ in range(20_000)]
    public = [one for one in (*four, *six) if is_public(str(one))]
    assert len(public) > 30_000
    assert [one for one in public if not one.is_global or one.is_multicast] == []


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%1"])
def test_an_address_with_a_zone_is_of_this_network(address):
    assert not is_public(address)
