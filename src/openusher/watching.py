"""What a viewer asks a media server for: is it a start, a follow-up, or neither? And the answer to it.

The rules are those of DESIGN, "Starts, follow-ups, sessions": only a viewer's GET of a playlist or of a whole file that
belongs to no live session is an attempt.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

import msgspec

from openusher.errors import CommitUnknown, StoreError, UsherError
from openusher.gate import Gate
from openusher.ledger.base import HOOK_KEPT_MS, EndSessions, Ledger, SeeSessions, Start
from openusher.livesession import Live
from openusher.logs import event_log
from openusher.model.account import Edge
from openusher.model.attempt import AttemptRequest, Decision, Reason
from openusher.model.discreet import Discreet
from openusher.model.edge import path_map_of
from openusher.model.pathmap import Meaning, PathMap
from openusher.model.session import OWED, EndedBy, FoundSessions, Session, SessionFilter, SessionWish, Started
from openusher.model.ticket import Ticket
from openusher.rules import decide
from openusher.sessionbook import Refusal, SessionBook

# How often `seen_ms` goes to the ledger, and how many sessions are looked at in one go for those that are over.
_SEEN_S = 5.0
_SWEEP_S = 30.0
_SWEPT_ROWS = 1_000
_ENDED_ROWS = 500
# Live sessions are read in pages, of a few megabytes.
_PAGE_ROWS = 5_000

log = event_log()


class Asked(Discreet, frozen=True, kw_only=True):
    """What was asked for, as an edge's door has read it. `path` is as the server serves it; `cookies` are the values of
    those that may be ours; `ip` is the viewer's."""

    edge: Edge
    method: str
    path: str
    key: str
    password: str
    ip: int
    user_agent: str
    cookies: tuple[str, ...] = ()
    ip_text: str = ""
    referer: str = ""
    # The folder as the player spelled it, without a ticket, and whether its URL has the ticket in its path.
    raw_path: str = ""
    has_ticket_in_path: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """The answer: allowed where `reason` is empty. `live` is the session; `is_start` where it was opened by this.
    `decision` is that of its attempt, where the ledger was asked."""

    reason: str
    live: Live | None = None
    is_start: bool = False
    decision: Decision | None = None

    @property
    def allowed(self) -> bool:
        return not self.reason


class Connection(msgspec.Struct, frozen=True):
    """What a media server asks about once: its own name of the connection, for how long the same question about it is
    the same, the numbers of sessions that are over since it asks, and of the one that this may be, 0 for none."""

    client: str
    repeat_ms: int = 0
    ends: tuple[int, ...] = ()
    takes_over: int = 0


class Questioner(Protocol):
    """Makes the question of a start out of what a path means. Raises InvalidParameter."""

    def __call__(self, meaning: Meaning) -> AttemptRequest: ...


Answer = Callable[[Verdict | Exception], None]
_LET_THROUGH = Verdict("")
_NO_CONNECTION = Connection("")


