"""What any ledger promises of sessions: opened with their attempt, joined by the same viewer, ended for ever."""

from __future__ import annotations

from typing import Any

import pytest

from openusher.ledger.base import (
    Decide,
    Done,
    EndSessions,
    Issue,
    Ledger,
    Operation,
    Outcome,
    Revoke,
    SeeSessions,
    Start,
)
from openusher.model.attempt import Decision
from openusher.model.search import AttemptFilter
from openusher.model.session import EndedBy, Session, SessionWish, Started
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import LedgerBench

pytestmark = pytest.mark.anyio
HOUR_MS, IDLE_MS, HOP_MS = 3_600_000, 300_000, 15_000


def start(
    name: str = "s1",
    *,
    base: str = "/live/cam1/",
    cdn: int = 1,
    seen: tuple[tuple[int, int], ...] = (),
    **asked: Any,
) -> Start:
    wish = SessionWish(id=name, base=base, resume_ms=HOUR_MS, idle_ms=IDLE_MS, hop_ms=HOP_MS, hold_ms=60_000, seen=seen)
    return Start(request(cdn, **asked), wish)


def issue(cdn: int = 1, **rules: Any) -> Issue:
    return Issue(ticket=ticket(cdn, **rules))


async def commit(ledger: Ledger, *operations: Operation, now_ms: int = NOON_MS) -> list[Outcome]:
    return await ledger.commit_batch(operations, now_ms=now_ms)


async def started(ledger: Ledger, *starts: Start, now_ms: int = NOON_MS) -> list[Started]:
    outcomes = await commit(ledger, *starts, now_ms=now_ms)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Started)]
    assert len(accepted) == len(starts), outcomes
    return accepted


async def live(ledger: Ledger) -> list[Session]:
    return (await ledger.live_sessions(after=0, limit=100)).sessions


async def recorded(ledger: Ledger, cdn: int = 1) -> int:
    return (await ledger.count_pending(cdn, AttemptFilter())).count


async def test_an_accepted_start_opens_a_session_with_its_attempt(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=3))
    asked = start(ip="192.0.2.9", user_agent="player", app="live", video="cam1", appinst="play")
    (outcome,) = await started(ledger, asked)

    session = outcome.session
    assert outcome.is_new
    assert outcome.decision == Decision(
        reason=outcome.decision.reason, attempt=1, uses_left=2, expires_s=outcome.ticket.expires_s
    )
    assert (session.number, session.id, session.cdn, session.edge) == (1, "s1", 1, asked.request.edge)
    assert (session.app, session.appinst, session.video, session.base) == ("live", "play", "cam1", "/live/cam1/")
    assert (session.ip, session.user_agent, session.attempt) == (asked.request.ip, "player", 1)
    assert (session.started_ms, session.seen_ms, session.watched_ms, session.ended_ms) == (NOON_MS, NOON_MS, 0, 0)
    assert (outcome.ticket.uses_taken, session.ticket) == (1, outcome.ticket.number)
    found = await ledger.live_sessions(after=0, limit=100)
    assert (found.sessions, found.tickets) == ([session], [outcome.ticket])


async def test_a_refused_start_opens_none(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=1))
    outcomes = await commit(ledger, start(), start("s2", password="wrong"), start("s3", base="/live/cam2/"))

    assert [type(outcome).__name__ for outcome in outcomes] == ["Started", "Decision", "Decision"]
    assert [session.id for session in await live(ledger)] == ["s1"]
    assert await recorded(ledger) == 3


async def test_parallel_starts_of_one_viewer_are_one_session_and_one_use(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=1))
    first, twin = await started(ledger, start("s1"), start("s2"))
    (later,) = await started(ledger, start("s3"), now_ms=NOON_MS + 1_000)

    assert (first.is_new, twin.is_new, later.is_new) == (True, False, False)
    assert first.session == twin.session == later.session
    assert later.decision.attempt == first.decision.attempt == 1
    assert (later.decision.uses_left, await recorded(ledger)) == (0, 1)


@pytest.mark.parametrize(
    "changed",
    [{"ip": "192.0.2.77"}, {"user_agent": "another"}, {"base": "/live/cam2/"}, {"edge": 9}],
)
async def test_another_viewer_or_video_is_another_session(ledger: Ledger, changed: dict[str, Any]) -> None:
    await commit(ledger, issue())
    first, other = await started(ledger, start("s1"), start("s2", **changed))

    assert first.session.id != other.session.id
    assert (other.is_new, await recorded(ledger)) == (True, 2)


async def test_one_account_never_joins_anothers_session(ledger: Ledger) -> None:
    await commit(ledger, issue(1), issue(2))
    one, two = await started(ledger, start("s1", cdn=1), start("s2", cdn=2))

    assert (one.session.cdn, two.session.cdn, two.is_new) == (1, 2, True)


async def test_a_session_that_was_silent_too_long_is_not_joined(ledger: Ledger) -> None:
    await commit(ledger, issue())
    await started(ledger, start("s1"))
    (within,) = await started(ledger, start("s2"), now_ms=NOON_MS + HOUR_MS)
    (after,) = await started(ledger, start("s3"), now_ms=NOON_MS + HOUR_MS + 1)

    assert (within.session.id, after.session.id) == ("s1", "s3")


