"""Totals that are kept an account, from which counts by app, video, success and reason are worked out: no index answers
these, so that the log would read all the account has.

They are all attempts up to the newest in a snapshot, by app, video and reason, and stay exact as kept counts do
(settled.py). A question has what came since added to them, by one snapshot of its own or of one who asked later.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from openusher.errors import StoreError
from openusher.keptcounts import Kept
from openusher.ledger.base import PendingTotals
from openusher.model.block import Horizon
from openusher.model.pattern import Pattern
from openusher.model.search import AttemptFilter, GroupBy, GroupValue, Total
from openusher.settled import Settled, left_to_log
from openusher.totals import GROUPS, Totals, answers

KEPT_TOTALS_BYTES = 48_000_000
# Of what all may take, so that no account drives out all others.
_SHARE = 4
_ACCOUNTS_MAX = 1_000
# In one reading of a store, some megabytes.
_READ_MAX = 50_000
# The first reading takes as long as six counts: it is for accounts that ask more than now and then, and that are not
# found too large again and again.
_ASKED_AGAIN_S = _TOO_LARGE_S = 3_600.0
# A reading that failed may have asked for too much, or come while the log was away: twice as long after each.
_FAILED_S = 60.0
# Who asked less long ago is not driven out: where there is no room for all, some are kept, and not each in turn.
_IDLE_S = 600.0
# Python takes longer for more of these than the log does.
_MATCHES_MAX = 200_000
_EVERYTHING = AttemptFilter()


class _Known(NamedTuple):
    """The totals of all attempts that are settled."""

    totals: Totals
    settled: Settled


class _Account:
    """What is kept of one account. Readings are numbered as they begin; `read` is the last that came to an end."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.known: _Known | None = None
        self.begun = self.read = 0
        # By the clock that only goes forward.
        self.asked_s = float("-inf")
        self.not_read_until_s = float("-inf")
        self.failed_s = 0.0

    @property
    def size_bytes(self) -> int:
        return 0 if self.known is None else self.known.totals.size_bytes


class KeptTotals:
    """The totals of accounts that ask, as many as fit into `bytes_max`; 0: none are kept.

    `in_ledger` and `in_log` find totals as the ledger and the log do, and raise what a count raises.
    """

    def __init__(
        self,
        bytes_max: int,
        *,
        in_ledger: Callable[[int, AttemptFilter, int], Coroutine[Any, Any, PendingTotals]],
        in_log: Callable[[int, AttemptFilter, Horizon, int], Coroutine[Any, Any, list[Total]]],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_max = bytes_max
        self._in_ledger, self._in_log = in_ledger, in_log
        self._now_s = now_s
        # Who asked last is at the end.
        self._accounts: OrderedDict[int, _Account] = OrderedDict()
        # How many questions found their answer here.
        self.answered = 0

    @property
    def size_bytes(self) -> int:
        return sum(account.size_bytes for account in self._accounts.values())

    async def count(self, cdn: int, search: AttemptFilter) -> Kept | None:
        """How many attempts of `cdn` match; None where that is not to be had from totals. Raises as a count."""
        async with self._caught_up(cdn, search) as known:
            return None if known is None else Kept(await known.totals.count(search), known.settled)

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy) -> Counter[GroupValue] | None:
        """How many attempts each group has that has any; else as `count`."""
        if by not in GROUPS:
            return None
        async with self._caught_up(cdn, search) as known:
            return None if known is None else await known.totals.groups(search, by)

    @asynccontextmanager
    async def _caught_up(self, cdn: int, search: AttemptFilter) -> AsyncIterator[_Known | None]:
        """An account's totals as of a moment after this was called, and nobody adds to them meanwhile; None where they
        do not answer `search`, or are not kept."""
        if not self._bytes_max or not answers(search):
            yield None
            return
        account = self._account(cdn)
        now_s = self._now_s()
        is_worth_it, account.asked_s = now_s - account.asked_s < _ASKED_AGAIN_S, now_s
        begun, has_to_wait = account.begun, account.lock.locked()
        async with account.lock:
            # A reading that had begun before this was called may miss what was answered by then. Nor does anybody wait
            # for one store after the other's turn where the one before him got no answer.
            if account.read <= begun and not (has_to_wait and account.begun > account.read):
                await self._catch_up(cdn, account, is_worth_it=is_worth_it)
            known = account.known if account.read > begun else None
            answering = None if known is None or not _is_soon_done(known.totals, search) else known
            yield answering
            # Not where the answer was broken off.
            self.answered += answering is not None

    def _account(self, cdn: int) -> _Account:
        account = self._accounts.setdefault(cdn, _Account())
        self._accounts.move_to_end(cdn)
        if len(self._accounts) > _ACCOUNTS_MAX:
            self._accounts.popitem(last=False)
        return account

    async def _catch_up(self, cdn: int, account: _Account, *, is_worth_it: bool) -> None:
        account.begun += 1
        reading, known = account.begun, account.known
        if known is not None:
            since = known.settled.since(_EVERYTHING)
            pending = await self._in_ledger(cdn, since, _READ_MAX)
            if known.settled.holds_in(pending.horizon):
                shipped = await self._in_log(cdn, since, left_to_log(since, pending, known.settled), _READ_MAX)
                await self._add(account, known.totals, pending, shipped)
                account.read = reading
                return
            account.known = None
        if not is_worth_it or self._now_s() < account.not_read_until_s:
            return
        try:
            pending = await self._in_ledger(cdn, _EVERYTHING, _READ_MAX)
            shipped = await self._in_log(cdn, _EVERYTHING, left_to_log(_EVERYTHING, pending), _READ_MAX)
        except StoreError:
            # More is asked for than by a count, which may still be had.
            account.failed_s = min(max(2 * account.failed_s, _FAILED_S), _TOO_LARGE_S)
            account.not_read_until_s = self._now_s() + account.failed_s
            return
        account.failed_s = 0.0
        await self._add(account, Totals(), pending, shipped)
        account.read = reading

    async def _add(self, account: _Account, totals: Totals, pending: PendingTotals, shipped: list[Total]) -> None:
        """Both or neither: meanwhile nothing is known, and nothing is where that is broken off."""
        account.known = None
        is_whole = len(pending.totals) < _READ_MAX and len(shipped) < _READ_MAX
        if is_whole:
            await totals.add(pending.totals)
            await totals.add(shipped)
        if is_whole and self._has_room_for(totals):
            account.known = _Known(totals, Settled.by(pending))
        else:
            account.not_read_until_s = self._now_s() + _TOO_LARGE_S

    def _has_room_for(self, totals: Totals) -> bool:
        """Whether there is room, or can be made: those go first that asked the longest ago."""
        if totals.size_bytes > self._bytes_max // _SHARE:
            return False
        room = self._bytes_max - self.size_bytes
        idle = (account for account in self._accounts.values() if self._now_s() - account.asked_s >= _IDLE_S)
        while totals.size_bytes > room and (account := next(idle, None)) is not None:
            room += account.size_bytes
            account.known = None
        return totals.size_bytes <= room


def _is_soon_done(totals: Totals, search: AttemptFilter) -> bool:
    """Whether so few names are to be compared that the log would not be sooner."""
    patterns = [name for name in (search.app, search.video) if isinstance(name, Pattern)]
    return totals.names * sum(len(pattern.alternatives) for pattern in patterns) <= _MATCHES_MAX
