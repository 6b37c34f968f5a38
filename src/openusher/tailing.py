"""Attempts as they are decided, for those who listen: told after their commit, and never in its way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from openusher.errors import Busy
from openusher.gate import Decided, Gate
from openusher.model.attempt import Attempt
from openusher.model.search import AttemptFilter

# What waits for a listener that is slower than the attempts; a megabyte of usual ones.
ATTEMPTS_WAITING_MAX = 1_000
# Each looks at every attempt, on the loop that answers.
_LISTENERS_MAX = 16


class Heard(msgspec.Struct, frozen=True):
    """What has come since the last time: attempts in their order, of which `lost` more could not be kept."""

    attempts: list[Attempt]
    lost: int


class Listener:
    """One who listens to the attempts of an account, or of all (None), that match."""

    def __init__(self, cdn: int | None, search: AttemptFilter) -> None:
        self._cdn = cdn
        self._search = search
        self._waiting: deque[Attempt] = deque()
        self._lost = 0
        self._has_come = asyncio.Event()
        self._has_ended = False

    def tell(self, attempts: Sequence[Attempt]) -> None:
        """Keep those that match; the oldest are lost where it does not fetch them in time."""
        for attempt in attempts:
            if self._cdn in (None, attempt.cdn) and self._search.means(attempt):
                if len(self._waiting) == ATTEMPTS_WAITING_MAX:
                    self._waiting.popleft()
                    self._lost += 1
                self._waiting.append(attempt)
        if self._waiting:
            self._has_come.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._has_ended = True
        self._has_come.set()

    async def next(self) -> Heard | None:
        """Wait for attempts; None when there will be no more."""
        await self._has_come.wait()
        if not self._waiting:
            return None
        heard = Heard(list(self._waiting), self._lost)
        self._waiting.clear()
        self._lost = 0
        if not self._has_ended:
            self._has_come.clear()
        return heard


class Tailing:
    """Tells listeners what the gate has decided. Without any, the gate is asked for nothing."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._listeners: set[Listener] = set()

    @contextmanager
    def listening(self, cdn: int | None, search: AttemptFilter) -> Iterator[Listener]:
        """A listener to what is decided while the context lasts. Raises Busy when there are too many."""
        if len(self._listeners) == _LISTENERS_MAX:
            raise Busy(f"{_LISTENERS_MAX} listen already; end another usher tail")
        self._gate.on_decided = self._tell
        listener = Listener(cdn, search)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._gate.on_decided = None

    def close(self) -> None:
        """End all listeners, once they have fetched what waits."""
        for listener in self._listeners:
            listener.end()

    def _tell(self, decided: Sequence[Decided]) -> None:
        attempts = [_recorded(each) for each in decided]
        for listener in self._listeners:
            listener.tell(attempts)


def _recorded(decided: Decided) -> Attempt:
    """The attempt as it was recorded."""
    request = decided.request
    return Attempt(
        id=decided.decision.attempt,
        cdn=request.cdn,
        at_ms=decided.at_ms,
        key=request.key,
        password=request.password,
        app=request.app,
        appinst=request.appinst,
        video=request.video,
        ip=request.ip,
        pageurl=request.pageurl,
        refurl=request.refurl,
        user_agent=request.user_agent,
        server_ip=request.server_ip,
        edge=request.edge,
        cut=int(request.cut),
        reason=decided.decision.reason.value,
    )