async def test_what_was_seen_is_kept_and_never_goes_back(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue())
    (opened,) = await started(ledger, start())
    number = opened.session.number
    outcomes = await commit(
        ledger, SeeSessions([(number, NOON_MS + 9_000, 9_000)]), SeeSessions([(number, NOON_MS + 5_000, 5_000)])
    )
    await ledger.close()
    ledger = await bench.open()
    (session,) = await live(ledger)
    await ledger.close()

    assert outcomes == [Done(), Done()]
    assert (session.seen_ms, session.watched_ms) == (NOON_MS + 9_000, 9_000)


async def test_an_ended_session_is_not_joined_and_stays_as_it_ended(ledger: Ledger) -> None:
    await commit(ledger, issue())
    (opened,) = await started(ledger, start("s1"))
    kicked = EndSessions(numbers=[opened.session.number], by=EndedBy.KICKED)
    outcomes = await commit(ledger, kicked, start("s2"), EndSessions(numbers=[opened.session.number], by="silence"))

    assert isinstance(outcomes[1], Started)
    assert (outcomes[1].session.id, outcomes[1].is_new) == ("s2", True)
    assert [session.id for session in await live(ledger)] == ["s2"]


async def test_a_session_opened_and_ended_in_one_batch_has_ended(ledger: Ledger) -> None:
    await commit(ledger, issue())
    await commit(ledger, start("s1"), EndSessions(numbers=[1], by=EndedBy.KICKED))

    assert await live(ledger) == []


async def test_a_revoked_tickets_sessions_end_with_it(ledger: Ledger) -> None:
    await commit(ledger, issue(), issue(key="other"))
    await started(ledger, start("s1"), start("s2", base="/b/"), start("s3", key="other"))
    outcomes = await commit(ledger, start("s4", base="/c/"), Revoke(cdn=1, key="k"), start("s1"))

    assert [type(outcome).__name__ for outcome in outcomes] == ["Started", "Ticket", "Decision"]
    assert [session.id for session in await live(ledger)] == ["s3"]


async def test_an_expired_tickets_session_is_not_joined(ledger: Ledger) -> None:
    expires_s = NOON_MS // 1_000 + 60
    await commit(ledger, issue(expires_s=expires_s))
    await started(ledger, start("s1"))
    (outcome,) = await commit(ledger, start("s2"), now_ms=expires_s * 1_000)

    assert isinstance(outcome, Decision)
    assert outcome.reason == "Expiration date surpassed"


async def test_ended_sessions_are_found_by_account_and_time_and_pruned(ledger: Ledger) -> None:
    await commit(ledger, issue(), issue(cdn=2))
    await started(ledger, *[start(f"s{n}", base=f"/{n}/") for n in range(4)], start("other", cdn=2))
    for n, number in enumerate((2, 1, 3, 5)):
        await commit(ledger, EndSessions(numbers=[number], by=EndedBy.KICKED), now_ms=NOON_MS + n)

    async def ended(from_ms: int, limit: int = 9) -> list[str]:
        found = await ledger.ended_sessions(1, from_ms=from_ms, limit=limit)
        assert {ticket.number for ticket in found.tickets} == {session.ticket for session in found.sessions}
        return [session.id for session in found.sessions]

    assert await ended(0) == ["s2", "s0", "s1"]
    assert (await ended(NOON_MS + 1), await ended(0, limit=1)) == (["s2", "s0"], ["s2"])
    assert await ledger.prune_sessions(before_ms=NOON_MS + 2, limit=1) == 1
    assert await ledger.prune_sessions(before_ms=NOON_MS + 2, limit=9) == 1
    assert await ledger.prune_sessions(before_ms=NOON_MS + 2, limit=9) == 0
    assert (await ended(0), len(await live(ledger))) == (["s2"], 1)


async def test_sessions_are_numbered_anew_never_again(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue())
    await started(ledger, start("s1"))
    await ledger.close()
    bench.tamper("DELETE FROM sessions")
    ledger = await bench.open()
    (again,) = await started(ledger, start("s2"))
    await ledger.close()

    assert again.session.number == 2


# --- places ---------------------------------------------------------------------------------------------------------


async def test_a_ticket_takes_so_many_sessions_at_once_and_no_use_for_one_too_many(ledger: Ledger) -> None:
    await commit(ledger, issue(max_sessions=2, uses_limit=9))
    outcomes = await commit(ledger, *[start(f"s{n}", ip=f"192.0.2.{n}") for n in range(4)])

    assert said(outcomes) == ["s0", "s1", "Too many sessions", "Too many sessions"]
    kept = await ledger.ticket(1, "k")
    assert kept is not None
    assert (kept.uses_taken, await recorded(ledger)) == (2, 4)


