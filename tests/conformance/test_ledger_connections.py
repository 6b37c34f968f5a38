"""What any ledger promises of connections: a server names them, and what is ended here is owed to that server."""

from __future__ import annotations

from typing import Any

import pytest

from openusher.ledger.base import HOOK, Decide, EndSessions, Ledger, PayKicks, Revoke, SeeSessions, Start
from openusher.model.attempt import Reason
from openusher.model.session import EndedBy, SessionWish, Started
from tests.conformance.asking import NOON_MS, new_account, request
from tests.conformance.ledgers import LedgerBench
from tests.conformance.test_ledger_sessions import (
    HOUR_MS,
    IDLE_MS,
    commit,
    issue,
    live,
    recorded,
    said,
    start,
    started,
)

pytestmark = pytest.mark.anyio
MINUTE_MS = 60_000


def connect(
    name: str = "s1",
    client: str = "c1",
    *,
    repeat_ms: int = MINUTE_MS,
    ends: tuple[int, ...] = (),
    takes_over: int = 0,
    seen: tuple[tuple[int, int], ...] = (),
    video: str = "cam1",
    **asked: Any,
) -> Start:
    wish = SessionWish(
        id=name,
        base=f"live//{video}",
        resume_ms=HOUR_MS,
        idle_ms=IDLE_MS,
        hop_ms=15_000,
        hold_ms=MINUTE_MS,
        seen=seen,
        client=client,
        repeat_ms=repeat_ms,
        ends=ends,
        takes_over=takes_over,
    )
    return Start(request(1, video=video, attempt_id=f"{HOOK}{client}.{video}.{sorted(asked.items())}", **asked), wish)


async def uses(ledger: Ledger) -> int:
    ticket = await ledger.ticket(1, "k")
    assert ticket is not None
    return ticket.uses_taken


async def owed(ledger: Ledger) -> list[str]:
    return [session.id for session in (await ledger.owed_sessions(after=0, limit=99)).sessions]


# --- the same question, and another -----------------------------------------------------------------------------------


async def test_the_same_question_within_a_minute_is_one_use(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9))
    first, twin = await started(ledger, connect("s1"), connect("s2"))
    (within,) = await started(ledger, connect("s3"), now_ms=NOON_MS + MINUTE_MS)
    (after,) = await started(ledger, connect("s4", ends=(1,)), now_ms=NOON_MS + MINUTE_MS + 1)

    assert [each.session.id for each in (first, twin, within, after)] == ["s1", "s1", "s1", "s4"]
    assert (await uses(ledger), await recorded(ledger)) == (2, 2)
    assert [session.id for session in await live(ledger)] == ["s4"]


async def test_a_name_that_the_viewer_may_have_chosen_makes_no_question_the_same(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9))
    # Asked again in the same millisecond even.
    asked = [
        Start(request(1), connect("s1", repeat_ms=0).wish),
        Start(request(1), connect("s2", repeat_ms=0).wish),
    ]
    await started(ledger, asked[0])
    (again,) = await started(ledger, asked[1], now_ms=NOON_MS + 1)

    assert (again.session.id, again.is_new, await uses(ledger)) == ("s2", True, 2)


@pytest.mark.parametrize("changed", [{"client": "c2"}, {"ip": "192.0.2.77"}, {"user_agent": "x"}, {"video": "cam2"}])
async def test_another_connection_or_viewer_is_another_session(ledger: Ledger, changed: dict[str, Any]) -> None:
    await commit(ledger, issue(uses_limit=9))
    first, other = await started(ledger, connect("s1"), connect("s2", **changed))

    assert (first.session.id, other.session.id, other.is_new, await uses(ledger)) == ("s1", "s2", True, 2)


async def test_a_refused_question_that_comes_again_is_one_attempt_for_a_minute(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(uses_limit=9))
    wrong = connect(password="wrong")
    at_once = said(await commit(ledger, wrong, wrong))
    await ledger.close()
    ledger = await bench.open()
    within = said(await commit(ledger, wrong, now_ms=NOON_MS + MINUTE_MS))
    kept = await recorded(ledger)
    after = said(await commit(ledger, wrong, now_ms=NOON_MS + MINUTE_MS + 1))

    assert at_once + within + after == ["Invalid Auth Token"] * 4
    assert (kept, await recorded(ledger)) == (1, 2)
    await ledger.close()


