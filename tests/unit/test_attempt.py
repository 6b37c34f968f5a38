"""Attempts: the digest under an attempt_id, the user a pass names, what a filter and a group are."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.model.attempt import Attempt, AttemptRequest, Cut, Decision, Reason, user_of
from openusher.model.search import AttemptFilter, Group, in_order

TEXTS = ("key", "password", "app", "video", "appinst", "pageurl", "refurl", "user_agent")
# Few letters and many empty texts, so that moving a letter to the next field is a common case.
short = st.text(alphabet="ab.", max_size=2)
numbers = st.sampled_from([0, 1, 0x10, 0x101, 2**128 - 1])


@st.composite
def questions(draw: st.DrawFn) -> AttemptRequest:
    return AttemptRequest(
        cdn=draw(st.integers(1, 2)),
        edge=draw(st.integers(1, 2)),
        attempt_id=draw(short),
        ip=draw(numbers),
        server_ip=draw(numbers),
        cut=int(draw(st.sampled_from(list(Cut)))),
        uncut=draw(short),
        **{name: draw(short) for name in TEXTS},
    )


def content(request: AttemptRequest) -> tuple[object, ...]:
    return (*(getattr(request, name) for name in TEXTS), request.ip, request.server_ip, request.cut, request.uncut)


@given(questions(), questions())
def test_a_digest_is_the_same_exactly_for_the_same_question(one: AttemptRequest, other: AttemptRequest) -> None:
    assert (one.digest() == other.digest()) == (content(one) == content(other))


@given(questions(), st.sampled_from(TEXTS), st.sampled_from(TEXTS))
def test_a_text_moved_to_another_field_is_another_question(request: AttemptRequest, to: str, away: str) -> None:
    values = {name: getattr(request, name) for name in request.__struct_fields__}
    moved = AttemptRequest(**{**values, to: values[to] + values[away], **({away: ""} if to != away else {})})

    assert (moved.digest() == request.digest()) == (content(moved) == content(request))


def test_every_field_of_a_question_is_in_its_digest_but_who_asks_and_its_id() -> None:
    plain = AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video="v", ip=1)
    values = {name: getattr(plain, name) for name in plain.__struct_fields__}
    silent = set()
    for name, value in values.items():
        changed = AttemptRequest(**{**values, name: value + 1 if isinstance(value, int) else value + "x"})
        if changed.digest() == plain.digest():
            silent.add(name)

    assert silent == {"cdn", "edge", "attempt_id"}


def test_the_two_addresses_of_a_question_do_not_run_together() -> None:
    numbers_of = [(0x101, 0x0), (0x10, 0x10), (0x1, 0x10), (0x11, 0x0)]
    digests = {
        AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video="v", ip=ip, server_ip=server_ip).digest()
        for ip, server_ip in numbers_of
    }

    assert len(digests) == len(numbers_of)


def test_a_flag_and_its_number_are_the_same_cut() -> None:
    one = AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video="v", ip=1, cut=Cut.VIDEO)
    other = AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video="v", ip=1, cut=8)

    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    ("password", "user"),
    [("user123|random", "user123"), ("a|b|c", "a"), ("|random", ""), ("plain", "plain"), ("", ""), ("é|x", "é")],
)
def test_a_pass_names_the_user_before_its_first_pipe(password: str, user: str) -> None:
    assert user_of(password) == user


def test_the_reasons_are_the_texts_that_players_compare() -> None:
    assert [str(reason) for reason in Reason] == [
        "",
        "Invalid IP Address",
        "Expiration date surpassed",
        "Invalid Auth Token",
        "Missing Auth Token",
        "Ticket Revoked",
        "Invalid Application",
        "Invalid Video",
        "Maximum uses exceeded",
        "Too many sessions",
        "Kicked",
    ]


def test_a_decision_is_accepted_exactly_without_a_reason() -> None:
    assert {reason for reason in Reason if Decision(reason=reason, attempt=1).accepted} == {Reason.NONE}


def test_a_pass_shows_in_no_repr_of_an_attempt_or_a_filter() -> None:
    request = AttemptRequest(cdn=1, edge=1, key="k", password="swordfish", app="a", video="v", ip=1)
    attempt = Attempt(
        id=1, cdn=1, at_ms=1, key="k", password="swordfish", app="a", appinst="", video="v", ip=1, pageurl="",
        refurl="", user_agent="", server_ip=0, edge=1, cut=0, reason="",
    )  # fmt: skip
    search = AttemptFilter(password="swordfish", user="swordfish", key="k")

    for shown in (repr(request), repr(attempt), repr(search), str([request]), f"{attempt}"):
        assert "swordfish" not in shown
        assert "key='k'" in shown


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 3)))
def test_groups_come_largest_first_and_ties_by_the_bytes_of_their_value(counts: dict[str, int]) -> None:
    ordered = in_order([Group(value, count) for value, count in counts.items()])

    assert len(ordered) == len(counts)
    for left, right in itertools.pairwise(ordered):
        assert left.count > right.count or (
            left.count == right.count and str(left.value).encode() < str(right.value).encode()
        )


def test_numbers_are_ordered_by_size() -> None:
    assert in_order([Group(10, 1), Group(9, 1), Group(2, 5)]) == [Group(2, 5), Group(9, 1), Group(10, 1)]
