"""Reading beside the writer: connections on threads of their own, each question bounded in time.

Kinds that never wait for one another: searches by accounts, short reads, blocks on their way to the log, and what
looks at the whole file.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Generic, TypeVar

import apsw

from openusher.beside import give_way
from openusher.errors import Busy, CountUnavailable, LedgerUnavailable
from openusher.ledger.sqlite.onthread import on_thread
from openusher.ledger.sqlite.places import Places

T = TypeVar("T")

# Two: a long count never holds up a short one, and more would only fight the door for its core.
_SEARCH_THREADS = 2
# At two places and ten seconds a search, who stands behind these would give up before his turn.
SEARCHES_WAITING_MAX = 64
# Microseconds each; more of them than this is a client gone wild.
_SHORT_WAITING_MAX = 1_000
# How long all readers may be held up for those under way to finish.
QUIET_S_MAX = 1.0
# How many steps of the engine between two looks at the clock: a few hundred microseconds.
_STEPS_A_LOOK = 20_000


class _Lane:
    """Threads that answer, the places in front of them, and how long an answer may take, its wait for a place included;
    None for as long as it does."""

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        waiting_max: int,
        seconds_max: float | None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=f"ledger-{name}", initializer=begin)
        self.places = Places(threads, waiting_max=waiting_max)
        self.seconds_max = seconds_max


class _Question(Generic[T]):
    """What is asked, and until when the answer is wanted, as `time.monotonic` counts."""

    def __init__(self, ask: Callable[[apsw.Connection], T], *, deadline: float) -> None:
        self.ask = ask
        self.deadline = deadline


class Readers:
    """Answers questions. One that takes longer than `seconds_max`, its wait for a place included, is broken off."""

    def __init__(self, connect: Callable[[], apsw.Connection], *, seconds_max: float) -> None:
        self._connect = connect
        self._seconds_max = seconds_max
        self._searches = _Lane("search", _SEARCH_THREADS, waiting_max=SEARCHES_WAITING_MAX, seconds_max=seconds_max)
        self._short_reads = _Lane("read", 1, waiting_max=_SHORT_WAITING_MAX, seconds_max=seconds_max)
        self._blocks = _Lane("block", 1, waiting_max=_SHORT_WAITING_MAX, seconds_max=None, begin=give_way)
        self._of_thread = threading.local()
        self._connections: set[apsw.Connection] = set()
        self._aside: set[ThreadPoolExecutor] = set()
        # Rises with each opening of the file; a connection from before is opened anew.
        self._opening = 0
        self._under_way = 0
        self._may_begin = asyncio.Event()
        self._may_begin.set()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._is_closed = False

    async def search(self, cdn: int, question: Callable[[apsw.Connection], T]) -> T:
        """The answer to what account `cdn` asks and may take long.

        Raises CountUnavailable when it took too long, Busy when its turn did not come, LedgerUnavailable when the
        file could not be read.
        """
        return await self._ask_in(self._searches, cdn, question)

    async def ask(self, question: Callable[[apsw.Connection], T], *, cdn: int = 0) -> T:
        """The answer to a short question, of account `cdn` or the node's own (0). Raises as `search`."""
        return await self._ask_in(self._short_reads, cdn, question)

    async def ask_of_block(self, question: Callable[[apsw.Connection], T]) -> T:
        """The answer to a question about the rows of a block, which takes a second, or where the cores are short as
        long as it does. Raises LedgerUnavailable."""
        return await self._ask_in(self._blocks, 0, question)

    async def ask_aside(self, question: Callable[[apsw.Connection], T]) -> T:
        """The answer to a question that takes its time: without a limit, on a connection of its own.

        Nobody waits for it, nor does `quiet`. Raises LedgerUnavailable.
        """
        self._check_open()
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-aside", initializer=give_way)
        self._aside.add(thread)
        try:
            return await self._run(thread, self._answer_aside, _Question(question, deadline=inf))
        finally:
            # By itself, once it has let its connection go: also where its asker has gone before that. Where all are
            # being closed, that waits for it.
            with suppress(RuntimeError):
                thread.submit(self._aside.discard, thread)
            thread.shutdown(wait=False)

    async def _ask_in(self, lane: _Lane, cdn: int, question: Callable[[apsw.Connection], T]) -> T:
        seconds_max = lane.seconds_max
        asked = _Question(question, deadline=inf if seconds_max is None else time.monotonic() + seconds_max)
        try:
            async with asyncio.timeout(seconds_max):
                await lane.places.take(cdn)
                try:
                    await self._may_begin.wait()
                except BaseException:
                    lane.places.give_back()
                    raise
        except TimeoutError:
            raise Busy("the ledger has too many searches under way") from None
        return await self._run_placed(lane, asked)

    async def _run_placed(self, lane: _Lane, asked: _Question[T]) -> T:
        self._under_way += 1
        self._is_quiet.clear()

        def leave() -> None:
            self._under_way -= 1
            if not self._under_way:
                self._is_quiet.set()
            lane.places.give_back()

        try:
            return await self._run(lane.threads, self._answer, asked, left=leave)
        except asyncio.CancelledError:
            # Its asker has gone; the place is taken until the thread has left it.
            asked.deadline = 0
            raise

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        answer: Callable[[_Question[T]], T],
        asked: _Question[T],
        *,
        left: Callable[[], None] = lambda: None,
    ) -> T:
        """`left` is called once no thread is at it any more."""
        try:
            self._check_open()
            answering = on_thread(threads, lambda: answer(asked), left=left)
        except BaseException:
            left()
            raise
        try:
            return await answering
        except apsw.InterruptError as error:
            self._check_open()
            raise CountUnavailable(f"the ledger took more than {self._seconds_max:g} s; narrow the search") from error
        except apsw.Error as error:
            raise LedgerUnavailable(f"the ledger could not be read: {type(error).__name__}") from error

    def _check_open(self) -> None:
        if self._is_closed:
            raise LedgerUnavailable("the ledger is closed")

    def _answer(self, asked: _Question[T]) -> T:
        opening, connection = getattr(self._of_thread, "connection", (0, None))
        if connection is not None and opening != self._opening:
            self._let_go(connection)
            connection = None
        if connection is None:
            opening, connection = self._opening, self._connect()
            self._connections.add(connection)
            self._of_thread.connection = opening, connection
        return self._answer_on(connection, asked)

    def _answer_aside(self, asked: _Question[T]) -> T:
        connection = self._connect()
        self._connections.add(connection)
        try:
            return self._answer_on(connection, asked)
        finally:
            self._let_go(connection)

    def _answer_on(self, connection: apsw.Connection, asked: _Question[T]) -> T:
        connection.set_progress_handler(lambda: self._is_closed or time.monotonic() > asked.deadline, _STEPS_A_LOOK)
        return asked.ask(connection)

    def _let_go(self, connection: apsw.Connection) -> None:
        self._connections.discard(connection)
        connection.close(True)

    def reconnect(self) -> None:
        """From here on the file is read as it was opened anew."""
        self._opening += 1

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A moment in which no search, no short read and no read of a block is under way: new ones wait for its end.

        Raises TimeoutError when those under way have not finished within `QUIET_S_MAX`.
        """
        self._may_begin.clear()
        try:
            async with asyncio.timeout(QUIET_S_MAX):
                await self._is_quiet.wait()
            yield
        finally:
            self._may_begin.set()

    async def close(self) -> None:
        """Break off those under way, and close the connections."""
        self._is_closed = True
        for connection in list(self._connections):
            # A check may be closing its own just now.
            with suppress(apsw.ConnectionClosedError):
                connection.interrupt()
        lanes = (self._searches, self._short_reads, self._blocks)
        for threads in (*(lane.threads for lane in lanes), *self._aside):
            # In a thread: the loop goes on while the last question is left.
            await asyncio.to_thread(threads.shutdown)
        while self._connections:
            connection = self._connections.pop()
            with suppress(apsw.Error):
                connection.close(True)