async def test_silence_frees_the_place_and_what_the_door_has_seen_since_keeps_it(ledger: Ledger) -> None:
    await commit(ledger, issue(max_sessions=1))
    (first,) = await started(ledger, start("s1", ip="192.0.2.1"))
    seen = ((first.session.number, NOON_MS + 60_000),)
    later_ms = NOON_MS + 60_000 + IDLE_MS

    kept = await commit(ledger, start("s2", ip="192.0.2.2", seen=seen), now_ms=later_ms - 1)
    freed = await commit(ledger, start("s3", ip="192.0.2.2", seen=seen), now_ms=later_ms)
    assert (said(kept), said(freed)) == (["Too many sessions"], ["s3"])


async def test_one_who_hops_channels_leaves_the_old_place_soon(ledger: Ledger) -> None:
    await commit(ledger, issue(max_sessions=1))
    await started(ledger, start("s1"))

    too_soon = await commit(ledger, start("s2", base="/live/cam2/"), now_ms=NOON_MS + HOP_MS - 1)
    another = await commit(ledger, start("s3", base="/live/cam2/", user_agent="x"), now_ms=NOON_MS + HOP_MS)
    hopped = await commit(ledger, start("s4", base="/live/cam2/"), now_ms=NOON_MS + HOP_MS)
    assert said([*too_soon, *another, *hopped]) == ["Too many sessions", "Too many sessions", "s4"]


async def test_the_new_session_wins_where_the_ticket_says_so(ledger: Ledger) -> None:
    await commit(ledger, issue(max_sessions=2, newest_wins=True))
    for n in range(2):
        await started(ledger, start(f"s{n}", ip=f"192.0.2.{n}"), now_ms=NOON_MS + n * 1_000)
    # The first was seen since, so that the second is the one who was seen least lately.
    seen = ((1, NOON_MS + 5_000), (2, NOON_MS + 1_000))
    (third,) = await started(ledger, start("s2", ip="192.0.2.9", seen=seen), now_ms=NOON_MS + 6_000)

    assert third.replaced == (2,)
    assert [session.id for session in await live(ledger)] == ["s0", "s2"]


async def test_two_viewers_do_not_end_each_other_in_turn(ledger: Ledger) -> None:
    await commit(ledger, issue(max_sessions=1, newest_wins=True, uses_limit=9))
    await started(ledger, start("s1", ip="192.0.2.1"))
    await started(ledger, start("s2", ip="192.0.2.2"), now_ms=NOON_MS + 1)

    at_once = await commit(ledger, start("s3", ip="192.0.2.1"), now_ms=NOON_MS + 60_000)
    later = await commit(ledger, start("s4", ip="192.0.2.1"), now_ms=NOON_MS + 60_001)
    assert (said(at_once), said(later)) == (["Too many sessions"], ["s4"])


async def test_sessions_are_read_page_by_page(ledger: Ledger) -> None:
    await commit(ledger, issue())
    await started(ledger, *[start(f"s{n}", base=f"/{n}/") for n in range(5)])
    await commit(ledger, EndSessions(numbers=[2], by=EndedBy.KICKED))
    pages = [(await ledger.live_sessions(after=after, limit=2)).sessions for after in (0, 3, 5)]

    assert [[session.number for session in page] for page in pages] == [[1, 3], [4, 5], []]


# --- kicks ----------------------------------------------------------------------------------------------------------


async def test_who_was_kicked_is_refused_for_a_while_at_that_address_only(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(), issue(key="other"))
    (opened,) = await started(ledger, start("s1"))
    number, held = opened.session.number, ((opened.ticket.number, opened.session.ip),)
    await commit(ledger, EndSessions(numbers=[number], by=EndedBy.KICKED, held=held, hold_ms=60_000))
    asked: list[Operation] = [start("s2"), Decide(request(1)), start("s3", ip="192.0.2.9"), start("s4", key="other")]
    at_once = said(await commit(ledger, *asked))
    await ledger.close()
    ledger = await bench.open()
    reopened = said(await commit(ledger, start("s5"), now_ms=NOON_MS + 59_999))
    after = said(await commit(ledger, start("s6"), now_ms=NOON_MS + 60_000))
    kept = await ledger.ticket(1, "k")
    await ledger.close()

    assert (at_once, reopened, after) == (["Kicked", "Kicked", "s3", "s4"], ["Kicked"], ["s6"])
    assert kept is not None
    assert kept.uses_taken == 3


async def test_a_repeated_question_is_refused_too_after_a_kick(ledger: Ledger) -> None:
    await commit(ledger, issue())
    (opened,) = await started(ledger, start("s1"))
    asked = Decide(request(1, attempt_id="0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01"))
    held = ((opened.ticket.number, opened.session.ip),)
    first = said(await commit(ledger, asked))
    await commit(ledger, EndSessions(numbers=[1], by=EndedBy.KICKED, held=held, hold_ms=60_000))

    assert (first, said(await commit(ledger, asked, Decide(request(1))))) == ([""], ["Kicked", "Kicked"])


def said(outcomes: list[Outcome]) -> list[str]:
    """The id of the session that a start has, or what was said against it."""
    names = []
    for outcome in outcomes:
        assert isinstance(outcome, Started | Decision), outcome
        names.append(outcome.session.id if isinstance(outcome, Started) else outcome.reason.value)
    return names
