"""The door's side of a ledger in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from openusher import beside
from openusher.errors import CommitUnknown, InvalidParameter, LedgerUnavailable, SetupError, StoreError
from openusher.ledger.apart.calls import LedgerCalls
from openusher.ledger.apart.wire import (
    READS,
    Answer,
    Ask,
    End,
    Failed,
    Failure,
    Forget,
    Launch,
    Ready,
    Refused,
    Rows,
    Sent,
    ToDoor,
    ToLedger,
    encoder,
    error_of,
    raw,
    result_of,
    to_door,
)
from openusher.ledger.base import (
    Drawn,
    Ledger,
    Operation,
    Outcome,
)
from openusher.ledger.folder import DataFolder
from openusher.logs import event_log, log_form

PROCESS = "openusher.ledger.apart.process"
# Closing it finishes what waits, and moves the rest of the WAL into the file, which the next start would do as well.
_END_S_MAX = 3.0
# One that is carried out, and one that it can begin on at once. What would be a third is not drawn yet, so that it
# holds all who come until then.
_BATCHES_UNDER_WAY = 2

log = event_log()


class LedgerApart(LedgerCalls):
    """A `Ledger` that another process holds. Made by `open`; `on_end` is called once if that process ends by itself:
    nothing can be answered any more, and whoever runs the node has to start it again."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_end: Callable[[], None],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_end = on_end
        self._number = 0
        self._answers: dict[int, tuple[str, asyncio.Future[msgspec.Raw | bytes]]] = {}
        self._batches = asyncio.Semaphore(_BATCHES_UNDER_WAY)
        self._clock_ms = 0
        self._has_ended = False
        self._is_closing = False
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        folder: DataFolder,
        *,
        demo: bool,
        read_s_max: float,
        on_end: Callable[[], None],
        module: str = PROCESS,
    ) -> LedgerApart:
        """Start a process that opens or creates the ledger of `folder`, as `SqliteLedger.open`. Raises SetupError.

        Tests run another `module`, which is the same on a disk that fails.
        """

        def launch(socket_fd: int) -> str:
            told = Launch(
                socket_fd=socket_fd,
                # A folder is free when both have let go of it.
                lock_fd=folder.lock,
                parent_pid=os.getpid(),
                file=str(folder.ledger_file),
                demo=demo,
                read_s_max=read_s_max,
                form=log_form(),
            )
            return msgspec.json.encode(told).decode()

        process, ours = beside.start(module, launch, pass_fds=[folder.lock])
        reader, writer = await asyncio.open_connection(sock=ours)
        ledger = cls(process, reader, writer, on_end)
        try:
            await ledger._become_ready()
        except BaseException:
            await ledger.close()
            raise
        return ledger

    async def _become_ready(self) -> None:
        try:
            message = await self._receive()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            raise SetupError("the ledger's process ended while it started; see its last words above") from None
        match message:
            case Ready(clock_ms):
                self._clock_ms = clock_ms
                self._listening = asyncio.get_running_loop().create_task(self._listen(), name="ledger, answers")
            case Refused(problem):
                raise SetupError(problem)
            case _:
                raise SetupError("the ledger's process spoke before it was ready")

    async def _receive(self) -> ToDoor:
        message: ToDoor = to_door.decode(await self._receive_bytes())
        return message

    async def _receive_bytes(self) -> bytes:
        size = beside.body_size(await self._reader.readexactly(beside.HEADER_BYTES))
        return await self._reader.readexactly(size)

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._receive()
                rows = await self._receive_bytes() if isinstance(message, Rows) else b""
                self._settle(message, rows)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, msgspec.MsgspecError) as error:
            self._end_all(error)

    def _settle(self, message: ToDoor, rows: bytes) -> None:
        if not isinstance(message, Answer | Rows | Failed):
            raise ValueError("not an answer")
        if isinstance(message, Answer):
            self._clock_ms = message.clock_ms
        _, answer = self._answers.pop(message.number, ("", None))
        # Its asker may have gone.
        if answer is None or answer.done():
            return
        match message:
            case Answer():
                answer.set_result(message.result)
            case Rows():
                answer.set_result(rows)
            case Failed():
                answer.set_exception(error_of(message.failure))

    def _end_all(self, error: Exception) -> None:
        """Nobody may be left waiting for a process that is no more, or that cannot be understood."""
        if self._has_ended:
            return
        self._has_ended = True
        self._process.kill()
        for method, answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_unanswered(method))
        self._answers.clear()
        if not self._is_closing:
            log.error("ledger.ended", pid=self._process.pid, error=type(error).__name__)
            self._on_end()

    def _send(self, message: ToLedger) -> None:
        if self._has_ended or self._is_closing:
            raise LedgerUnavailable("the ledger's process has ended")
        frame = beside.framed(message, encoder)
        try:
            self._writer.write(frame)
        except (OSError, RuntimeError) as error:
            # The transport has seen the end before `_listen` had its turn to; uvloop then raises RuntimeError.
            self._end_all(error)
            raise LedgerUnavailable("the ledger's process has ended") from error

    async def _ask(self, method: str, **arguments: Any) -> Any:
        self._number += 1
        number = self._number
        self._send(Ask(number, method, raw(arguments)))
        answer: asyncio.Future[msgspec.Raw | bytes] = asyncio.get_running_loop().create_future()
        self._answers[number] = (method, answer)
        try:
            result = await answer
        except asyncio.CancelledError:
            if self._answers.pop(number, None) is not None and not self._has_ended and not self._is_closing:
                self._send(Forget(number))
            raise
        return result if isinstance(result, bytes) else result_of(method, result)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def clock_ms(self) -> int:
        return self._clock_ms

    async def commit_batch(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        return await self.commit_next(lambda: Drawn(operations=operations, now_ms=now_ms))

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        async with self._batches:
            drawn = draw()
            return await self._commit(drawn.operations, now_ms=drawn.now_ms) if drawn.operations else []

    async def _commit(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        try:
            sent: list[Sent] = await self._ask("commit_batch", operations=operations, now_ms=now_ms)
        except (UnicodeEncodeError, InvalidParameter):
            # One of them cannot even be sent or understood: nothing was done, and the others shall not suffer.
            if len(operations) == 1:
                return [InvalidParameter("request", "cannot be stored as it is")]
            return [outcome for each in operations for outcome in await self._commit([each], now_ms=now_ms)]
        return [error_of(each) if isinstance(each, Failure) else each for each in sent]  # type: ignore[misc]

    async def close(self) -> None:
        """Let it finish what waits and close the file; kill it where that takes too long."""
        if not self._has_ended:
            self._send(End())
        self._is_closing = True
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, lambda: self._process.wait(_END_S_MAX))
        except subprocess.TimeoutExpired:
            log.error("ledger.hung", pid=self._process.pid)
            self._process.kill()
            await loop.run_in_executor(None, self._process.wait)
        if self._listening is not None:
            self._listening.cancel()
        self._writer.close()


def _unanswered(method: str) -> StoreError:
    if method in READS:
        return LedgerUnavailable("the ledger's process ended")
    return CommitUnknown("the ledger's process ended; what was asked may or may not be written")


def _is_a_ledger(ledger: LedgerApart) -> Ledger:
    return ledger
