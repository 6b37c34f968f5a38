"""Counts and searches of attempts: exact across ledger and attempt log, whatever moves in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

import msgspec

from openusher.attemptlog.base import AttemptLog, GroupedLog
from openusher.errors import CountUnavailable, LogDamaged, LogUnavailable, StoreError
from openusher.keptcounts import KeptCounts
from openusher.kepttotals import KeptTotals
from openusher.ledger.base import Ledger, PendingGroups
from openusher.model.attempt import Attempt
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total, in_order
from openusher.shipper import Shipper
from openusher.tally import SEARCH_BOUNDS_S, Distribution
from openusher.totals import largest

T = TypeVar("T")

COUNT_WAIT_S_MAX = 5.0
_COUNT_RETRY_S = 0.2


class Grouped(msgspec.Struct, frozen=True):
    """A page of groups, largest first; how many groups there are, and how many attempts, in all."""

    groups: list[Group]
    group_count: int
    total: int


class SearchKind(StrEnum):
    """What is asked for: a number, numbers by group, or attempts."""

    COUNT = "count"
    GROUP = "group"
    LIST = "list"


class Searching:
    """Asks ledger and log as one. A question waits up to `wait_s_max` for a log process that restarts, or is verified,
    rather than fail. The counts of `kept_counts` questions are kept, and totals in `kept_totals_bytes_max`; 0: none."""

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        shipper: Shipper,
        *,
        wait_s_max: float,
        kept_counts: int,
        kept_totals_bytes_max: int,
    ) -> None:
        self.kept = KeptCounts(kept_counts)
        # Without a log, the first reading would keep the ledger's readers from all others' questions for too long.
        self.totals = KeptTotals(
            kept_totals_bytes_max if attempt_log.ships else 0,
            in_ledger=lambda cdn, search, most: ledger.totals_pending(cdn, search, most=most),
            in_log=self._totals_in_log,
        )
        self._ledger = ledger
        self._log = attempt_log
        self._shipper = shipper
        self._wait_s_max = wait_s_max
        # How long those took that were answered, and how many failed; by what was asked for.
        self.took_s = {kind: Distribution.within(SEARCH_BOUNDS_S) for kind in SearchKind}
        self.failed = dict.fromkeys(SearchKind, 0)
        # One for each question that is under way, set once it has its answer.
        self._under_way: set[asyncio.Event] = set()

    async def answered(self) -> None:
        """Return once every question that is under way has its answer: none then goes by a horizon from before."""
        for question in list(self._under_way):
            await question.wait()

    async def count(self, cdn: int, search: AttemptFilter) -> int:
        """Count matching attempts, exactly, every answered one included.

        Raises CountUnavailable when no exact number can be given.
        """
        with self._asking(SearchKind.COUNT):
            # The ledger first: a block that moves in between is then counted once, in the ledger or below the horizon.
            return await self.kept.count(
                cdn,
                search,
                in_ledger=lambda search: self._ledger.count_pending(cdn, search, held=True),
                in_log=lambda search, horizon: self.from_log(
                    horizon, lambda: self._log.count(cdn, search, horizon), empty=0
                ),
                in_totals=lambda: self.totals.count(cdn, search),
            )

    async def _totals_in_log(self, cdn: int, search: AttemptFilter, horizon: Horizon, most: int) -> list[Total]:
        return await self.from_log(
            horizon, lambda: self._log.totals(cdn, search, horizon, most=most), empty=list[Total]()
        )

    async def group(self, cdn: int, search: AttemptFilter, by: GroupBy, *, seek: int = 0, limit: int) -> Grouped:
        """Count matching attempts by group and return `limit` groups behind the first `seek`; raises as a count."""
        with self._asking(SearchKind.GROUP):
            return await self._group(cdn, search, by, seek=seek, limit=limit)

    async def _group(self, cdn: int, search: AttemptFilter, by: GroupBy, *, seek: int, limit: int) -> Grouped:
        # One reading of each gives groups and sum, so that all groups add up to the count while attempts arrive.
        top = seek + limit
        if (counts := await self.totals.groups(cdn, search, by)) is not None:
            return Grouped((await largest(counts, top))[seek:], len(counts), counts.total())
        pending = await self._ledger.group_pending(cdn, search, by, top=None if self._log.ships else top)
        horizon = pending.horizon
        in_log = await self.from_log(
            horizon,
            lambda: self._log.groups(cdn, search, by, horizon, top=top),
            empty=GroupedLog([], 0, 0),
        )
        if in_log.attempts == 0:
            return Grouped(pending.groups[seek:top], pending.group_count, pending.attempts)
        groups, group_count = await self._merge(cdn, search, by, pending, in_log)
        return Grouped(groups[seek:top], group_count, pending.attempts + in_log.attempts)

    async def _merge(
        self, cdn: int, search: AttemptFilter, by: GroupBy, pending: PendingGroups, in_log: GroupedLog
    ) -> tuple[list[Group], int]:
        """The largest groups of ledger and log together, and how many groups there are.

        A group with pending attempts can stand anywhere in the log's order, and is asked for by name where the log has
        not listed it. All others only fall behind these: those that belong here are among the log's largest.
        """
        pending_counts: dict[GroupValue, int] = {group.value: group.count for group in pending.groups}
        log_counts: dict[GroupValue, int] = {group.value: group.count for group in in_log.groups}
        unlisted = [value for value in pending_counts if value not in log_counts]
        if unlisted and len(log_counts) < in_log.total:
            log_counts |= await self.from_log(
                pending.horizon,
                lambda: self._log.counts_of(cdn, search, by, pending.horizon, values=unlisted),
                empty=dict[GroupValue, int](),
            )
        merged = [Group(value, count + log_counts.get(value, 0)) for value, count in pending_counts.items()]
        merged.extend(group for group in in_log.groups if group.value not in pending_counts)
        only_pending = sum(1 for value in pending_counts if value not in log_counts)
        return in_order(merged), in_log.total + only_pending

    async def newest(self, cdn: int, search: AttemptFilter, *, seek: int, limit: int) -> list[Attempt]:
        """Matching attempts, newest first, `limit` of them behind the first `seek`; raises as a count."""
        with self._asking(SearchKind.LIST):
            return await self._newest(cdn, search, seek=seek, limit=limit)

    async def _newest(self, cdn: int, search: AttemptFilter, *, seek: int, limit: int) -> list[Attempt]:
        pending = await self._ledger.newest_pending(cdn, search, seek=seek, limit=limit)
        if pending.matching is None:
            return pending.attempts
        # Everything pending is newer than everything shipped: ids rise, and blocks are shipped in order.
        seek_in_log = max(0, seek - pending.matching)
        missing = limit - len(pending.attempts)
        nothing: list[Attempt] = []
        return pending.attempts + await self.from_log(
            pending.horizon,
            lambda: self._log.newest(cdn, search, pending.horizon, seek=seek_in_log, limit=missing),
            empty=nothing,
        )

    @contextmanager
    def _asking(self, kind: SearchKind) -> Iterator[None]:
        """Around a question, from before it reads its horizon."""
        question, began = asyncio.Event(), time.perf_counter()
        self._under_way.add(question)
        try:
            yield
        except StoreError:
            self.failed[kind] += 1
            raise
        finally:
            self._under_way.remove(question)
            question.set()
        self.took_s[kind].add(time.perf_counter() - began)

    async def from_log(
        self, horizon: Horizon, ask: Callable[[], Awaitable[T]], *, empty: T, wait_s_max: float | None = None
    ) -> T:
        """What the log answers to `ask`, which may be asked again; `empty` where it can hold nothing of `horizon`.

        A log that is away is waited for up to `wait_s_max`, or as long as a count waits (None). Raises CountUnavailable
        where no answer of a verified log came in time.
        """
        if not self._log.ships or horizon.upto == 0:
            return empty
        deadline = time.monotonic() + (self._wait_s_max if wait_s_max is None else wait_s_max)
        while True:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._shipper.be_verified()
                start = self._log.starts
                # Asked for nothing, a log that is at fault still stops every count.
                answer = empty if horizon.behind == horizon.upto else await ask()
                if self._log.starts == start:
                    return answer
            except TimeoutError:
                raise CountUnavailable("the attempt log is still being verified; try again in a minute") from None
            except LogUnavailable as error:
                if time.monotonic() + _COUNT_RETRY_S >= deadline:
                    raise CountUnavailable("the attempt log does not answer; try again in a minute") from error
                await asyncio.sleep(_COUNT_RETRY_S)
            except LogDamaged as error:
                raise CountUnavailable(f"{error}; run usher check") from error