async def test_a_question_whose_connection_has_ended_is_a_new_one(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=2))
    await started(ledger, connect("s1"))
    await commit(ledger, EndSessions(numbers=[1], by=EndedBy.STOPPED))

    assert said(await commit(ledger, connect("s2"))) == ["s2"]
    assert await uses(ledger) == 2


async def test_a_first_yes_is_not_repeated_once_it_no_longer_holds(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9))
    await started(ledger, connect("s1"))
    await commit(ledger, Revoke(cdn=1, key="k"))

    assert said(await commit(ledger, connect("s2"))) == ["Ticket Revoked"]


async def test_what_was_open_under_the_name_is_over_whatever_is_decided(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9, max_sessions=1))
    await started(ledger, connect("s1"))
    refused = said(await commit(ledger, connect("s2", ends=(1,), password="wrong", video="cam2")))

    assert (refused, await live(ledger)) == (["Invalid Auth Token"], [])
    await started(ledger, connect("s3"))
    # Its place is free in the same batch.
    assert said(await commit(ledger, connect("s4", ends=(2,), video="cam2"))) == ["s4"]


# --- two names for one ------------------------------------------------------------------------------------------------


async def test_a_session_goes_on_by_its_second_name(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(uses_limit=9))
    await started(ledger, connect("s1", "~one"))
    (taken,) = await started(ledger, connect("s2", "two", takes_over=1))
    await ledger.close()
    ledger = await bench.open()
    (kept,) = await live(ledger)

    assert (taken.session.id, taken.is_new, taken.session.client, kept) == ("s1", False, "two", taken.session)
    assert await uses(ledger) == 1
    await ledger.close()


@pytest.mark.parametrize("changed", [{"ip": "192.0.2.77"}, {"video": "cam2"}, {"user_agent": "x"}])
async def test_nobody_takes_over_the_session_of_another(ledger: Ledger, changed: dict[str, Any]) -> None:
    await commit(ledger, issue(uses_limit=9))
    await started(ledger, connect("s1", "~one"))
    (other,) = await started(ledger, connect("s2", "two", takes_over=1, **changed))

    assert (other.session.id, other.is_new, await uses(ledger)) == ("s2", True, 2)


@pytest.mark.parametrize("together", [True, False])
async def test_a_session_is_taken_over_once(ledger: Ledger, together: bool) -> None:
    """Both of its viewer's connections may have asked before the first was answered."""
    await commit(ledger, issue(uses_limit=1))
    await started(ledger, connect("s1", "~one"))
    halves = connect("s2", "two", takes_over=1), connect("s3", "three", takes_over=1)
    if together:
        taken, refused = await commit(ledger, *halves)
    else:
        taken, refused = [(await commit(ledger, half))[0] for half in halves]
    (again,) = await started(ledger, halves[0])

    assert isinstance(taken, Started)
    assert (said([taken, refused]), await uses(ledger)) == (["s1", Reason.USES_EXCEEDED], 1)
    assert (again.session, await live(ledger)) == (taken.session, [taken.session])


async def test_an_ended_session_is_not_taken_over(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9))
    await started(ledger, connect("s1", "~one"))
    outcomes = await commit(ledger, EndSessions(numbers=[1], by=EndedBy.KICKED), connect("s2", "two", takes_over=1))

    assert isinstance(outcomes[1], Started)
    assert outcomes[1].is_new


# --- places -----------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_never_asked_about_again_keeps_its_place(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9, max_sessions=1))
    await started(ledger, connect("s1"))
    later_ms = NOON_MS + 10 * IDLE_MS

    assert said(await commit(ledger, connect("s2", "c2"), now_ms=later_ms)) == ["Too many sessions"]
    await commit(ledger, EndSessions(numbers=[1], by=EndedBy.STOPPED))
    assert said(await commit(ledger, connect("s3", "c3"), now_ms=later_ms)) == ["s3"]


