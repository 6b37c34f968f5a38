"""Keeps lines few: what happens again and again within a second is a line or ten, then one a second that counts.

A flood is more than `BURST` of one kind within a second. Its first lines are written; from then on, until a second has
no more than that, one line a second says how many were left out (`suppressed`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakSet

import structlog

# Lines of one kind within a second.
BURST = 10
# Kinds come from tables of ours; this bounds what a mistake would cost.
_KINDS_MAX = 1_000
_FORGET_S = 60

_all: WeakSet[Floods] = WeakSet()


class _Flood:
    __slots__ = ("allowed", "left_out", "second", "seen")

    def __init__(self, second: int) -> None:
        self.second = second
        self.seen = 0
        self.allowed = BURST
        self.left_out = 0


class Floods:
    """Counts lines of each kind. `tell` writes the line of a kind that says how many were left out; it is called once a
    second from a thread that is there from the first flood on. Its kind is None for all beyond the first thousand."""

    def __init__(self, tell: Callable[[Any, int], None], *, lines_s_max: int | None = None) -> None:
        self._tell = tell
        # Of all kinds together; None for as many as there are.
        self._lines_s_max = lines_s_max
        self._second = 0
        self._lines = 0
        self._floods: dict[Hashable, _Flood] = {}
        self._lock = threading.Lock()
        self._rising = threading.Event()
        # The same, asked in a tenth of the time.
        self._is_rising = False
        self._teller: threading.Thread | None = None
        _all.add(self)

    def passes(self, kind: Hashable, *, second: int) -> bool:
        """Whether a line of this kind is written in this second of any clock that never goes back. One that is not is
        counted."""
        with self._lock:
            flood = self._floods.get(kind)
            if flood is None:
                flood = self._first_of(kind, second)
            if second > flood.second:
                flood.allowed = 0 if flood.seen > BURST and second == flood.second + 1 else BURST
                flood.second, flood.seen = second, 0
            flood.seen += 1
            if flood.seen <= flood.allowed and self._has_room(second):
                return True
            flood.left_out += 1
            if not self._is_rising:
                self._rise()
            return False

    def tell_left_out(self) -> None:
        """Write what was left out until now."""
        with self._lock:
            told = [(kind, flood.left_out) for kind, flood in self._floods.items() if flood.left_out]
            for kind, _ in told:
                self._floods[kind].left_out = 0
        for kind, left_out in told:
            self._tell(kind, left_out)

    def _first_of(self, kind: Hashable, second: int) -> _Flood:
        if len(self._floods) >= _KINDS_MAX:
            old = [each for each, flood in self._floods.items() if flood.second < second - _FORGET_S]
            for each in old:
                if not self._floods[each].left_out:
                    del self._floods[each]
            if len(self._floods) >= _KINDS_MAX:
                kind = None
        return self._floods.setdefault(kind, _Flood(second))

    def _has_room(self, second: int) -> bool:
        if self._lines_s_max is None:
            return True
        if second > self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= self._lines_s_max

    def _rise(self) -> None:
        self._is_rising = True
        self._rising.set()
        if self._teller is None:
            self._teller = threading.Thread(target=self._tell_on, name="log floods", daemon=True)
            self._teller.start()

    def _tell_on(self) -> None:
        while self._rising.wait():
            time.sleep(1)
            # First: what is left out from here on is told in the next second.
            with self._lock:
                self._is_rising = False
                self._rising.clear()
            self.tell_left_out()


def tell_all_left_out() -> None:
    """At a process's end."""
    for floods in list(_all):
        floods.tell_left_out()


class FewOfEach(logging.Filter):
    """Lets a few lines a second through of each event, and of each library. Whoever counts by more than the event has
    done so before (`Floods`), and says so by `limited=True`, which is no field."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__()
        self._log = log
        self._floods = Floods(self._say)

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.msg
        if isinstance(said, dict):
            if said.pop("limited", False):
                return True
            kind = (record.levelno, said["event"], "")
        else:
            kind = (record.levelno, "library.said", record.name)
        return self._floods.passes(kind, second=int(time.monotonic()))

    def _say(self, kind: Any, left_out: int) -> None:
        level, event, logger = kind or (logging.WARNING, "library.said", "")
        self._log.log(level, event, suppressed=left_out, limited=True, logger=logger or None)
