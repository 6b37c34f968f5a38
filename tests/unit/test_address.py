"""Addresses and nets against the standard library (SEVU rulings, "`ip` of a ticket" and "`ip` as a filter")."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.model.address import (
    ANY_ADDRESS,
    Net,
    format_address,
    format_net,
    is_ipv4,
    masked,
    parse_address,
    parse_filter_net,
    parse_net,
)
from tests.oracles import addresses

ipv4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
# Half of them near zero or in the mapped block, where the two families meet.
ipv6 = st.one_of(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**49),
    st.integers(0xFFFF << 32, (0xFFFF << 32) + 2**32 - 1),
).map(ipaddress.IPv6Address)
address_text = st.one_of(
    ipv4.map(str),
    ipv6.map(str),
    ipv6.map(lambda a: a.exploded),
    ipv6.map(lambda a: str(a).upper()),
    ipv4.map("::ffff:{}".format),
)
net_text = st.one_of(
    st.builds("{}/{}".format, ipv4, st.integers(0, 32)), st.builds("{}/{}".format, ipv6, st.integers(0, 128))
)


@given(address_text)
def test_an_address_reads_the_same_in_every_spelling(text: str) -> None:
    address = addresses.address(text)

    assert parse_address(text) == parse_address(str(address))
    assert format_address(parse_address(text)) == str(address)
    assert is_ipv4(parse_address(text)) == (address.version == 4)


@given(address_text, address_text)
def test_two_spellings_are_one_number_only_for_one_address(one: str, other: str) -> None:
    assert (parse_address(one) == parse_address(other)) == (addresses.address(one) == addresses.address(other))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "192.0.2", "192.0.2.256", "192.0.2.1.", "192.0.02.1", "::ffff:192.0.02.1", "0x7f.0.0.1", "3221225985",
        "fe80::1%eth0", "fe80::1%1", "[::1]", "::1::", "1.2.3.4:80", "192.0.2.1/32", "١٩٢.0.2.1", "192.0.2.1\0",
        "192.0.2.-1", "localhost", "192.0.2.1, 192.0.2.2", "0" * 50_000 + "::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_each_time(text: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 (the contract promises no more than that)
            parse_address(text)


def test_blanks_around_an_address_do_not_matter() -> None:
    assert parse_address(" 192.0.2.1\t") == parse_address("192.0.2.1")
    assert parse_net(" 192.0.2.1/24 ") == parse_net("192.0.2.0/24")


@given(net_text, address_text)
def test_a_net_holds_what_the_standard_library_says(net: str, viewer: str) -> None:
    assert parse_net(net).holds(parse_address(viewer)) == addresses.holds(net, viewer)


@given(net_text)
def test_a_net_holds_its_own_first_and_last_address_and_not_their_neighbours(text: str) -> None:
    net = parse_net(text)
    written = addresses.net(text)

    if not text.endswith("/0"):
        assert net.low == parse_address(str(written.network_address))
        assert net.high == parse_address(str(written.broadcast_address))
        assert not net.holds(net.low - 1)
        assert not net.holds(net.high + 1)


@given(net_text)
def test_host_bits_of_a_net_are_masked(text: str) -> None:
    address, _, prefix = text.partition("/")
    first = ipaddress.ip_network(text, strict=False).network_address

    assert parse_net(text) == parse_net(f"{first}/{prefix}")
    assert parse_net(text).holds(parse_address(address)) or parse_net(text).skips_ipv4


@given(st.one_of(net_text, address_text))
def test_a_net_written_out_reads_back_as_itself(text: str) -> None:
    assert parse_net(format_net(parse_net(text))) == parse_net(text)


@given(st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_any_masked_net_written_out_reads_back_as_itself(address: int, prefix: int) -> None:
    assert parse_net(format_net(masked(address, prefix))) == masked(address, prefix)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "192.0.2.1/0", "2001:db8::1/0", "::ffff:0.0.0.0/0"])
@pytest.mark.parametrize("viewer", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "::", "255.255.255.255"])
def test_a_net_of_no_bits_holds_every_address_of_either_family(text: str, viewer: str) -> None:
    assert parse_net(text) == ANY_ADDRESS
    assert parse_net(text).holds(parse_address(viewer))


@pytest.mark.parametrize(
    ("net", "viewer", "held"),
    [
        ("::/1", "192.0.2.1", False),
        ("::/64", "::ffff:192.0.2.1", False),
        ("::/64", "::1", True),
        ("::ffff:0:0/96", "192.0.2.1", True),
        ("::ffff:0:0/96", "2001:db8::1", False),
        ("::ffff:192.0.2.0/120", "192.0.2.9", True),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("192.0.2.0/24", "::192.0.2.9", False),
        ("0.0.0.0/1", "127.0.0.1", True),
        ("0.0.0.0/1", "128.0.0.1", False),
    ],
)
def test_where_the_families_meet(net: str, viewer: str, held: bool) -> None:
    assert parse_net(net).holds(parse_address(viewer)) is held
    assert addresses.holds(net, viewer) is held


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::7/64", "2001:db8::/64"),
        ("::/0", "0.0.0.0/0"),
        ("::ffff:192.0.2.9/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.9/97", "128.0.0.0/1"),
    ],
)
def test_nets_are_written_in_their_usual_form(text: str, written: str) -> None:
    assert format_net(parse_net(text)) == written


def test_all_of_ipv4_is_not_written_as_anybody() -> None:
    all_ipv4 = parse_net("::ffff:0:0/96")

    assert not all_ipv4.holds(parse_address("2001:db8::1"))
    assert parse_net(format_net(all_ipv4)) == all_ipv4


@pytest.mark.parametrize(
    "text",
    ["", "/24", "192.0.2.0/", "192.0.2.0/33", "::/129", "192.0.2.0/-1", "192.0.2.0/+8", "192.0.2.0/ 24", "192.0.2.0/٢",
     "192.0.2.0/24/8", "192.0.2.0/255.255.255.0", "192.0.2.0/0000", "fe80::1%eth0/64"],
)  # fmt: skip
def test_what_is_no_net_is_refused_and_the_filter_named(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^ip: cannot read the address; give an IPv4"):
        parse_filter_net("ip", text)


def test_a_filter_reads_an_address_or_a_net() -> None:
    one = parse_address("192.0.2.1")

    assert parse_filter_net("ip", "::ffff:192.0.2.1") == Net(one, one)
    assert parse_filter_net("ip", "192.0.2.1/24").holds(parse_address("192.0.2.255"))
