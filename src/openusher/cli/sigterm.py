"""SIGTERM for commands that have something to take away before they end.

Whoever starts a command with SIGTERM ignored goes on having it ignored.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import NoReturn

# As a shell says of a program that this signal has ended.
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit within this context, once, so that a second one cannot tear the end."""
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(ENDED_BY_SIGTERM)


@asynccontextmanager
async def cancelled_by_sigterm() -> AsyncIterator[None]:
    """As `ended_by_sigterm`, by cancelling the task: what a signal's handler raises would tear the loop's own work."""
    loop, this, before = asyncio.get_running_loop(), asyncio.current_task(), signal.getsignal(signal.SIGTERM)
    assert this is not None
    if before is signal.SIG_IGN:
        yield
        return
    told = False

    def end() -> None:
        nonlocal told
        if not told:
            told = True
            this.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        # What is around this has its own end, which a second one cannot tear either.
        signal.signal(signal.SIGTERM, signal.SIG_IGN if told else before or signal.SIG_DFL)