async def test_one_that_was_asked_about_again_goes_by_silence_and_never_hops(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9, max_sessions=1))
    await started(ledger, connect("s1"))
    seen_ms = NOON_MS + 30_000
    await commit(ledger, SeeSessions([(1, seen_ms, 30_000)]))

    def second(name: str) -> Start:
        return connect(name, name, video="cam2", seen=((1, seen_ms),))

    # Another connection of the same player is no proof that it has left this one.
    assert said(await commit(ledger, second("s2"), now_ms=seen_ms + IDLE_MS - 1)) == ["Too many sessions"]
    assert said(await commit(ledger, second("s3"), now_ms=seen_ms + IDLE_MS)) == ["s3"]


async def test_a_player_with_two_connections_watches_by_both(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9, max_sessions=2))
    await started(ledger, connect("s1"))
    seen_ms = NOON_MS + 30_000
    await commit(ledger, SeeSessions([(1, seen_ms, 30_000)]))
    await started(ledger, connect("s2", "c2", video="cam2"), now_ms=seen_ms)
    third = connect("s3", "c3", ip="192.0.2.9", seen=((1, seen_ms), (2, seen_ms)))

    assert said(await commit(ledger, third, now_ms=seen_ms + 20_000)) == ["Too many sessions"]


# --- what is owed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "is_owed"),
    [
        (EndedBy.KICKED, True),
        (EndedBy.EXPIRED, True),
        (EndedBy.REPLACED, True),
        (EndedBy.DURATION, True),
        (EndedBy.STOPPED, False),
        (EndedBy.SILENCE, False),
    ],
)
async def test_what_is_ended_here_is_owed_to_its_server_until_paid(
    bench: LedgerBench, by: EndedBy, is_owed: bool
) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(uses_limit=9))
    # A viewer who asks for each file is told at the next.
    await started(ledger, connect("s1"), connect("s2", "c2"), start("polled", base="/live/cam1/"))
    await commit(ledger, EndSessions(numbers=[1, 3], by=by))
    await commit(ledger, EndSessions(numbers=[1], by=EndedBy.STOPPED))
    await ledger.close()
    ledger = await bench.open()

    assert await owed(ledger) == (["s1"] if is_owed else [])
    await commit(ledger, PayKicks([1]))
    assert await owed(ledger) == []
    await ledger.close()


async def test_a_revoked_tickets_connections_are_owed_page_by_page(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9), issue(key="other"))
    await started(ledger, *[connect(f"s{n}", f"c{n}") for n in range(3)], connect("s9", "c9", key="other"))
    await commit(ledger, Revoke(cdn=1, key="k"))
    pages = [(await ledger.owed_sessions(after=after, limit=2)).sessions for after in (0, 2, 3)]

    assert [[session.id for session in page] for page in pages] == [["s0", "s1"], ["s2"], []]


async def test_who_is_replaced_is_owed(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=9, max_sessions=1, newest_wins=True))
    await started(ledger, connect("s1", ip="192.0.2.1"))
    (second,) = await started(ledger, connect("s2", "c2", ip="192.0.2.2"))

    assert (second.replaced, await owed(ledger)) == ((1,), ["s1"])


async def test_a_plain_question_of_a_server_that_was_accepted_is_asked_anew(ledger: Ledger) -> None:
    """Only a session can say that it is the same play."""
    await commit(ledger, issue(uses_limit=2))
    asked = Decide(request(1, attempt_id=f"{HOOK}c1"))

    assert said(await commit(ledger, asked, asked, asked)) == ["", "", "Maximum uses exceeded"]


async def test_who_replaced_himself_comes_back_where_there_is_room(ledger: Ledger) -> None:
    """A lost network has a player begin anew before its server knows that the first connection is gone."""
    await commit(ledger, issue(uses_limit=9, max_sessions=1, newest_wins=True))
    await started(ledger, connect("s1", "one"))
    (second,) = await started(ledger, connect("s2", "two"), now_ms=NOON_MS + 1_000)
    no_room = await commit(ledger, connect("s3", "three"), now_ms=NOON_MS + 2_000)
    await commit(ledger, EndSessions(numbers=[2], by=EndedBy.STOPPED), now_ms=NOON_MS + 3_000)
    (fourth,) = await started(ledger, connect("s4", "four"), now_ms=NOON_MS + 4_000)

    assert (second.replaced, said(no_room)) == ((1,), [Reason.TOO_MANY_SESSIONS])
    assert (fourth.session.id, fourth.replaced, [each.id for each in await live(ledger)]) == ("s4", (), ["s4"])
