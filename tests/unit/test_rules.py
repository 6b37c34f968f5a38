"""The admission rules against naive code over dicts (SEVU rulings, "order of checks")."""

from __future__ import annotations

from copy import deepcopy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.model import limits
from openusher.model.address import parse_address
from openusher.model.attempt import AttemptRequest, Cut, Reason, Verdict
from openusher.model.ticket import Ticket
from openusher.rules import decide, has_expired
from tests.oracles import admission

NOW_S = 1_700_000_000
PLAIN = Ticket(
    number=1, cdn=158, key="k1", password="user123|swordfish", app="acme-*", video="clips/*|a.mp4", ip="192.0.2.0/24",
    uses_limit=2, uses_taken=0, active=True, created_s=NOW_S - 60, expires_s=NOW_S + 60, used_s=0,
)  # fmt: skip
FITTING = AttemptRequest(
    cdn=158, edge=1, key="k1", password="user123|swordfish", app="acme-vod", video="clips/b.mp4",
    ip=parse_address("192.0.2.7"),
)  # fmt: skip


def verdict(ticket: Ticket | None = PLAIN, request: AttemptRequest = FITTING, *, now_ms: int = NOW_S * 1000) -> Verdict:
    return decide(ticket, request, now_ms=now_ms)


# --- against the oracle ---------------------------------------------------------------------------------------------

KEYS = ["k1", "k2", "stranger", "", "k" * 128, "k" * 129]
PASSES = ["right", "wrong", "", "é" * 128, "é" * 128 + "x"]
APPS = ["acme-vod", "acme-live", "ACME-vod", "a" * 129]
VIDEOS = ["a.mp4", "clips/a.mp4", "clips/x/a.mp4", "v" * 1024, "v" * 1025]
VIEWERS = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"]

tickets = st.fixed_dictionaries(
    {
        "pass": st.sampled_from(["right", "right", "é" * 128]),
        "app": st.sampled_from(["acme-vod", "acme-*", "*", "x|acme-live"]),
        "video": st.sampled_from(["*", "*", "clips/*", "a.mp4|clips/*/a.mp4", "v*"]),
        "ip": st.sampled_from(
            ["0.0.0.0/0", "::/0", "auto", "auto/24", "auto|auto", "auto/24|auto/24", "192.0.2.1|auto/8", "192.0.2.0/24"]
        ),
        "uses": st.integers(0, 3),
        "used": st.just(0),
        "active": st.sampled_from([True, True, True, False]),
        "expires_s": st.sampled_from([NOW_S, NOW_S + 1, NOW_S + 60, NOW_S + 60]),
    }
)
attempts = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["k1", "k1", "k2", *KEYS]),
        "pass": st.sampled_from(["right", "right", "right", *PASSES]),
        "app": st.sampled_from(["acme-vod", "acme-vod", *APPS]),
        "video": st.sampled_from(["a.mp4", "clips/a.mp4", *VIDEOS]),
        "ip": st.sampled_from(VIEWERS),
    }
)


def ticket_of(known: admission.Ticket, key: str) -> Ticket:
    return Ticket(
        number=1, cdn=158, key=key, password=known["pass"], app=known["app"], video=known["video"], ip=known["ip"],
        uses_limit=known["uses"], uses_taken=known["used"], active=known["active"], created_s=0,
        expires_s=known["expires_s"], used_s=0,
    )  # fmt: skip


def request_of(attempt: dict[str, str]) -> AttemptRequest:
    """Cut what is too long and mark it, as the door does."""
    cut = Cut.NONE
    texts = {}
    for member, bytes_max, flag in (
        ("key", limits.KEY_BYTES_MAX, Cut.KEY),
        ("pass", limits.PASS_BYTES_MAX, Cut.PASS),
        ("app", limits.APP_BYTES_MAX, Cut.APP),
        ("video", limits.VIDEO_BYTES_MAX, Cut.VIDEO),
    ):
        texts[member], was_cut = limits.cut_text(attempt[member], bytes_max=bytes_max)
        cut |= flag if was_cut else Cut.NONE
    return AttemptRequest(
        cdn=158, edge=1, key=texts["key"], password=texts["pass"], app=texts["app"], video=texts["video"],
        ip=parse_address(attempt["ip"]), cut=int(cut),
    )  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["k1", "k2", "k" * 128]), tickets, min_size=1),
    st.lists(st.tuples(attempts, st.integers(-1, 1500)), min_size=1, max_size=12),
)
def test_a_run_of_attempts_is_decided_as_the_oracle_decides_it(
    known: dict[str, admission.Ticket], run: list[tuple[dict[str, str], int]]
) -> None:
    expected_tickets = deepcopy(known)
    state = {key: ticket_of(ticket, key) for key, ticket in known.items()}
    for attempt, later_ms in run:
        now_ms = NOW_S * 1000 + later_ms
        expected = admission.decide(expected_tickets, attempt, now_ms=now_ms)

        request = request_of(attempt)
        ticket = state.get(request.key)
        got = decide(ticket, request, now_ms=now_ms)

        assert got.reason == expected
        if ticket is not None and got.reason is Reason.NONE:
            state[request.key] = msgspec.structs.replace(
                ticket, uses_taken=ticket.uses_taken + 1, ip=got.bound_ip or ticket.ip
            )
    assert {key: ticket_of(ticket, key) for key, ticket in expected_tickets.items()} == state


