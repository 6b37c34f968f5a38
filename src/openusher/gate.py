"""Group commit: whatever arrived while the last commit ran is the next batch, so throughput grows with load."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from openusher.errors import Busy, CallerError
from openusher.ledger.base import (
    BATCH_OPERATIONS_MAX,
    Decide,
    Done,
    Drawn,
    EndSessions,
    Issue,
    Ledger,
    Operation,
    Outcome,
    PayKicks,
    Revoke,
    SeeSessions,
    Start,
)
from openusher.model.attempt import AttemptRequest, Decision, Reason
from openusher.model.session import Started
from openusher.model.ticket import Ticket

# How much the newest commit counts in the commit time that waiting is judged by.
_SMOOTHING = 0.2

_Waiting = tuple[Operation, asyncio.Future[Outcome]]


class Decided(msgspec.Struct, frozen=True):
    """A question and its answer, of an attempt that was recorded at `at_ms`."""

    request: AttemptRequest
    decision: Decision
    at_ms: int


class GateTally(msgspec.Struct, kw_only=True):
    """What was decided since the node is up. `decisions` are the attempts that were recorded, by the edge's number and
    the reason; `repeats` the questions that were answered by an earlier one, of the same attempt_id or the same viewer.
    """

    decisions: dict[tuple[int, Reason], int] = {}
    repeats: int = 0
    # The largest number of an attempt that was answered; above it are the new ones.
    last_attempt: int = 0

    def add(self, edge: int, decision: Decision) -> bool:
        """Whether the attempt is new: an answer that repeats another has the number of that one's."""
        if decision.attempt <= self.last_attempt:
            self.repeats += 1
            return False
        self.last_attempt = decision.attempt
        name = edge, decision.reason
        self.decisions[name] = self.decisions.get(name, 0) + 1
        return True


