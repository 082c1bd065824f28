"""Which hosts and addresses a workflow may call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workflows import HttpPolicy
from headrace.workflows.steps.http.policy import is_public

PUBLIC = "93.184.216.34"
REFUSED = [
    "127.0.0.1",
    "127.8.9.1",
    "::1",
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fd00:ec2::23",
    "fd20:ce::254",
    "192.0.0.192",
    "fec0::1",
    "::127.0.0.1",
    "64:ff9b:1::7f00:1",
    "2001::1",
    "3fff::1",
    "5f00::1",
    "2002:a9fe:a9fe::",
    "::ffff:100.100.100.200",
    "64:ff9b::168.63.129.16",
]
PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.9",
    "100.64.0.1",
    "100.127.255.254",
    "fd00::8",
    "fc00::1",
    "::ffff:10.1.2.3",
    "64:ff9b::10.1.2.3",
    "2002:a01:203::",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_of_this_machine_and_its_cloud_are_refused_by_default(address: str) -> None:
    assert HttpPolicy().permitted("any.example", [address]) == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34"]
)
def test_public_addresses_are_let_through_by_default(address: str) -> None:
    assert HttpPolicy().permitted("any.example", [address]) == [address]
    assert HttpPolicy(allow=("*",)).permitted("any.example", [address]) == [address]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_are_opened_by_the_allow_list_alone(address: str) -> None:
    host = "orders.shop.svc.cluster.local"
    for allow in ((), ("*",), ("other.example", "*.example"), ("93.184.216.34",)):
        assert HttpPolicy(allow=allow).permitted(host, [address]) == []
    for allow in ((host,), ("*", host), ("*.shop.svc.cluster.local",), (address,)):
        assert HttpPolicy(allow=allow).permitted(host, [address]) == [address]


@pytest.mark.parametrize("address", REFUSED)
def test_a_listed_name_does_not_open_them(address: str) -> None:
    for allow in (("evil.example",), ("*.example",), ("*",), ("localhost", "evil.example")):
        assert HttpPolicy(allow=allow).permitted("evil.example", [address]) == []


def test_a_listed_address_or_network_opens_them() -> None:
    assert HttpPolicy(allow=("127.0.0.1",)).permitted("x", ["127.0.0.1", PUBLIC]) == ["127.0.0.1"]
    assert HttpPolicy(allow=("127.0.0.0/8",)).permitted("x", ["127.9.9.9"]) == ["127.9.9.9"]
    assert HttpPolicy(allow=("::1",)).permitted("x", ["::1"]) == ["::1"]


def test_with_entries_nothing_else_is_permitted() -> None:
    policy = HttpPolicy(allow=("api.example.com", "*.internal.example", "10.0.0.0/8"))
    assert policy.permitted("api.example.com", [PUBLIC]) == [PUBLIC]
    assert policy.permitted("API.Example.com.", [PUBLIC]) == [PUBLIC]
    assert policy.permitted("a.internal.example", [PUBLIC]) == [PUBLIC]
    assert policy.permitted("internal.example", [PUBLIC]) == []
    assert policy.permitted("notapi.example.com", [PUBLIC]) == []
    assert policy.permitted("other.example", ["10.2.3.4", PUBLIC]) == ["10.2.3.4"]


def test_any_host_and_an_address_besides() -> None:
    policy = HttpPolicy(allow=("*", "127.0.0.1"))
    assert policy.permitted("x", [PUBLIC, "127.0.0.1", "127.0.0.2"]) == [PUBLIC, "127.0.0.1"]


@pytest.mark.parametrize("entry", ["http://x.example", "x.example:80", "a*b", "10.0.0.0/99"])
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="HTTP_ALLOW"):
        HttpPolicy(allow=(entry,))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_ipv6_clothes(address: object) -> None:
    import ipaddress

    plain = ipaddress.IPv4Address(str(address))
    number = int(plain)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    nat64 = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))
    assert is_public(plain) == all(map(is_public, (mapped, nat64, six_to_four)))
    assert is_public(plain) == any(map(is_public, (mapped, nat64, six_to_four)))
