"""What a viewer asks a media server for: is it a start, a follow-up, or neither? And the answer to it.

The rules are those of DESIGN, "Starts, follow-ups, sessions": only a viewer's GET of a playlist or of a whole file that
belongs to no live session is an attempt.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

import msgspec

from openusher.errors import StoreError, UsherError
from openusher.gate import Gate
from openusher.ledger.base import EndSessions, Ledger, Start
from openusher.model.account import Edge
from openusher.model.attempt import AttemptRequest, Decision, Reason
from openusher.model.discreet import Discreet
from openusher.model.edge import path_map_of
from openusher.model.pathmap import Meaning, PathMap
from openusher.model.session import EndedBy, SessionWish, Started
from openusher.rules import decide
from openusher.sessionbook import Live, Refusal, SessionBook

# How often `seen_ms` goes to the ledger, and how many sessions are looked at in one go for those that are over.
_SEEN_S = 5.0
_SWEEP_S = 30.0
_SWEPT_ROWS = 1_000

log = logging.getLogger(__name__)


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
    """The answer: allowed where `reason` is empty. `live` is the session; `is_start` where it was opened by this."""

    reason: str
    live: Live | None = None
    is_start: bool = False

    @property
    def allowed(self) -> bool:
        return not self.reason


class Questioner(Protocol):
    """Makes the question of a start out of what a path means. Raises InvalidParameter."""

    def __call__(self, meaning: Meaning) -> AttemptRequest: ...


Answer = Callable[[Verdict | Exception], None]
_LET_THROUGH = Verdict("")


class Watching:
    """Answers what viewers ask for. `start` before any, `close` after all."""

    def __init__(self, ledger: Ledger, gate: Gate, book: SessionBook, *, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._gate = gate
        self.book = book
        self._clock_ms = clock_ms
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for work in (self._write_seen_on(), self._sweep_on()):
            self._run(work)

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
        live = self._session_of(asked, paths)
        if live is not None:
            answer(Verdict(self.book.follow(live, asked.ip, now_ms=self._clock_ms()), live))
            return
        meaning = paths.read(asked.path)
        if not meaning.may_start or asked.method not in ("GET", "HEAD"):
            answer(Verdict(Refusal.NO_SESSION))
            return
        try:
            request = question(meaning)
            if asked.method == "HEAD":
                self._run(self._try(request, answer))
            else:
                self._start(asked.edge, request, meaning, answer)
        except UsherError as error:
            answer(error)

    def _session_of(self, asked: Asked, paths: PathMap) -> Live | None:
        def holds(base: str) -> bool:
            return paths.belongs(asked.path, base)

        for cookie in asked.cookies:
            live = self.book.by_cookie(asked.edge, cookie)
            if live is not None and holds(live.session.base):
                return live
        if not asked.key:
            return None
        return self.book.by_ticket(asked.edge, asked.key, asked.password, asked.ip, asked.user_agent, holds=holds)

    def _start(self, edge: Edge, request: AttemptRequest, meaning: Meaning, answer: Answer) -> None:
        limits = self.book.limits
        wish = SessionWish(
            id=secrets.token_urlsafe(16),
            base=meaning.base,
            resume_ms=limits.resume_ms,
            idle_ms=limits.idle_ms,
            hop_ms=limits.hop_ms,
            seen=self.book.seen_of(edge, request.key),
        )

        def decided(deciding: asyncio.Future[Decision | Started]) -> None:
            error = deciding.exception()
            if error is not None:
                answer(error if isinstance(error, Exception) else RuntimeError(str(error)))
                return
            outcome = deciding.result()
            if isinstance(outcome, Started):
                answer(Verdict("", self.book.started(outcome), is_start=outcome.is_new))
            else:
                answer(Verdict(outcome.reason))

        self._gate.start(Start(request, wish)).add_done_callback(decided)

    async def _try(self, request: AttemptRequest, answer: Answer) -> None:
        """What a start would be answered, without one: nothing is recorded and no use taken."""
        try:
            ticket = await self._ledger.ticket(request.cdn, request.key)
        except UsherError as error:
            answer(error)
            return
        reason = decide(ticket, request, now_ms=self._clock_ms()).reason
        answer(Verdict("" if reason is Reason.NONE else reason))

    # What goes to the ledger beside decisions

    async def _write_seen_on(self) -> None:
        while True:
            await asyncio.sleep(_SEEN_S)
            await self._logged("sessions.not_written", self._write_seen())

    async def _write_seen(self, *, unwritten: bool = False) -> None:
        while (seen := self.book.take_seen(unwritten=unwritten)) is not None:
            await self._gate.see_to(seen)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            await self._logged("sessions.not_ended", self.sweep())

    async def sweep(self) -> None:
        """End the sessions that nobody can wake any more. Raises StoreError: the others are ended the next time."""
        lives = self.book.all()
        for at in range(0, len(lives), _SWEPT_ROWS):
            overdue = self.book.overdue(lives[at : at + _SWEPT_ROWS], now_ms=self._clock_ms())
            for by, ended in overdue.items():
                await self.end(ended, by)
            await asyncio.sleep(0)

    async def end(self, lives: list[Live], by: EndedBy) -> None:
        """End sessions for ever. Raises StoreError: then they go on."""
        if lives:
            await self._gate.see_to(EndSessions(numbers=[live.session.number for live in lives], by=by))
            self.book.end(lives)

    async def kick(self, lives: list[Live]) -> None:
        """End sessions, and refuse their tickets for a while where they were used. Raises StoreError: they go on."""
        if lives:
            held = tuple((live.session.ticket, ip) for live in lives for ip in live.addresses)
            numbers = [live.session.number for live in lives]
            hold_ms = self.book.limits.hold_ms
            await self._gate.see_to(EndSessions(numbers=numbers, by=EndedBy.KICKED, held=held, hold_ms=hold_ms))
            self.book.end(lives)

    async def _logged(self, event: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StoreError as error:
            log.warning("%s: %s", event, error)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
