"""Places for those who read, given to accounts in turn, so that one that asks much does not make the others wait."""

from __future__ import annotations

import asyncio
from collections import deque

from openusher.errors import Busy


class Places:
    """`count` places, and a line of at most `waiting_max` for each account; the lines' heads are served round robin."""

    def __init__(self, count: int, *, waiting_max: int) -> None:
        self._free = count
        self._waiting_max = waiting_max
        # In order of turn: the first line is served next, and goes to the end if anyone is left in it.
        self._lines: dict[int, deque[asyncio.Future[None]]] = {}

    async def take(self, cdn: int) -> None:
        """Wait for a place, to be given back by `give_back`. Raises Busy when the line of `cdn` is full."""
        if self._free:
            self._free -= 1
            return
        line = self._lines.setdefault(cdn, deque())
        if len(line) >= self._waiting_max:
            raise Busy("too many questions of this account are waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(cdn, turn)
            else:
                # It was given the place and cancelled in one turn of the loop.
                self.give_back()
            raise

    def _leave(self, cdn: int, turn: asyncio.Future[None]) -> None:
        line = self._lines[cdn]
        line.remove(turn)
        if not line:
            del self._lines[cdn]

    def give_back(self) -> None:
        """Hand the place to the next account in turn."""
        # Who was cancelled and has not left yet is passed over; leaving is his.
        for cdn, line in self._lines.items():
            for turn in line:
                if not turn.done():
                    line.remove(turn)
                    del self._lines[cdn]
                    if line:
                        self._lines[cdn] = line
                    turn.set_result(None)
                    return
        self._free += 1
