"""Plain numbers of what was done, kept where it is done and read by whoever asks: no lock, no clock, no library.

They begin at zero with the process that keeps them. Whoever reads them while they are added to may find a sum that is
one value ahead of its counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

# In seconds. Each bound costs a series a scrape.
COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SEARCH_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SHIP_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Distribution(msgspec.Struct, kw_only=True):
    """How many values fell up to each of `bounds` and not up to the one before it, and last those above all; and the
    sum of all values."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def within(cls, bounds: Sequence[float]) -> Distribution:
        """An empty one. `bounds` rise."""
        return cls(bounds=tuple(bounds), counts=[0] * (len(bounds) + 1))

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copied(self) -> Distribution:
        """As it stands now."""
        return Distribution(bounds=self.bounds, counts=self.counts.copy(), total=self.total)

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)
