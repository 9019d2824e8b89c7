"""Which addresses are public: every range to its edges, in every disguise, under every Python."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest

from vqazoo_serve import addresses
from vqazoo_serve.addresses import is_public

# The addresses just before and just after; None where another refused range lies there. By hand
# from IANA's registries of special-purpose and multicast addresses.
EDGES = [
    ("0.0.0.0", "0.255.255.255", None, "1.0.0.0"),
    ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"),
    ("192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"),
    ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"),
    ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "255.255.255.255", "223.255.255.255", None),
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, "2000::"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
     "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
]  # fmt: skip
# Entries of the registries that lie inside wider ranges, and where clouds keep their secrets.
INSIDE = [
    "0.0.0.1", "100.100.100.200", "169.254.169.254", "169.254.170.2", "169.254.169.123",
    "192.0.0.7", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.171",
    "192.0.0.192", "192.88.99.1", "192.88.99.2", "255.255.255.255", "::1", "::7f00:1",
    "64:ff9b:1::1", "64:ff9b:1::808:808", "64:ff9b:1:808:8:800::", "100::1", "100:0:0:1::1",
    "2001:1::1", "2001:1::2", "2001:1::3", "2001:2::1", "2001:3::1", "2001:4:112::1",
    "2001:10::1", "2001:20::1", "2001:30::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe",
    "fec0::1", "ff02::1", "2606:2800:220:1::1%eth0",
]  # fmt: skip


@pytest.mark.parametrize(("first", "last", "before", "after"), EDGES)
def test_a_refused_range_ends_where_its_registry_says(first, last, before, after):
    middle = type(ipaddress.ip_address(first))(
        (int(ipaddress.ip_address(first)) + int(ipaddress.ip_address(last))) // 2
    )
    assert not any(is_public(str(one)) for one in (first, middle, last))
    assert all(is_public(one) for one in (before, after) if one is not None)


def test_the_edges_above_are_those_of_every_range_that_is_refused():
    listed = {first for first, *_ in EDGES}
    refused = (*addresses.REFUSED_IPV4, *addresses.REFUSED_IPV6)
    # the IPv4 ranges 224/4 and 240/4 touch, and are one row above
    assert {str(net[0]) for net in refused} - listed == {"240.0.0.0"}


@pytest.mark.parametrize("address", INSIDE)
def test_special_addresses_and_metadata_services_are_refused(address):
    assert not is_public(address)


def disguised(address: str) -> list[str]:
    """An IPv4 address as IPv6: mapped, NAT64, 6to4, and Teredo as client and as server."""
    bits = int(ipaddress.IPv4Address(address))
    fine = int(ipaddress.IPv4Address("8.8.8.8"))
    teredo = 0x20010000 << 96
    forms = [
        0xFFFF << 32 | bits, 0x64FF9B << 96 | bits, 0x2002 << 112 | bits << 80 | 1,
        teredo | fine << 64 | bits ^ 0xFFFFFFFF, teredo | bits << 64 | fine ^ 0xFFFFFFFF,
    ]  # fmt: skip
    return [str(ipaddress.IPv6Address(form)) for form in forms]


def test_an_address_inside_another_is_judged_by_itself():
    for first, last, before, after in EDGES:
        if ":" in first:
            continue
        for address in (first, last):
            assert not any(is_public(form) for form in disguised(address)), address
        for address in (before, after):
            assert address is None or all(is_public(form) for form in disguised(address)), address


def test_what_python_thinks_of_an_address_does_not_matter(monkeypatch):
    def asked(self: object) -> bool:
        raise AssertionError("its answer depends on the patch release")

    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name in ("is_global", "is_private", "is_reserved", "is_link_local", "is_multicast"):
            monkeypatch.setattr(kind, name, property(asked))
    assert is_public("8.8.8.8")
    assert not any(is_public(one) for one in INSIDE)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_that_is_here_says_the_same(version):
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no Python {version} on this machine")
    asked = [one for row in EDGES for one in row if one] + INSIDE
    program = "import sys, addresses; print([addresses.is_public(one) for one in sys.argv[1:]])"
    told = subprocess.run(
        [python, "-c", program, *asked], cwd=Path(addresses.__file__).parent, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert told.strip() == str([is_public(one) for one in asked])
