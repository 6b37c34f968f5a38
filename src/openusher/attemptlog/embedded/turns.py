"""Whose statement is next: accounts take turns, so that one that asks much does not make the others wait."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue with one line for each account; the heads of the lines are taken round robin."""

    def __init__(self, *, line_max: int) -> None:
        self._line_max = line_max
        # In order of turn: the first line is served next, and goes to the end if anything is left in it.
        self._lines: dict[int, deque[T]] = {}
        self._arrived = asyncio.Event()

    def put(self, cdn: int, item: T) -> bool:
        """Add `item` to the line of `cdn`; False when that line is full."""
        line = self._lines.setdefault(cdn, deque())
        if len(line) >= self._line_max:
            return False
        line.append(item)
        self._arrived.set()
        return True

    async def get(self) -> T:
        """The next item, waiting for one."""
        while not self._lines:
            self._arrived.clear()
            await self._arrived.wait()
        cdn = next(iter(self._lines))
        line = self._lines.pop(cdn)
        item = line.popleft()
        if line:
            self._lines[cdn] = line
        return item
