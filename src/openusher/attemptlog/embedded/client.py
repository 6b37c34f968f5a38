"""The door's side of the embedded log: who may ask when, for how long, and a new process for one that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from openusher.attemptlog.embedded.child import Child, launch
from openusher.attemptlog.embedded.turns import Turns
from openusher.attemptlog.embedded.wire import HANDLES
from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.errors import LogUnavailable, SetupError, StoreError
from openusher.logs import event_log

# Statements of one account that may wait in one lane; more are refused at once.
_LINE_MAX = 64
# The engine stops a statement at its limit by itself; a process that still owes the answer so much later hangs.
_GRACE_S = 3.0
# What it has begun may take longer; it is safe to be killed at any moment, and a node is to be gone in 10 s.
_END_S_MAX = 2.0
# The pause before the next process doubles while they keep dying: a start costs a second of a core.
_RESTART_S_MIN = 0.1
_RESTART_S_MAX = 2.0
# One that could not even open the log waits for a person, who should not find a busy machine.
_REFUSED_S_MAX = 30.0
# A process that has lived so long did not die of how it was started.
_PROVEN_S = 10.0

_rows = msgspec.json.Decoder(list[Any])
log = event_log()


# Told apart by what they are, not by what they ask.
class _Waiting(msgspec.Struct, eq=False):
    statement: Statement
    child: Child
    answer: asyncio.Future[bytes]

    def fail(self, error: StoreError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class EmbeddedEngine:
    """An `Engine` over a log process that is kept running on `folder`.

    A statement is for the process that ran when it was asked and for no later one: whoever asks must see `starts`
    rise first, since the new process may have found other data than the old one had.
    """

    def __init__(self, folder: Path, *, memory_bytes_max: int) -> None:
        self._folder = folder
        self._memory_bytes_max = memory_bytes_max
        self._child: Child | None = None
        self._first: Sequence[Statement] = ()
        self._starts = 0
        self._away: StoreError = LogUnavailable("the attempt log is not open")
        self._turns: dict[Lane, Turns[_Waiting]] = {lane: Turns(line_max=_LINE_MAX) for lane in Lane}
        # All whose asker still awaits an answer, in a line or with the process.
        self._waiting: set[_Waiting] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def starts(self) -> int:
        return self._starts

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return None if self._child is None else self._child.pid

    async def start(self, first: Sequence[Statement] = ()) -> None:
        """Start the process. After LogDamaged and LogUnavailable it is tried again in the background, so that a node
        can go on deciding while someone restores the log's files, or the machine finds time."""
        self._first = first
        try:
            await self._launch()
        except StoreError as error:
            self._away = error
            self._keep_tasks()
            raise
        self._keep_tasks()

    def _keep_tasks(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._keep_running(), name="log process, kept running"))
        for lane, handles in HANDLES.items():
            for _ in range(handles):
                self._tasks.append(loop.create_task(self._serve(self._turns[lane]), name=f"log process, {lane.value}"))

    async def execute(self, statement: Statement) -> list[list[Any]]:
        return _rows.decode_lines(await self.text_of(statement))

    async def text_of(self, statement: Statement) -> bytes:
        child = self._child
        if child is None:
            raise self._away
        waiting = _Waiting(statement, child, asyncio.get_running_loop().create_future())
        if not self._turns[statement.lane].put(statement.cdn, waiting):
            raise LogUnavailable("too many counts of this account are waiting")
        self._waiting.add(waiting)
        try:
            # Waiting for a turn counts too: nobody is to wait longer than a statement may take.
            async with asyncio.timeout(statement.seconds_max + 2 * _GRACE_S):
                return await waiting.answer
        except TimeoutError:
            raise LogUnavailable("the attempt log did not answer in time") from None
        finally:
            self._waiting.discard(waiting)

    async def close(self) -> None:
        """Fail what still waits, and end the process within seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        child, self._child = self._child, None
        self._away = LogUnavailable("the attempt log is closed")
        for waiting in self._waiting:
            waiting.fail(self._away)
        if child is not None:
            await child.end(seconds_max=_END_S_MAX)

    async def _launch(self) -> None:
        child = await launch(self._folder, memory_bytes_max=self._memory_bytes_max)
        try:
            for statement in self._first:
                async with asyncio.timeout(statement.seconds_max + _GRACE_S):
                    await child.ask(statement)
        except TimeoutError:
            await child.reap()
            raise LogUnavailable("the attempt log's process did not answer in time") from None
        except BaseException:
            await child.reap()
            raise
        self._child = child
        self._starts += 1
        log.info("log.started", pid=self._child.pid, version=self._child.version)

    async def _serve(self, turns: Turns[_Waiting]) -> None:
        """Take statements of one lane in turn, each until it is answered or its process is gone."""
        while True:
            waiting = await turns.get()
            if waiting.answer.done():
                continue
            try:
                async with asyncio.timeout(waiting.statement.seconds_max + _GRACE_S):
                    rows = await waiting.child.ask(waiting.statement)
            except StoreError as error:
                waiting.fail(error)
            except TimeoutError:
                log.error("log.hung", pid=waiting.child.pid)
                waiting.child.kill()
                waiting.fail(LogUnavailable("the attempt log's process did not answer in time"))
            except Exception as error:
                # Nobody awaits this task: whatever broke must be seen, and must not close the lane for good.
                log.error("log.failed", pid=waiting.child.pid, exc_info=error)
                waiting.fail(LogUnavailable("the attempt log could not be asked"))
            else:
                if not waiting.answer.done():
                    waiting.answer.set_result(rows)

    async def _keep_running(self) -> None:
        pause_s = _RESTART_S_MIN
        while True:
            try:
                if self._child is not None:
                    lived_s = await self._see_end(self._child)
                    pause_s = _RESTART_S_MIN if lived_s >= _PROVEN_S else min(pause_s, _RESTART_S_MAX)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _REFUSED_S_MAX)
                await self._launch()
            except StoreError as error:
                self._away = error
                log.error("log.refused", error=error)
            except SetupError as error:
                self._away = LogUnavailable(str(error))
                log.error("log.refused", error=error)
            except Exception as error:
                # Nobody awaits this task either.
                self._away = LogUnavailable("the attempt log's process cannot be started")
                log.error("log.refused", exc_info=error)
                await asyncio.sleep(_RESTART_S_MAX)

    async def _see_end(self, child: Child) -> float:
        """Return once it is gone and reaped, with how long it lived: two must never have the folder open."""
        seen = time.monotonic()
        await child.gone.wait()
        self._away = LogUnavailable("the attempt log is starting again")
        await child.reap()
        self._child = None
        log.error("log.ended", pid=child.pid, how=child.ended)
        return time.monotonic() - seen


_: type[Engine] = EmbeddedEngine
