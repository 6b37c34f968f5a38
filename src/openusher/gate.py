"""Group commit: whatever arrived while the last commit ran is the next batch, so throughput grows with load."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from openusher.errors import Busy, CallerError, StoreError
from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Issue, Ledger, Operation, Outcome, Revoke
from openusher.model.attempt import AttemptRequest, Decision
from openusher.model.ticket import Ticket

# How much the newest commit counts in the commit time that waiting is judged by.
_SMOOTHING = 0.2


class Gate:
    """Collects operations and commits them in batches, in order of arrival, one batch at a time.

    What cannot be committed within `queue_wait_s_max` at the present rate is refused as Busy at once.
    """

    def __init__(self, ledger: Ledger, *, queue_wait_s_max: float, wall_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._queue_wait_s_max = queue_wait_s_max
        self._wall_ms = wall_ms
        self._queue: deque[tuple[Operation, asyncio.Future[Outcome]]] = deque()
        self._arrived = asyncio.Event()
        self._commit_s = 0.0
        self._batch_began: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self.takes_starts = True

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="gate")

    async def close(self) -> None:
        """Refuse what comes from here on, and finish what is waiting."""
        self._is_closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    async def decide(self, request: AttemptRequest) -> Decision:
        """Decide and record an attempt. Raises AttemptIdReused, Busy and the ledger's errors."""
        outcome = await self._submit(Decide(request))
        assert isinstance(outcome, Decision)
        return outcome

    async def issue(self, issue: Issue) -> Ticket:
        """Create a ticket. Raises ReplayedCommand, AlreadyExists, Busy and the ledger's errors."""
        outcome = await self._submit(issue)
        assert isinstance(outcome, Ticket)
        return outcome

    async def revoke(self, revoke: Revoke) -> Ticket:
        """Revoke a ticket. Raises UnknownTicket, Busy and the ledger's errors."""
        outcome = await self._submit(revoke)
        assert isinstance(outcome, Ticket)
        return outcome

    async def _submit(self, operation: Operation) -> Outcome:
        self._admit(operation)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        self._arrived.set()
        return await future

    def _admit(self, operation: Operation) -> None:
        if self._is_closing:
            raise Busy("the node is stopping")
        if not self.takes_starts and not isinstance(operation, Revoke):
            raise Busy("the disk is nearly full", retry_after_s=30)
        if self._expected_wait_s() > self._queue_wait_s_max:
            raise Busy("the node is at its limit")

    def _expected_wait_s(self) -> float:
        # Whoever meets an idle gate is let in, however slow it was: only a commit can show that it is fast again.
        if not self._queue and self._batch_began is None:
            return 0.0
        batches = 1 + len(self._queue) // BATCH_OPERATIONS_MAX
        expected = batches * self._commit_s
        if self._batch_began is not None:
            # The commit that runs may be one that hangs: it has at least to run on for as long as others take.
            expected += max(self._commit_s, time.monotonic() - self._batch_began)
        return expected

    async def _run(self) -> None:
        while not self._is_closing or self._queue:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                await self._commit_next()
            if self._is_closing:
                break

    async def _commit_next(self) -> None:
        size = min(len(self._queue), BATCH_OPERATIONS_MAX)
        batch = [self._queue.popleft() for _ in range(size)]
        began = self._batch_began = time.monotonic()
        try:
            outcomes = await self._ledger.commit_batch([operation for operation, _ in batch], now_ms=self._wall_ms())
        except StoreError as error:
            for _, future in batch:
                _refuse(future, error)
        except BaseException as error:
            # Nobody may be left waiting, whatever broke.
            for _, future in batch:
                _refuse(future, error if isinstance(error, Exception) else Busy("the node is stopping"))
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                _answer(future, outcome)
        finally:
            self._batch_began = None
            self._commit_s += _SMOOTHING * (time.monotonic() - began - self._commit_s)


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
