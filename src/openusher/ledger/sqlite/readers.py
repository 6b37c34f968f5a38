"""Reading beside the writer: a few connections on threads of their own, each question bounded in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import apsw

from openusher.errors import CountUnavailable, LedgerUnavailable

T = TypeVar("T")

# Two: a long count never holds up a short one, and more would only fight the door for its core.
READERS = 2
# How many steps of the engine between two looks at the clock: a few hundred microseconds.
_STEPS_A_LOOK = 20_000


class Readers:
    """Answers questions on `READERS` connections. A question that takes longer than `seconds_max` is broken off."""

    def __init__(self, connect: Callable[[], apsw.Connection], *, seconds_max: float) -> None:
        self._connect = connect
        self._seconds_max = seconds_max
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-read")
        self._of_thread = threading.local()
        self._connections: list[apsw.Connection] = []
        self._places = asyncio.Semaphore(READERS)
        self._under_way = 0
        self._may_begin = asyncio.Event()
        self._may_begin.set()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def ask(self, question: Callable[[apsw.Connection], T], *, seconds_max: float | None = None) -> T:
        """The answer to `question`, asked on a thread. `seconds_max` 0: without a limit.

        Raises CountUnavailable when it took too long, LedgerUnavailable when the file could not be read.
        """
        limit_s = self._seconds_max if seconds_max is None else seconds_max
        async with self._places:
            await self._may_begin.wait()
            self._under_way += 1
            self._is_quiet.clear()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question, limit_s)
            except apsw.InterruptError as error:
                raise CountUnavailable(f"the ledger took more than {limit_s:g} s; narrow the search") from error
            except apsw.Error as error:
                raise LedgerUnavailable(f"the ledger could not be read: {type(error).__name__}") from error
            finally:
                self._under_way -= 1
                if not self._under_way:
                    self._is_quiet.set()

    def _answer(self, question: Callable[[apsw.Connection], T], limit_s: float) -> T:
        connection: apsw.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._connect()
            self._connections.append(connection)
        deadline = time.monotonic() + limit_s if limit_s else float("inf")
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_A_LOOK)
        return question(connection)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A moment in which nobody reads: those under way finish first, new ones wait until it is over."""
        self._may_begin.clear()
        try:
            await self._is_quiet.wait()
            yield
        finally:
            self._may_begin.set()

    def close(self) -> None:
        """Let those under way finish, and close the connections."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()