class Gate:
    """Collects operations and commits them in batches, in order of arrival, one batch at a time.

    What cannot be committed within `queue_wait_s_max` at the present rate is refused as Busy at once.
    """

    def __init__(self, ledger: Ledger, *, queue_wait_s_max: float, wall_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._queue_wait_s_max = queue_wait_s_max
        self._wall_ms = wall_ms
        self._queue: deque[_Waiting] = deque()
        # True from when the ledger is asked to take the next batch until it draws that batch.
        self._is_called = False
        self._commits: set[asyncio.Task[None]] = set()
        # When each batch that is not yet answered was drawn, oldest first.
        self._began: deque[float] = deque()
        self._commit_s = 0.0
        self._is_closing = False
        self.takes_starts = True
        self.tally = GateTally()
        # Called with the attempts of each batch after its commit, if anybody wants to know.
        self.on_decided: Callable[[list[Decided]], None] | None = None

    @property
    def waiting(self) -> int:
        """How many operations wait for the next batch."""
        return len(self._queue)

    async def close(self) -> None:
        """Refuse what comes from here on, and finish what is waiting."""
        self._is_closing = True
        while self._commits:
            await asyncio.wait(self._commits)

    # These return futures, and are no coroutines: one frame less to pass through for every attempt.

    def decide(self, request: AttemptRequest, *, refusal: Reason = Reason.NONE) -> asyncio.Future[Decision]:
        """Decide and record an attempt, or one that was refused before (see `Decide`). Raises AttemptIdReused, Busy and
        the ledger's errors."""
        return cast("asyncio.Future[Decision]", self._submit(Decide(request, refusal)))

    def start(self, start: Start) -> asyncio.Future[Decision | Started]:
        """As `decide`, of a start that opens or joins a session."""
        return cast("asyncio.Future[Decision | Started]", self._submit(start))

    def issue(self, issue: Issue) -> Awaitable[Ticket]:
        """Create a ticket. Raises ReplayedCommand, AlreadyExists, Busy and the ledger's errors."""
        return cast(Awaitable[Ticket], self._submit(issue))

    def revoke(self, revoke: Revoke) -> Awaitable[Ticket]:
        """Revoke a ticket. Raises UnknownTicket, Busy and the ledger's errors."""
        return cast(Awaitable[Ticket], self._submit(revoke))

    def see_to(self, operation: SeeSessions | EndSessions | PayKicks) -> Awaitable[Done]:
        """Write what became of sessions. Raises Busy and the ledger's errors."""
        return cast(Awaitable[Done], self._submit(operation))

    def _submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        self._admit(operation)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        if not self._is_called:
            self._call()
        return future

    def _admit(self, operation: Operation) -> None:
        if self._is_closing:
            raise Busy("the node is stopping")
        if not self.takes_starts and isinstance(operation, Decide | Start | Issue):
            raise Busy("the disk is nearly full", retry_after_s=30)
        if self._expected_wait_s() > self._queue_wait_s_max:
            raise Busy("the node is at its limit")

    def _expected_wait_s(self) -> float:
        # Whoever meets an idle gate is let in, however slow it was: only a commit can show that it is fast again.
        if not self._queue and not self._began:
            return 0.0
        batches = 1 + len(self._queue) // BATCH_OPERATIONS_MAX
        expected = batches * self._commit_s
        if self._began:
            # The commit that runs may be one that hangs: it has at least to run on for as long as others take.
            expected += max(self._commit_s, time.monotonic() - self._began[0])
        return expected

    def _call(self) -> None:
        """Ask the ledger to take what waits as soon as it can."""
        self._is_called = True
        commit = asyncio.get_running_loop().create_task(self._commit_next(), name="gate, next commit")
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)

    async def _commit_next(self) -> None:
        batch: list[_Waiting] = []
        has_drawn = False
        at_ms = 0

        def draw() -> Drawn:
            """Runs on the ledger's thread. Whoever comes after the first line calls anew, and whoever came before is
            taken by the loop, so that nobody is left waiting."""
            nonlocal has_drawn, at_ms
            has_drawn = True
            self._is_called = False
            while self._queue and len(batch) < BATCH_OPERATIONS_MAX:
                batch.append(self._queue.popleft())
            self._began.append(time.monotonic())
            now_ms = self._wall_ms()
            if self.on_decided is not None:
                # As the ledger takes it: it does not go back.
                at_ms = max(now_ms, self._ledger.clock_ms)
            return Drawn(operations=[operation for operation, _ in batch], now_ms=now_ms)

        error: BaseException | None = None
        outcomes: list[Outcome] = []
        try:
            outcomes = await self._ledger.commit_next(draw)
        except BaseException as raised:
            error = raised
            if not has_drawn:
                # A ledger that never came to draw: those who wait are answered all the same.
                draw()
        commit_s = time.monotonic() - self._began.popleft()
        if batch:
            self._commit_s += _SMOOTHING * (commit_s - self._commit_s)
        if self._queue and not self._is_called:
            # More waited than a batch takes.
            self._call()
        if error is None:
            recorded: list[Decided] = []
            for (operation, future), outcome in zip(batch, outcomes, strict=True):
                self._count(operation, outcome, recorded, at_ms=at_ms)
                _answer(future, outcome)
            if recorded and self.on_decided is not None:
                self.on_decided(recorded)
            return
        # Nobody may be left waiting, whatever broke.
        for _, future in batch:
            _refuse(future, error if isinstance(error, Exception) else Busy("the node is stopping"))
        if not isinstance(error, Exception):
            raise error

    def _count(self, operation: Operation, outcome: Outcome, recorded: list[Decided], *, at_ms: int) -> None:
        # By exact types: of these classes isinstance takes a microsecond for each that it is not.
        decision = outcome.decision if type(outcome) is Started else outcome
        if type(decision) is Decision and (type(operation) is Decide or type(operation) is Start):
            is_new = self.tally.add(operation.request.edge, decision)
            if is_new and self.on_decided is not None:
                recorded.append(Decided(operation.request, decision, at_ms or self._ledger.clock_ms))


def _answer(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if isinstance(outcome, CallerError):
        _refuse(future, outcome)
    else:
        # The asker may have gone: its connection closed while the commit ran.
        with contextlib.suppress(asyncio.InvalidStateError):
            future.set_result(outcome)


def _refuse(future: asyncio.Future[Outcome], error: Exception) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        future.set_exception(error)
