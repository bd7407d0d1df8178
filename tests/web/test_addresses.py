"""Whose request it is, and who counts as one client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.web.addresses import Proxies, limit_key, normal

PROXIES = Proxies.parse(("10.0.0.0/8", "127.0.0.1", "fd00::/8"))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.5, 192.0.2.1"], "192.0.2.1"),
        (["203.0.113.5, 192.0.2.1, 10.0.0.2 ,127.0.0.1"], "192.0.2.1"),
        (["203.0.113.5, 192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["192.0.2.1, unknown"], "10.0.0.1"),
        (["192.0.2.1, <script>, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:DB8::1]:4711"], "2001:db8::1"),
        (["2001:0db8:0::1"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, ::ffff:10.0.0.2, fd00::1"], "192.0.2.1"),
        (["192.0.2.01"], "10.0.0.1"),
        (["٣.3.3.3"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_nearest_address_that_no_proxy_has(forwarded: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", text.encode()) for text in forwarded]
    assert PROXIES.client("10.0.0.1", [(b"host", b"203.0.113.9"), *headers]) == client


@pytest.mark.parametrize("peer", ["192.0.2.9", "2001:db8::9", ""])
def test_a_peer_that_is_no_proxy_is_not_believed(peer: str) -> None:
    assert PROXIES.client(peer, [(b"x-forwarded-for", b"203.0.113.5")]) == peer
    assert Proxies().client(peer, [(b"x-forwarded-for", b"203.0.113.5")]) == peer


@given(st.binary(max_size=100))
def test_whatever_stands_in_the_header_the_client_is_an_address(value: bytes) -> None:
    client = PROXIES.client("10.0.0.1", [(b"x-forwarded-for", value)])
    assert normal(client) == client != ""


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("FE80::1%eth0", "fe80::1"), ("", ""), ("/run/socket", "")],
)
def test_an_address_is_written_in_one_way(host: str, address: str) -> None:
    assert normal(host) == address


def test_a_household_counts_as_one_client() -> None:
    assert limit_key("2001:db8:1:2::1") == limit_key("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert limit_key("2001:db8:1:3::1") != limit_key("2001:db8:1:2::1")
    assert limit_key("192.0.2.1") == "192.0.2.1"
    assert limit_key("") == ""
