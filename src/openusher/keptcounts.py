"""Counts that are kept, so that the same question asked again counts only what came since (settled.py says why that is
exact)."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b

import msgspec

from openusher.ledger.base import PendingCount
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from openusher.settled import Settled, left_to_log

# Half a kilobyte each, whatever was asked.
KEPT_COUNTS = 10_000
_DIGEST_BYTES = 16
_encoder = msgspec.json.Encoder()


class Kept(msgspec.Struct, frozen=True):
    """So many of the attempts that are settled match."""

    count: int
    settled: Settled


class KeptCounts:
    """The counts of the `most` questions that were asked last; 0: none are kept.

    A question is known by a digest, whose key each process draws anew: no pass is held here, every entry is as large
    as any other, and nobody can make up two questions that are taken for one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._key = secrets.token_bytes(_DIGEST_BYTES)
        # What was asked last is at the end.
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._first: dict[bytes, asyncio.Event] = {}
        # How often an answer was one that was kept, and what came since.
        self.answered = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def count(
        self,
        cdn: int,
        search: AttemptFilter,
        *,
        in_ledger: Callable[[AttemptFilter], Awaitable[PendingCount]],
        in_log: Callable[[AttemptFilter, Horizon], Awaitable[int]],
        in_totals: Callable[[], Awaitable[Kept | None]],
    ) -> int:
        """How many attempts of `cdn` match: those that `in_ledger` finds pending, which gives the snapshot, and those
        that `in_log` then finds within its horizon; of a question that is not kept, what `in_totals` finds, if that
        finds anything. Raises what these raise."""
        if not self._most:
            if (known := await in_totals()) is not None:
                return known.count
            pending = await in_ledger(search)
            return pending.count + await in_log(search, left_to_log(search, pending))
        digest = self._digest(cdn, search)
        async with self._behind_the_first(digest):
            kept = self._kept.get(digest)
            if kept is None and (known := await in_totals()) is not None:
                self._keep(digest, known)
                return known.count
            since = search if kept is None else kept.settled.since(search)
            pending = await in_ledger(since)
            if kept is not None and not kept.settled.holds_in(pending.horizon):
                kept, since, pending = None, search, await in_ledger(search)
            settled = None if kept is None else kept.settled
            count = pending.count + await in_log(since, left_to_log(since, pending, settled))
            if kept is not None:
                count += kept.count
                self.answered += 1
            self._keep(digest, Kept(count, Settled.by(pending)))
            return count

    @asynccontextmanager
    async def _behind_the_first(self, digest: bytes) -> AsyncIterator[None]:
        """Who asks what is just being counted for the first time waits for that, and then has little left to count,
        by a snapshot of his own. Whether it came to anything or not, nobody waits twice."""
        first = self._first.get(digest)
        if first is not None:
            await first.wait()
        if first is not None or digest in self._kept:
            yield
            return
        counted = self._first[digest] = asyncio.Event()
        try:
            yield
        finally:
            del self._first[digest]
            counted.set()

    def _keep(self, digest: bytes, kept: Kept) -> None:
        self._kept[digest] = kept
        self._kept.move_to_end(digest)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _digest(self, cdn: int, search: AttemptFilter) -> bytes:
        return blake2b(_encoder.encode((cdn, search)), digest_size=_DIGEST_BYTES, key=self._key).digest()
