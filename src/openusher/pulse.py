"""How fast a node lives: what it decided and checked in the last minute, and since when it is up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec

from openusher.gate import GateTally
from openusher.sessionbook import SessionBook

# A minute, looked at often enough that it is never less than 55 s.
_LOOK_S = 5.0
_LOOKS = 12


class Counts(msgspec.Struct, frozen=True):
    """How many there have been since the node is up."""

    accepted: int
    refused: int
    follow_ups: int


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """A second, in the last `over_s` seconds: a minute, or since the node is up."""

    over_s: float
    decisions: float
    accepted: float
    follow_ups: float


class Pulse:
    """Looks at the tallies now and then. `up_s` and `rates` are None where no node runs: the folder was opened for a
    question only."""

    def __init__(self, tally: GateTally, book: SessionBook, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._book = book
        self._clock_s = clock_s
        self._began_s: float | None = None
        # When, and what there was; the oldest first.
        self._looks: deque[tuple[float, Counts]] = deque(maxlen=_LOOKS + 1)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The node is up."""
        self._began_s = self._clock_s()
        self.look()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="pulse")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def up_s(self) -> float | None:
        """For how long the node is up."""
        return None if self._began_s is None else self._clock_s() - self._began_s

    def rates(self) -> Rates | None:
        """As of now."""
        if not self._looks:
            return None
        (then_s, then), now = self._looks[0], self._counts()
        over_s = max(self._clock_s() - then_s, 0.001)
        accepted, refused = now.accepted - then.accepted, now.refused - then.refused
        return Rates(
            over_s=over_s,
            decisions=(accepted + refused) / over_s,
            accepted=accepted / over_s,
            follow_ups=(now.follow_ups - then.follow_ups) / over_s,
        )

    def look(self) -> None:
        """Keep what there is by now, to be compared with later."""
        self._looks.append((self._clock_s(), self._counts()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def _counts(self) -> Counts:
        decisions = self._tally.decisions
        accepted = sum(count for (_, reason), count in decisions.items() if not reason)
        return Counts(accepted, sum(decisions.values()) - accepted, sum(self._book.follow_ups.values()))
