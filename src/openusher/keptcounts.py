"""Counts that are kept, so that the same question asked again counts only what came since.

Why that is exact. An attempt gets the next id in the commit that records it, and is never changed or taken away but by
a border: the one before which attempts are forgotten, or the one before which they are anonymised. So how many of the
attempts up to some id match is settled once a snapshot of the ledger has that id, as long as both borders stand where
they stood in it. Which of them were in the log then, and which have gone there since, is of no matter: what came since
is what has a larger id, wherever that is. A snapshot with another border finds nothing kept.

Counts are kept in memory only: a folder that is restored or repaired is served by another process. A log that has
restarted is verified before any count is given, also one that needs nothing of the log.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from openusher.ledger.base import PendingCount
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter

# Half a kilobyte each, whatever was asked.
KEPT_COUNTS = 10_000
_DIGEST_BYTES = 16
_encoder = msgspec.json.Encoder()


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """So many attempts up to `last_id` match; those that the log held of them were in blocks up to `last_block`. The
    borders are those of the snapshot."""

    count: int
    last_id: int
    last_block: int
    from_ms: int
    anonymised_before_ms: int

    @classmethod
    def of(cls, count: int, pending: PendingCount) -> Kept:
        """What is kept of `count`, whose snapshot was that of `pending`."""
        horizon = pending.horizon
        return cls(
            count=count,
            last_id=pending.last_id,
            # Behind the first that was under way, any may still have come.
            last_block=min(horizon.but, default=horizon.upto + 1) - 1,
            from_ms=horizon.from_ms,
            anonymised_before_ms=horizon.anonymised_before_ms,
        )

    def holds_in(self, horizon: Horizon) -> bool:
        return (self.from_ms, self.anonymised_before_ms) == (horizon.from_ms, horizon.anonymised_before_ms)

    def since(self, search: AttemptFilter) -> AttemptFilter:
        """`search`, for attempts that came since."""
        return replace(search, after_id=max(self.last_id, search.after_id or 0))


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

    def __len__(self) -> int:
        return len(self._kept)

    async def count(
        self,
        cdn: int,
        search: AttemptFilter,
        *,
        in_ledger: Callable[[AttemptFilter], Awaitable[PendingCount]],
        in_log: Callable[[AttemptFilter, Horizon], Awaitable[int]],
    ) -> int:
        """How many attempts of `cdn` match: those that `in_ledger` finds pending, which gives the snapshot, and those
        that `in_log` then finds within its horizon. Raises what these raise."""
        if not self._most:
            pending = await in_ledger(search)
            return pending.count + await in_log(search, _left_to_log(search, pending))
        digest = self._digest(cdn, search)
        async with self._behind_the_first(digest):
            kept = self._kept.get(digest)
            since = search if kept is None else kept.since(search)
            pending = await in_ledger(since)
            if kept is not None and not kept.holds_in(pending.horizon):
                kept, since, pending = None, search, await in_ledger(search)
            count = pending.count + await in_log(since, _left_to_log(since, pending, kept))
            if kept is not None:
                count += kept.count
            self._keep(digest, Kept.of(count, pending))
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


def _left_to_log(since: AttemptFilter, pending: PendingCount, kept: Kept | None = None) -> Horizon:
    """The horizon of `pending`, with those blocks behind it that hold nothing of `since`."""
    horizon = pending.horizon
    if (since.after_id or 0) >= pending.after_id:
        return replace(horizon, behind=horizon.upto)
    return horizon if kept is None else replace(horizon, behind=kept.last_block)
