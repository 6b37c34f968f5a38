"""The book of live sessions by itself: places, addresses, what the ledger is told, what it says after a fault."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.errors import CommitUnknown
from openusher.gate import Gate
from openusher.ledger.base import Revoke
from openusher.livesession import Live
from openusher.model.account import Edge, Secret
from openusher.model.address import parse_address
from openusher.model.attempt import Decision, Reason
from openusher.model.session import FoundSessions, Session, SessionFilter, SessionLimits, Started
from openusher.model.ticket import Ticket
from openusher.sessionbook import Refusal, SessionBook
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.watching import Asked, Verdict
from openusher.web.edges.question import Question, request_of
from tests.conformance.asking import NOON_MS, ticket
from tests.conformance.ledgers import Fault, SqliteBench

pytestmark = pytest.mark.anyio
IDLE_MS, RESUME_MS, HOP_MS = 300_000, 3_600_000, 15_000
LIMITS = SessionLimits(
    idle_ms=IDLE_MS,
    resume_ms=RESUME_MS,
    addresses_max=2,
    hop_ms=HOP_MS,
    hold_ms=60_000,
    connection_ms=86_400_000,
    ended_kept_ms=1,
)
EDGE = Edge(number=1, cdn=1, name="e", token_digest="d", kind="nginx")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_ticket(*, max_sessions: int = 0, ip: str = "0.0.0.0/0") -> Ticket:
    return Ticket(number=1, cdn=1, key="k", password="p", app="*", video="*", ip=ip, uses_limit=0, uses_taken=0,
                  active=True, created_s=0, expires_s=4_000_000_000, used_s=0, max_sessions=max_sessions)  # fmt: skip


def a_session(number: int, *, at_ms: int = NOON_MS, agent: str = "", base: str = "/live/cam1/") -> Session:
    return Session(number=number, id=f"s{number}", cdn=1, edge=1, ticket=1, viewer=f"v{number}", app="live", appinst="",
                   video="cam1", base=base, ip=parse_address("192.0.2.1"), user_agent=agent or f"player {number}",
                   attempt=number, started_ms=at_ms, seen_ms=at_ms, watched_ms=0, ended_ms=0, ended_by="")  # fmt: skip


def started(book: SessionBook, session: Session, of: Ticket) -> Live:
    decision = Decision(reason=Reason.NONE, attempt=session.attempt)
    return book.started(Started(decision=decision, session=session, ticket=of, is_new=True))


def follow(book: SessionBook, live: Live, at_ms: int, ip: str = "192.0.2.1") -> str:
    return book.follow(live, parse_address(ip), now_ms=at_ms).value


# Places


def test_one_who_slept_while_another_came_needs_room_to_wake() -> None:
    book, limited = SessionBook(LIMITS), a_ticket(max_sessions=1)
    sleeping = started(book, a_session(1), limited)
    came_ms = NOON_MS + IDLE_MS
    coming = started(book, a_session(2, at_ms=came_ms), limited)

    assert follow(book, sleeping, came_ms + 1) == Refusal.NO_PLACE
    assert follow(book, coming, came_ms + 2) == ""
    assert follow(book, sleeping, came_ms + 2 + IDLE_MS) == ""
    assert follow(book, coming, came_ms + 3 + IDLE_MS) == Refusal.NO_PLACE


def test_one_who_went_to_another_video_does_not_watch_both() -> None:
    book, limited = SessionBook(LIMITS), a_ticket(max_sessions=1)
    left = started(book, a_session(1, agent="x"), limited)
    taken = started(book, a_session(2, at_ms=NOON_MS + HOP_MS, agent="x", base="/live/cam2/"), limited)

    assert follow(book, left, NOON_MS + HOP_MS + 1) == Refusal.NO_PLACE
    assert follow(book, taken, NOON_MS + HOP_MS + 1) == ""


def test_after_a_restart_who_slept_needs_room_as_before() -> None:
    book, limited = SessionBook(LIMITS), a_ticket(max_sessions=1)
    came_ms = NOON_MS + IDLE_MS
    sessions = [a_session(1), a_session(2, at_ms=came_ms)]
    book.load(FoundSessions(sessions=sessions, tickets=[limited]), clock_ms=came_ms, now_ms=came_ms + RESUME_MS)
    sleeping, watching = sorted(book.all(), key=lambda live: live.session.number)

    assert follow(book, sleeping, came_ms + RESUME_MS + 1) == Refusal.NO_PLACE
    assert follow(book, watching, came_ms + RESUME_MS + 1) == ""


# What counts as silence, and from where


def test_a_nodes_own_downtime_is_no_silence() -> None:
    book = SessionBook(LIMITS)
    found = FoundSessions(sessions=[a_session(1)], tickets=[a_ticket()])
    book.load(found, clock_ms=NOON_MS + 1_000, now_ms=NOON_MS + 10 * RESUME_MS)
    (live,) = book.all()

    assert follow(book, live, NOON_MS + 10 * RESUME_MS + RESUME_MS - 1_000) == ""
    assert follow(book, live, NOON_MS + 12 * RESUME_MS) == Refusal.ENDED


def test_a_pause_is_not_watched_and_play_is() -> None:
    book = SessionBook(LIMITS)
    live = started(book, a_session(1), a_ticket())
    for at_ms in (5_000, 10_000, 10_000 + IDLE_MS + 1, 15_001 + IDLE_MS):
        assert follow(book, live, NOON_MS + at_ms) == ""

    assert live.watched_ms == 15_000
    taken = book.take_seen()
    assert taken is not None
    assert taken.seen == [(1, NOON_MS + 15_001 + IDLE_MS, 15_000)]


def test_addresses_are_counted_by_ten_minutes() -> None:
    book = SessionBook(LIMITS)
    live = started(book, a_session(1), a_ticket())
    assert follow(book, live, NOON_MS, "192.0.2.2") == ""
    assert follow(book, live, NOON_MS + 1, "192.0.2.3") == Refusal.ADDRESSES
    assert follow(book, live, NOON_MS + 599_999, "192.0.2.3") == Refusal.ADDRESSES
    assert follow(book, live, NOON_MS + 600_000, "192.0.2.3") == ""


def test_who_moves_between_two_addresses_is_known_at_both_and_a_third_has_no_room() -> None:
    book = SessionBook(LIMITS)
    live = started(book, a_session(1), a_ticket())
    for turn in range(4):
        assert follow(book, live, NOON_MS + turn, f"192.0.2.{1 + turn % 2}") == ""

    assert follow(book, live, NOON_MS + 5, "192.0.2.3") == Refusal.ADDRESSES
    used = {parse_address("192.0.2.1"): NOON_MS + 2, parse_address("192.0.2.2"): NOON_MS + 3}
    assert live.addresses(NOON_MS + 5) == used
    assert live.addresses(NOON_MS + 600_002) == {parse_address("192.0.2.2"): NOON_MS + 3}


def test_after_ten_silent_minutes_an_address_is_held_against_its_ticket_again() -> None:
    book = SessionBook(LIMITS)
    live = started(book, a_session(1), a_ticket(ip="192.0.2.1"))
    book.bound(1, "k", "198.51.100.1")

    assert follow(book, live, NOON_MS + 599_999) == ""
    assert follow(book, live, NOON_MS + 1_199_999) == Refusal.ADDRESS


def test_a_viewer_is_found_with_all_of_his_sessions_until_each_has_ended() -> None:
    book = SessionBook(LIMITS)
    lives = [started(book, a_session(n, agent="x", base=f"/live/cam{n}/"), a_ticket()) for n in (1, 2, 3)]
    ip = parse_address("192.0.2.1")
    for ended in (None, 2, 3, 1):
        lives = [live for live in lives if live.session.number != ended]
        book.end_numbered([ended] if ended else [])
        assert list(book.by_ticket(EDGE, "k", "p", ip, "x")) == lives


def test_what_says_who_a_viewer_is_does_not_run_together() -> None:
    book = SessionBook(LIMITS)
    started(book, a_session(1, agent="x"), a_ticket())
    ip = parse_address("192.0.2.1")

    assert len(list(book.by_ticket(EDGE, "k", "p", ip, "x"))) == 1
    for key, password, agent in (("kp", "", "x"), ("", "kp", "x"), ("k", "px", ""), ("kpx", "", "")):
        assert list(book.by_ticket(EDGE, key, password, ip, agent)) == []


def test_what_could_not_be_written_is_written_at_the_end() -> None:
    book = SessionBook(LIMITS)
    live = started(book, a_session(1), a_ticket())
    follow(book, live, NOON_MS + 60_000)
    lost = book.take_seen()
    assert lost is not None
    again = book.take_seen(unwritten=True)
    assert again == lost
    book.wrote(lost)
    assert book.take_seen(unwritten=True) is None


def test_what_is_written_at_a_time_lies_together_in_whatever_order_it_was_seen() -> None:
    book = SessionBook(LIMITS)
    lives = [started(book, a_session(number), a_ticket()) for number in range(1, 1_001)]
    for live in random.Random(1).sample(lives, len(lives)):
        assert follow(book, live, NOON_MS + 60_000) == ""
    written: list[int] = []
    while (taken := book.take_seen()) is not None:
        numbers = [number for number, _, _ in taken.seen]
        written += numbers

        assert len(numbers) < 550
        assert len({number // 32 for number in numbers}) <= len(numbers) / 32 + 2
    assert sorted(written) == [live.session.number for live in lives]


def test_a_session_that_has_ended_keeps_no_other_from_being_written() -> None:
    book = SessionBook(LIMITS)
    ended, other = started(book, a_session(1), a_ticket()), started(book, a_session(2), a_ticket())
    follow(book, ended, NOON_MS + 60_000)
    follow(book, other, NOON_MS + 20_000)
    book.end([ended])

    taken = book.take_seen(unwritten=True)
    assert taken is not None
    assert taken.seen == [(2, NOON_MS + 20_000, 20_000)]


def test_a_cookie_is_good_at_its_edge_only_and_under_an_older_key() -> None:
    book = SessionBook(LIMITS)
    book.sign_with([Secret("old")])
    live, other = started(book, a_session(1), a_ticket()), started(book, a_session(2), a_ticket())
    cookie = book.cookie_of(live)
    book.sign_with([Secret("new"), Secret("old")])
    elsewhere = Edge(number=2, cdn=1, name="f", token_digest="f", kind="nginx")

    assert book.by_cookie(EDGE, cookie) is live
    assert book.by_cookie(elsewhere, cookie) is None
    signature = cookie.partition(".")[2]
    assert book.by_cookie(EDGE, f"{other.session.id}.{signature}") is None
    book.sign_with([Secret("new")])
    live.cookie = ""
    assert book.by_cookie(EDGE, cookie) is None


# After a fault


@pytest.fixture
async def broken(tmp_path: Path) -> AsyncIterator[tuple[Usher, SqliteBench]]:
    bench = SqliteBench(tmp_path)
    ledger = await bench.open()
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(ledger, LedgerOnlyLog(), gate, shipper, wall_ms=lambda: NOON_MS)
    await usher.start()
    yield usher, bench
    bench.fault = Fault.NONE
    await usher.close()
    bench.close()


async def watched(usher: Usher) -> int:
    """An account with a ticket, by which one session is live; returns its cdn."""
    made = await usher.create_account("site")
    cdn = made.account.cdn
    edge = Edge(number=1, cdn=cdn, name="e", token_digest="d", kind="nginx")
    issued = await usher.issue_ticket(ticket(cdn))
    asked = Asked(edge=edge, method="GET", path="/live/cam1/index.m3u8", key="k", password=issued.password,
                  ip=parse_address("192.0.2.1"), user_agent="")  # fmt: skip
    question = Question(key="k", password=issued.password, app="live", video="cam1", ip="192.0.2.1")
    answered: asyncio.Future[Verdict | Exception] = asyncio.get_running_loop().create_future()
    usher.watching.ask(asked, lambda meaning: request_of(question, edge), answered.set_result)
    verdict = await answered
    assert isinstance(verdict, Verdict), verdict
    assert verdict.allowed
    return cdn


async def test_what_the_ledger_has_ended_without_saying_so_ends_once_it_is_asked(
    broken: tuple[Usher, SqliteBench],
) -> None:
    usher, _ = broken
    cdn = await watched(usher)
    # As after a commit that was written, and whose answer was lost.
    await usher._ledger.commit_batch([Revoke(cdn=cdn, key="k")], now_ms=NOON_MS)
    assert len(usher.sessions(cdn, SessionFilter())) == 1
    usher.watching.be_sure()
    for _ in range(1_000):
        if not usher.sessions(cdn, SessionFilter()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the session goes on")


async def test_after_a_commit_of_unknown_outcome_the_ledger_is_asked(
    broken: tuple[Usher, SqliteBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    usher, bench = broken
    cdn = await watched(usher)
    asked: list[str] = []

    async def nothing(cdn: int, key: str) -> None:
        """Else what is written first would meet the fault."""

    monkeypatch.setattr(usher.watching, "before_revoking", nothing)
    monkeypatch.setattr(usher.watching, "be_sure", lambda: asked.append("asked"))
    bench.fault = Fault.SYNC
    with pytest.raises(CommitUnknown):
        await usher.revoke_ticket(cdn, "k")
    assert asked == ["asked"]