# --- the order of checks --------------------------------------------------------------------------------------------

# In the order ruled: what breaks that check alone, in the ticket and in the request.
FAULTS: list[tuple[Reason, dict[str, object], dict[str, object]]] = [
    (Reason.MISSING_TOKEN, {}, {"password": ""}),
    (Reason.INVALID_TOKEN, {"password": "other"}, {}),
    (Reason.REVOKED, {"active": False}, {}),
    (Reason.EXPIRED, {"expires_s": NOW_S}, {}),
    (Reason.INVALID_APP, {}, {"app": "other"}),
    (Reason.INVALID_VIDEO, {}, {"video": "other"}),
    (Reason.INVALID_IP, {}, {"ip": parse_address("198.51.100.1")}),
    (Reason.USES_EXCEEDED, {"uses_taken": 2}, {}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_each_fault_alone_is_its_own_reason(first: int) -> None:
    reason, ticket, request = FAULTS[first]

    assert verdict(msgspec.structs.replace(PLAIN, **ticket), msgspec.structs.replace(FITTING, **request)) == Verdict(
        reason
    )


@given(st.sets(st.sampled_from(range(len(FAULTS)))))
def test_of_several_faults_the_first_in_the_ruled_order_is_the_reason(faults: set[int]) -> None:
    ticket, request = PLAIN, FITTING
    for fault in faults:
        ticket = msgspec.structs.replace(ticket, **FAULTS[fault][1])
        request = msgspec.structs.replace(request, **FAULTS[fault][2])
    expected = FAULTS[min(faults)][0] if faults else Reason.NONE

    assert verdict(ticket, request).reason is expected


def test_every_reason_has_its_place_in_the_order() -> None:
    # What sessions say against a start the ledger knows, and says it last.
    of_sessions = {Reason.TOO_MANY_SESSIONS, Reason.KICKED}
    assert {reason for reason, _, _ in FAULTS} == set(Reason) - {Reason.NONE} - of_sessions


# --- the edges of each check ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["key", "password"])
def test_a_missing_key_or_pass_is_said_before_anything_is_looked_up(missing: str) -> None:
    request = msgspec.structs.replace(FITTING, **{missing: ""})

    assert verdict(None, request) == Verdict(Reason.MISSING_TOKEN)
    assert verdict(PLAIN, request) == Verdict(Reason.MISSING_TOKEN)


def test_an_unknown_key_and_a_wrong_pass_get_one_answer() -> None:
    assert verdict(None) == verdict(request=msgspec.structs.replace(FITTING, password="wrong"))
    assert verdict(None) == Verdict(Reason.INVALID_TOKEN)


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (Cut.KEY, Reason.INVALID_TOKEN),
        (Cut.PASS, Reason.INVALID_TOKEN),
        (Cut.APP, Reason.INVALID_APP),
        (Cut.VIDEO, Reason.INVALID_VIDEO),
        (Cut.APPINST | Cut.PAGEURL | Cut.REFURL | Cut.USER_AGENT, Reason.NONE),
    ],
)
def test_a_field_that_was_cut_is_refused_where_the_ticket_names_it_even_if_the_rest_fits(
    cut: Cut, reason: Reason
) -> None:
    anything = msgspec.structs.replace(PLAIN, app="*", video="*")

    assert verdict(anything, msgspec.structs.replace(FITTING, cut=int(cut))).reason is reason


def test_a_ticket_is_good_until_its_second_of_expiry_begins() -> None:
    assert verdict(now_ms=PLAIN.expires_s * 1000 - 1).reason is Reason.NONE
    assert verdict(now_ms=PLAIN.expires_s * 1000).reason is Reason.EXPIRED
    assert not has_expired(PLAIN, now_ms=PLAIN.expires_s * 1000 - 1)
    assert has_expired(PLAIN, now_ms=PLAIN.expires_s * 1000)


def test_no_use_is_left_once_as_many_are_taken_as_allowed() -> None:
    reasons = [verdict(msgspec.structs.replace(PLAIN, uses_taken=taken)).reason for taken in range(4)]

    assert reasons == [Reason.NONE, Reason.NONE, Reason.USES_EXCEEDED, Reason.USES_EXCEEDED]


def test_a_limit_of_zero_uses_is_no_limit() -> None:
    assert verdict(msgspec.structs.replace(PLAIN, uses_limit=0, uses_taken=10**9)).reason is Reason.NONE


def test_an_auto_binds_only_in_an_attempt_that_is_accepted() -> None:
    auto = msgspec.structs.replace(PLAIN, ip="auto/24")

    assert verdict(auto) == Verdict(Reason.NONE, "192.0.2.0/24")
    for fault in range(len(FAULTS)):
        ticket = msgspec.structs.replace(auto, **FAULTS[fault][1])
        request = msgspec.structs.replace(FITTING, **FAULTS[fault][2])
        if FAULTS[fault][0] is not Reason.INVALID_IP:
            assert verdict(ticket, request) == Verdict(FAULTS[fault][0])


def test_a_viewer_who_is_admitted_leaves_the_ticket_as_it_was_given() -> None:
    for ip in ("192.0.2.7|auto", "auto|0.0.0.0/0", " 192.0.2.0/24 | AUTO "):
        assert verdict(msgspec.structs.replace(PLAIN, ip=ip)) == Verdict(Reason.NONE)
