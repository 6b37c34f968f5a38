"""The `ip` of a ticket: lists, nets and `auto` slots (SEVU rulings, "`auto` slots" and "`ip` of a ticket")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.model.address import parse_address
from openusher.model.iprule import parse_ip_rule
from tests.oracles import addresses

# Few addresses, close together, so that nets overlap and viewers come back.
VIEWERS = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "203.0.113.9", "::ffff:192.0.2.1", "::1",
           "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:ffff::1"]  # fmt: skip
viewer = st.sampled_from(VIEWERS)
slot = st.one_of(st.sampled_from(["auto", "AUTO", " auto "]), st.integers(0, 32).map("auto/{}".format))
concrete = st.one_of(
    viewer,
    st.builds("{}/{}".format, st.sampled_from(["192.0.2.1", "192.0.3.77", "203.0.113.9"]), st.integers(0, 32)),
    st.builds("{}/{}".format, st.sampled_from(["::1", "2001:db8::1", "::ffff:192.0.2.1"]), st.integers(0, 128)),
)
rule_text = st.lists(st.one_of(concrete, slot, slot), min_size=1, max_size=5).map("|".join)


@given(rule_text, viewer)
def test_a_rule_admits_what_the_oracle_says(rule: str, who: str) -> None:
    assert parse_ip_rule(rule).admits(parse_address(who)) == addresses.admits(rule, who)


@given(rule_text, viewer)
def test_a_slot_binds_as_the_oracle_says(rule: str, who: str) -> None:
    assert parse_ip_rule(rule).bound(parse_address(who)) == addresses.bound(rule, who)


@given(rule_text, viewer)
def test_a_bound_slot_admits_the_viewer_it_was_bound_to_and_leaves_one_slot_less(rule: str, who: str) -> None:
    before = parse_ip_rule(rule)
    text = before.bound(parse_address(who))
    if text is None:
        assert before.slots == ()
    else:
        after = parse_ip_rule(text)

        assert after.admits(parse_address(who))
        assert len(after.slots) == len(before.slots) - 1
        assert len(after.entries) == len(before.entries)


def bound(rule: str, who: str) -> str | None:
    return parse_ip_rule(rule).bound(parse_address(who))


@pytest.mark.parametrize(
    ("rule", "who", "text"),
    [
        ("auto", "192.0.2.7", "192.0.2.7"),
        ("auto", "::ffff:192.0.2.7", "192.0.2.7"),
        ("auto", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("auto", "::1", "::/64"),
        ("auto/24", "192.0.2.7", "192.0.2.0/24"),
        ("auto/24", "2001:db8:1:2::7", "2001:db8:1::/48"),
        ("auto/32", "192.0.2.7", "192.0.2.7"),
        ("auto/32", "2001:db8:1:2:3::7", "2001:db8:1:2::/64"),
        ("auto/31", "2001:db8:1:ffff::7", "2001:db8:1:fffc::/62"),
        ("auto/1", "192.0.2.7", "128.0.0.0/1"),
        ("auto/08", "10.1.2.3", "10.0.0.0/8"),
        ("auto/0", "192.0.2.7", "0.0.0.0/0"),
        ("auto/0", "2001:db8::1", "0.0.0.0/0"),
        ("AUTO/24", "192.0.2.7", "192.0.2.0/24"),
        ("auto/24|auto", "192.0.2.7", "192.0.2.0/24|auto"),
        ("198.51.100.0/24| Auto |auto/16", "192.0.2.7", "198.51.100.0/24|192.0.2.7|auto/16"),
        ("auto|", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.1", "192.0.2.7", None),
    ],
)
def test_how_a_slot_binds_by_example(rule: str, who: str, text: str | None) -> None:
    assert bound(rule, who) == text
    assert addresses.bound(rule, who) == text


def test_a_bound_24_admits_the_whole_24_and_nothing_beside_it() -> None:
    rule = parse_ip_rule(bound("auto/24", "192.0.2.7") or "")

    assert all(rule.admits(parse_address(f"192.0.2.{host}")) for host in range(256))
    assert not rule.admits(parse_address("192.0.1.255"))
    assert not rule.admits(parse_address("192.0.3.0"))
    assert not rule.admits(parse_address("2001:db8::1"))


def test_two_slots_take_two_distinct_nets_and_no_third() -> None:
    first = bound("auto/24|auto/24", "192.0.2.7")
    assert first == "192.0.2.0/24|auto/24"
    assert parse_ip_rule(first).admits(parse_address("192.0.2.8"))

    second = bound(first, "203.0.113.9")
    assert second == "192.0.2.0/24|203.0.113.0/24"
    assert bound(second, "198.51.100.1") is None
    assert not parse_ip_rule(second).admits(parse_address("198.51.100.1"))


def test_a_viewer_of_a_concrete_entry_needs_no_slot() -> None:
    assert parse_ip_rule("auto|192.0.2.0/24").admits(parse_address("192.0.2.9"))
    assert not parse_ip_rule("auto|192.0.2.0/24").admits(parse_address("192.0.3.9"))


@pytest.mark.parametrize("rule", ["0.0.0.0/0", "::/0", "198.51.100.1|0.0.0.0/0", "auto|::/0", "192.0.2.1/0"])
@pytest.mark.parametrize("who", VIEWERS)
def test_a_net_of_no_bits_admits_anybody_and_spends_no_slot(rule: str, who: str) -> None:
    assert parse_ip_rule(rule).admits(parse_address(who))


def test_blanks_around_entries_and_empty_entries_do_not_matter() -> None:
    rule = parse_ip_rule(" 192.0.2.1 || 2001:DB8::1\t|")

    assert rule.admits(parse_address("192.0.2.1"))
    assert rule.admits(parse_address("2001:db8::1"))


@pytest.mark.parametrize("text", ["", " ", "|", " | | "])
def test_a_blank_rule_is_an_error_each_time(text: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidParameter, match=r"^ip: is blank; give addresses"):
            parse_ip_rule(text)


@pytest.mark.parametrize(
    "entry",
    ["auto/33", "auto/-1", "auto/", "auto/a", "auto/024", "auto/2 4", "auto/٢٤", "auto /24", "auto24", "automatic",
     "192.0.02.1", "192.0.2.1/33", "fe80::1%eth0", "any", "*", "192.0.2.*", "192.0.2.1,192.0.2.2", "\ud800", "1\0"],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_an_error_each_time(entry: str) -> None:
    for text in (entry, f"192.0.2.1|{entry}", entry):
        with pytest.raises(InvalidParameter, match=r"^ip: ") as caught:
            parse_ip_rule(text)

        assert caught.value.field == "ip"


def test_the_error_says_which_entry_cannot_be_read() -> None:
    with pytest.raises(InvalidParameter, match="entry 3"):
        parse_ip_rule("192.0.2.1|auto|here|there")


def test_64_entries_in_their_longest_spelling_are_taken_and_65_are_not() -> None:
    longest = "2001:0db8:0000:0000:0000:ffff:192.168.100.100/128"

    assert len(parse_ip_rule(" | ".join([longest] * 64)).nets) == 64
    with pytest.raises(InvalidParameter, match="more than 64 entries"):
        parse_ip_rule("|".join(["auto"] * 65))


def test_a_rule_padded_without_end_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="ip: longer than 4096 bytes"):
        parse_ip_rule("192.0.2.1" + "|" * 5_000)


def test_a_rule_of_the_full_length_can_still_be_read_once_its_slot_is_bound() -> None:
    text = "auto|192.0.2.1" + " " * 4_079 + "/24"
    bound = parse_ip_rule(text).bound(parse_address("2001:db8:1:2:3:4:5:6"))

    assert len(text) == 4_096
    assert bound == "2001:db8:1:2::/64|192.0.2.1/24"
    assert parse_ip_rule(bound).admits(parse_address("192.0.2.77"))