class Watching:
    """Answers what viewers ask for. `start` before any, `close` after all."""

    def __init__(self, ledger: Ledger, gate: Gate, book: SessionBook, *, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._gate = gate
        self.book = book
        self._clock_ms = clock_ms
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_becoming_sure = False
        self._has_unknown = False
        # Set when a media server may have to be told to drop somebody.
        self.owes = asyncio.Event()
        # By edge and client: connections that go on though their sessions have ended, and nothing was owed.
        self.strays: set[tuple[int, str]] = set()

    def start(self) -> None:
        for work in (self._write_seen_on(), self._sweep_on()):
            self.run(work)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreError):
            await self._write_seen(unwritten=True)

    def ask(self, asked: Asked, question: Questioner, answer: Answer) -> None:
        """Call `answer` with the verdict, or with what kept it from being given, now or later."""
        if asked.method == "OPTIONS":
            # A preflight carries nothing to decide by, and its answer holds no media.
            answer(_LET_THROUGH)
            return
        paths = path_map_of(asked.edge)
        refusal, now_ms = Refusal.NO_SESSION, self._clock_ms()
        for live in self._sessions_of(asked, paths):
            refusal = self.book.follow(live, asked.ip, now_ms=now_ms)
            if not refusal or _may_go_on_later(live, asked, refusal):
                self.book.follow_ups[refusal] += 1
                answer(Verdict(refusal, None if refusal else live))
                return
        meaning = paths.read(asked.path)
        # Whoever was somebody's viewer and brings no ticket is told what became of that.
        may_start = meaning.may_start and (asked.key or refusal is Refusal.NO_SESSION)
        if not may_start or asked.method not in ("GET", "HEAD"):
            self.book.follow_ups[refusal] += 1
            answer(Verdict(refusal))
            return
        try:
            request = question(meaning)
            if asked.method == "HEAD":
                self.look(request, answer)
            else:
                self.begin(asked.edge, request, meaning.base, answer)
        except UsherError as error:
            answer(error)

    def _sessions_of(self, asked: Asked, paths: PathMap) -> list[Live]:
        """Those that this may be a follow-up of: by cookie, then by the ticket, which may be a newer one."""
        found: list[Live] = []
        for cookie in asked.cookies:
            live = self.book.by_cookie(asked.edge, cookie)
            if live is not None:
                found.append(live)
        if asked.key:
            found += self.book.by_ticket(asked.edge, asked.key, asked.password, asked.ip, asked.user_agent)
        return [live for live in found if paths.belongs(asked.path, live.session.base)]

    def begin(
        self,
        edge: Edge,
        request: AttemptRequest,
        base: str,
        answer: Answer,
        *,
        connection: Connection = _NO_CONNECTION,
    ) -> None:
        """Decide a start, and open a session of the files below `base` or of a connection. Raises Busy."""
        limits = self.book.limits
        wish = SessionWish(
            id=secrets.token_urlsafe(16),
            base=base,
            resume_ms=limits.resume_ms,
            idle_ms=limits.idle_ms,
            hop_ms=limits.hop_ms,
            hold_ms=limits.hold_ms,
            seen=self.book.seen_of(edge, request.key),
            client=connection.client,
            repeat_ms=connection.repeat_ms,
            ends=connection.ends,
            takes_over=connection.takes_over,
        )

        def decided(deciding: asyncio.Future[Decision | Started]) -> None:
            error = deciding.exception()
            if error is not None:
                if isinstance(error, CommitUnknown):
                    self.be_sure()
                answer(error if isinstance(error, Exception) else RuntimeError(str(error)))
                return
            outcome = deciding.result()
            self.book.end_numbered(connection.ends)
            if not isinstance(outcome, Started):
                answer(Verdict(outcome.reason, decision=outcome))
                return
            if outcome.replaced:
                self.owes.set()
            live = self.book.started(outcome)
            answer(Verdict("", live, is_start=outcome.is_new, decision=outcome.decision))

        self._gate.start(Start(request, wish)).add_done_callback(decided)

    def decided(self, request: AttemptRequest, deciding: asyncio.Future[Decision]) -> None:
        """A question without a session was answered, of a ticket that has some."""
        if not deciding.cancelled() and deciding.exception() is None and deciding.result().bound_ip:
            self.book.bound(request.cdn, request.key, deciding.result().bound_ip or "")

    def look(self, request: AttemptRequest, answer: Answer) -> None:
        """What a start would be answered, without one: nothing is recorded and no use taken."""
        self.run(self._look(request, answer))

    async def _look(self, request: AttemptRequest, answer: Answer) -> None:
        try:
            ticket = await self._ledger.ticket(request.cdn, request.key)
        except UsherError as error:
            answer(error)
            return
        reason = decide(ticket, request, now_ms=self._clock_ms()).reason
        answer(Verdict("" if reason is Reason.NONE else reason))

    def record_refusal(self, request: AttemptRequest, reason: Reason, answer: Answer) -> None:
        """Record an attempt that was looked at and refused for `reason`; it takes no use, whatever has changed since.
        Raises Busy."""

        def recorded(deciding: asyncio.Future[Decision]) -> None:
            error = deciding.exception()
            if error is None:
                decision = deciding.result()
                answer(Verdict(decision.reason, decision=decision))
            else:
                answer(error if isinstance(error, Exception) else RuntimeError(str(error)))

        self._gate.decide(request, refusal=reason).add_done_callback(recorded)

    # What goes to the ledger beside decisions

    async def _write_seen_on(self) -> None:
        while True:
            await asyncio.sleep(_SEEN_S)
            await self._logged("sessions.not_written", self._write_seen())

    async def _write_seen(self, *, unwritten: bool = False) -> None:
        while (seen := self.book.take_seen(unwritten=unwritten)) is not None:
            await self._gate.see_to(seen)
            self.book.wrote(seen)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            await self._logged("sessions.not_ended", self.sweep())

    async def sweep(self) -> None:
        """End the sessions that nobody can wake any more, and forget those that ended long ago.

        Raises StoreError: the others have their turn the next time.
        """
        lives = self.book.all()
        for at in range(0, len(lives), _SWEPT_ROWS):
            overdue = self.book.overdue(lives[at : at + _SWEPT_ROWS], now_ms=self._clock_ms())
            for by, ended in overdue.items():
                await self.end(ended, by)
            await asyncio.sleep(0)
        if self._has_unknown:
            await self._end_unknown()
        kept_from_ms = self._clock_ms() - self.book.limits.ended_kept_ms
        while await self._ledger.prune_sessions(before_ms=kept_from_ms, limit=_SWEPT_ROWS):
            pass

    async def _end_unknown(self) -> None:
        """End the connections that a commit of unknown outcome has opened. Their servers let nobody in and tell no end;
        those that have asked again are known here since. Raises StoreError."""
        self._has_unknown, has_unknown = False, True
        try:
            found = (await self._live_sessions()).sessions
            unknown = [each for each in found if each.client and not self.book.knows(each.number)]
            asked_ms = self._clock_ms() - 2 * HOOK_KEPT_MS
            if over := [each.number for each in unknown if each.started_ms < asked_ms][:_ENDED_ROWS]:
                await self._see_to(EndSessions(numbers=over, by=EndedBy.STOPPED))
            has_unknown = len(over) < len(unknown)
        finally:
            self._has_unknown |= has_unknown

    async def end(self, lives: list[Live], by: EndedBy) -> None:
        """End sessions for ever. Raises StoreError: then they go on."""
        for at in range(0, len(lives), _ENDED_ROWS):
            some = lives[at : at + _ENDED_ROWS]
            await self._write_last_of(some)
            await self._see_to(EndSessions(numbers=[live.session.number for live in some], by=by))
            self.book.end(some)
            if by in OWED:
                self.owes.set()

    def drop(self, edge: Edge, client: str) -> None:
        """Have its server drop a connection without a session."""
        self.strays.add((edge.number, client))
        self.owes.set()

    async def kick(self, lives: list[Live]) -> None:
        """End sessions, and refuse their tickets for a while where they were used. Raises StoreError: they go on."""
        for at in range(0, len(lives), _ENDED_ROWS):
            some = lives[at : at + _ENDED_ROWS]
            await self._write_last_of(some)
            now_ms = self._clock_ms()
            held = tuple(
                {(live.session.ticket, ip) for live in some for ip in (live.session.ip, *live.addresses(now_ms))}
            )
            numbers = [live.session.number for live in some]
            hold_ms = self.book.limits.hold_ms
            await self._see_to(EndSessions(numbers=numbers, by=EndedBy.KICKED, held=held, hold_ms=hold_ms))
            self.book.end(some)
            self.owes.set()

    async def before_revoking(self, cdn: int, key: str) -> None:
        """Write how long the sessions of a ticket were watched, which end with it."""
        await self._write_last_of(self.book.find(cdn, SessionFilter(key=key)))

    async def _write_last_of(self, lives: list[Live]) -> None:
        for at in range(0, len(lives), _ENDED_ROWS):
            now_ms, some = self._clock_ms(), lives[at : at + _ENDED_ROWS]
            seen = [(each.session.number, each.seen_ms, each.watched_at(now_ms)) for each in some]
            with suppress(StoreError):
                await self._gate.see_to(SeeSessions(seen))

    async def _see_to(self, ended: EndSessions) -> None:
        try:
            await self._gate.see_to(ended)
        except CommitUnknown:
            self.be_sure()
            raise

    def be_sure(self) -> None:
        """After a commit of unknown outcome: see in the ledger, as soon as that can be read, which sessions live on."""
        self._has_unknown = True
        if not self._is_becoming_sure:
            self._is_becoming_sure = True
            self.run(self._become_sure())

    async def _become_sure(self) -> None:
        while True:
            try:
                await self._ledger.be_ready()
                upto = self.book.last_number
                self.book.reconcile(await self._live_sessions(), upto=upto)
                # What has ended them may be owed to their servers.
                self.owes.set()
                break
            except StoreError:
                await asyncio.sleep(1)
        self._is_becoming_sure = False

    async def load(self, *, clock_ms: int, now_ms: int) -> None:
        """Take over the sessions that have not ended; see `SessionBook.load`. Raises StoreError."""
        self.book.load(await self._live_sessions(), clock_ms=clock_ms, now_ms=now_ms)

    async def _live_sessions(self) -> FoundSessions:
        sessions: list[Session] = []
        tickets: dict[int, Ticket] = {}
        while True:
            page = await self._ledger.live_sessions(after=sessions[-1].number if sessions else 0, limit=_PAGE_ROWS)
            sessions += page.sessions
            # One that was revoked between two pages is known by the newer.
            tickets |= {ticket.number: ticket for ticket in page.tickets}
            if len(page.sessions) < _PAGE_ROWS:
                return FoundSessions(sessions=sessions, tickets=list(tickets.values()))

    async def _logged(self, event: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StoreError as error:
            log.warning(event, error=error)
        except Exception:
            # Whatever it was, the next round is due.
            log.exception(event)

    def run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _may_go_on_later(live: Live, asked: Asked, refusal: Refusal) -> bool:
    """Whether the session goes on where there is room, or its own viewer is refused only since others have used it: to
    start anew would only pay for it twice."""
    session = live.session
    is_own = (session.edge, session.ip, session.user_agent) == (asked.edge.number, asked.ip, asked.user_agent)
    return live.ticket.key == asked.key and (refusal is Refusal.NO_PLACE or (refusal is Refusal.ADDRESSES and is_own))
