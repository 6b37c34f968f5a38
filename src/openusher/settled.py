"""Up to where what was counted is settled, so that only what came since is left to count.

Why that is exact. An attempt gets the next id in the commit that records it, and is never changed or taken away but by
a border: the one before which attempts are forgotten, or the one before which they are anonymised. So how many of the
attempts up to some id match is settled once a snapshot of the ledger has that id, as long as both borders stand where
they stood in it. Which of them were in the log then, and which have gone there since, is of no matter: what came since
is what has a larger id, wherever that is. A snapshot with another border finds nothing settled.

What rests on this is kept in memory only: a folder that is restored or repaired is served by another process. A log
that has restarted is verified before any count is given, also one that needs nothing of the log.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from openusher.ledger.base import PendingCount, PendingTotals
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts up to `last_id` were counted; those that the log held of them were in blocks up to `last_block`.
    The borders are those of the snapshot."""

    last_id: int
    last_block: int
    from_ms: int
    anonymised_before_ms: int

    @classmethod
    def by(cls, pending: PendingCount | PendingTotals) -> Settled:
        """What is settled once everything in the snapshot of `pending` was counted."""
        horizon = pending.horizon
        return cls(
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


def left_to_log(since: AttemptFilter, pending: PendingCount | PendingTotals, settled: Settled | None = None) -> Horizon:
    """The horizon of `pending`, with those blocks behind it that hold nothing of `since`."""
    horizon = pending.horizon
    if (since.after_id or 0) >= pending.after_id:
        return replace(horizon, behind=horizon.upto)
    return horizon if settled is None else replace(horizon, behind=settled.last_block)
