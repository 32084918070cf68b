"""Names of a platform: the same whoever writes them how, and never somebody else's."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.hosts import Hosts, is_loopback, name_of

LABELS = st.text("abcxyz019-", min_size=1, max_size=8).map(lambda text: f"a{text}z")
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
BELOW = st.sampled_from(["", ".example.org", ".b.example.org", ".bridge", ".localhost"])
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.one_of(st.just(""), st.integers(0, 65_535).map(lambda port: f":{port}"))


def literal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


@given(NAMES, PORTS, st.booleans(), st.booleans())
def test_a_name_is_the_same_in_any_case_with_any_port_and_with_its_last_dot(
    name: str, port: str, upper: bool, dot: bool
) -> None:
    written = (name.upper() if upper else name) + "." * dot + port
    assert name_of(written) == name
    assert Hosts([name]).admits(written, None)


@given(st.one_of(NAMES, st.sampled_from(["bridge", "localhost", "example.org"])), BELOW, PORTS)
def test_a_stranger_is_admitted_under_no_name(first: str, below: str, port: str) -> None:
    name = first + below
    wanted = name in ("bridge", "localhost") or (name.endswith(".example.org") and name.count(".") == 2)
    assert Hosts(["bridge", "*.example.org"]).admits(name + port, "127.0.0.1") is wanted


@given(ADDRESSES, ADDRESSES, PORTS)
def test_an_address_is_admitted_where_the_connection_came_in(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: str,
) -> None:
    assert Hosts().admits(literal(one) + port, str(one))
    mapped = getattr(one, "ipv4_mapped", None) or one
    known = mapped == (getattr(other, "ipv4_mapped", None) or other) or str(mapped) in ("127.0.0.1", "::1")
    assert Hosts().admits(literal(one) + port, str(other)) is known
    assert Hosts([str(one)]).admits(literal(one) + port, None)


@given(st.text(max_size=40))
def test_whatever_is_written_is_what_a_browser_would_connect_to_or_nothing(text: str) -> None:
    """The standard library's idea of a URL is the oracle: no text passes for a name that is not the host."""
    found = name_of(text)
    if found is not None:
        host = urlsplit(f"http://{text.strip()}/").hostname or ""
        assert host.removesuffix(".") == found or ipaddress.ip_address(host.partition("%")[0])


@pytest.mark.parametrize(
    "text",
    [
        *("", ":80", ".", "..", "a..b", "-a", "a b", "a,b", "a/b", "a\\b", "a@b", "a:b", "a:1:2", "a:999999"),
        *("[::1", "::1", "[a]", "[]", "[127.0.0.1]", "a%00b", "\x00", "ä.example", "a" * 300),
    ],
)
def test_what_is_no_name_is_nobodys(text: str) -> None:
    assert name_of(text) is None
    assert not Hosts([text]).admits(text, None)


def test_odd_spellings_of_an_address_are_not_that_address() -> None:
    for text in ("127.1", "0177.0.0.1", "2130706433", "0x7f.0.0.1", "127.0.0.1.", "127.0.0.01"):
        assert Hosts().admits(text, None) is (text == "127.0.0.1.")


def test_this_machine_is_known_by_its_address() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["10.0.0.1", "::2", "unknown", "", "localhost"]))
