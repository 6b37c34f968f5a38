"""Fills a node's data folder with attempts through the real ledger code and, for chDB, the real shipper."""

from __future__ import annotations

import random
import time
from asyncio import Task, create_task
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

import msgspec

from bench import traffic
from openusher.attemptlog.base import AttemptLog
from openusher.attemptlog.embedded import open_embedded_log
from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Issue, Operation, Revoke
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.attempt import Decision
from openusher.model.block import BLOCK_ROWS_MAX
from openusher.settings import LogKind, Settings
from openusher.shipper import Shipper
from openusher.usher import wall_ms

# The attempts lie in so many days before now, so that a time range means something.
DAYS = 30
_DAY_MS = 86_400_000

Progress = Callable[[int], None]


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What a data folder was filled with: how many attempts of each reason, and how long that took."""

    attempts: int
    tickets: int
    by_reason: dict[str, int]
    seconds: float


async def fill(data: Path, log: LogKind, *, cdn: int, attempts: int, progress: Progress) -> Filled:
    """Issue the bench's tickets and record `attempts` questions of account `cdn`; `progress` hears how many so far."""
    began = time.monotonic()
    tickets = min(traffic.TICKETS_MAX, attempts)
    async with AsyncExitStack() as stack:
        folder = hold_folder(data)
        stack.callback(folder.release)
        ledger = await SqliteLedger.open(folder.ledger_file, indexed=log is LogKind.LEDGER)
        stack.push_async_callback(ledger.close)
        filling = _Filling(ledger, attempts=attempts, progress=progress)
        if log is LogKind.CHDB:
            settings = Settings()
            attempt_log = open_embedded_log(
                folder.log_folder, memory_bytes_max=settings.log_memory_bytes_max, count_s_max=settings.count_s_max
            )
            stack.push_async_callback(attempt_log.close)
            await attempt_log.start()
            filling.ship_to(attempt_log)
        (edge,) = (edge for edge in (await ledger.directory()).edges.values() if edge.cdn == cdn)
        await filling.commit(Issue(ticket=traffic.ticket(n, cdn=cdn)) for n in range(tickets))
        revoked = (n for n in range(tickets) if traffic.is_revoked(n))
        await filling.commit(Revoke(cdn=cdn, key=traffic.key(n)) for n in revoked)
        chance = random.Random(attempts)
        questions = (traffic.question(chance, tickets=tickets) for _ in range(attempts))
        await filling.commit(Decide(traffic.request(asked, cdn=cdn, edge=edge.number)) for asked in questions)
        await filling.finish()
    return Filled(
        attempts=sum(filling.by_reason.values()),
        tickets=tickets,
        by_reason=dict(filling.by_reason),
        seconds=time.monotonic() - began,
    )


class _Filling:
    """Commits in full batches; ships a full block while the next one is being filled."""

    def __init__(self, ledger: SqliteLedger, *, attempts: int, progress: Progress) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._progress = progress
        self._shipper: Shipper | None = None
        self._shipping: Task[bool] | None = None
        self._unshipped = 0
        self._from_ms = wall_ms() - DAYS * _DAY_MS
        self.by_reason: Counter[str] = Counter()

    def ship_to(self, attempt_log: AttemptLog) -> None:
        self._shipper = Shipper(
            self._ledger, attempt_log, rows_min=BLOCK_ROWS_MAX, age_s_max=DAYS * 86_400, wall_ms=wall_ms
        )

    async def commit(self, operations: Iterable[Operation]) -> None:
        for batch in _batches(operations):
            done = sum(self.by_reason.values())
            now_ms = self._from_ms + DAYS * _DAY_MS * done // self._attempts
            outcomes = await self._ledger.commit_batch(batch, now_ms=now_ms)
            decisions = [outcome.reason.value for outcome in outcomes if isinstance(outcome, Decision)]
            if decisions:
                self.by_reason.update(decisions)
                self._progress(done + len(decisions))
                await self._ship(len(decisions))

    async def _ship(self, recorded: int) -> None:
        self._unshipped += recorded
        if self._shipper is None or self._unshipped < BLOCK_ROWS_MAX:
            return
        self._unshipped = 0
        if self._shipping is None:
            await self._shipper.be_verified()
        else:
            await self._shipping
        self._shipping = create_task(self._shipper.ship_next())

    async def finish(self) -> None:
        """Ship what is left."""
        if self._shipping is not None:
            await self._shipping
        if self._shipper is not None:
            await self._shipper.ship_all()


def _batches(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    waiting = iter(operations)
    while batch := list(islice(waiting, BATCH_OPERATIONS_MAX)):
        yield batch
