"""One log process from its start to its end, seen from the door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import msgspec

from openusher import beside
from openusher.attemptlog.embedded.heard import Heard
from openusher.attemptlog.embedded.wire import (
    Answer,
    Ask,
    End,
    Failed,
    Launch,
    Ready,
    Refused,
    ToDoor,
    framed,
)
from openusher.attemptlog.engine import DAMAGE, ERROR_NAME, Statement, error_of
from openusher.errors import LogDamaged, LogUnavailable, SetupError
from openusher.logs import log_form

# Loading the parts of a large log takes seconds; a disk that is asleep, more.
_READY_S_MAX = 60.0
# How long a process that starts waits for the lock of one that is ending.
_LOCK_S_MAX = 5.0
_STDERR_READ_BYTES = 32_768
_STDERR_LINES_SHOWN = 8
_STDERR_LINE_MAX = 300
_LAST_WORDS_S_MAX = 1.0
PROCESS = "openusher.attemptlog.embedded.process"
# An instruction that this CPU has not, a system call that it may not make: it will never run here. Any other signal,
# such as SIGKILL where memory was short, says nothing about the next start.
_NEVER_RUNS = frozenset({signal.SIGILL, signal.SIGSYS})
# The small mode is refused where the log has attempts that the ledger has no more (node.py).
_WITHOUT = "a node that has shipped nothing yet can also count without it: --log ledger"
_decoder = msgspec.msgpack.Decoder(ToDoor)


class Child:
    """A started log process. `gone` is set once it can answer nothing any more; it then still has to be reaped, and
    `ended` says how it went."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stderr: asyncio.StreamReader,
        hearer: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._reader = reader
        self._writer = writer
        self._hearer = hearer
        self._heard = Heard()
        self._hearing = loop.create_task(self._hear(stderr), name="log process, what it says")
        self._listening: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self.gone = asyncio.Event()
        self.ended = ""
        self.version = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, statement: Statement) -> bytes:
        """Send a statement and return its rows as text. Raises LogDamaged, and LogUnavailable, also when the process
        ends before it answers. Sets no limit of time."""
        self._number += 1
        number = self._number
        ask = Ask(
            number=number,
            lane=statement.lane.value,
            text=statement.text,
            params=statement.params,
            data=statement.data if isinstance(statement.data, bytes) else None,
            file=str(statement.data) if isinstance(statement.data, Path) else "",
        )
        # Copying the rows of a block takes longer than a decision may.
        frame = framed(ask) if ask.data is None else await asyncio.to_thread(framed, ask)
        if self.gone.is_set():
            raise LogUnavailable("the attempt log is starting again")
        self._send(frame)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        return await answer

    def kill(self) -> None:
        """End it now; it may hang, or be stopped, and only this signal is sure to arrive."""
        self._process.kill()
        self.gone.set()

    async def reap(self) -> None:
        """Kill it and return once it is no more, its lock and memory given up."""
        self.kill()
        await self._wait()
        self._hearing.cancel()
        if self._listening is not None:
            self._listening.cancel()
        self._writer.close()
        self._hearer.close()
        self._fail_all(LogUnavailable("the attempt log's process ended"))

    async def end(self, *, seconds_max: float) -> None:
        """Let it close its files, for so long; then reap it."""
        if not self.gone.is_set():
            with contextlib.suppress(LogUnavailable, TimeoutError):
                self._send(framed(End()))
                async with asyncio.timeout(seconds_max):
                    await self.gone.wait()
        await self.reap()

    async def _wait(self) -> int:
        """Return its status once it is no more, and all that it said is heard."""
        status = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        await asyncio.wait([self._hearing], timeout=_LAST_WORDS_S_MAX)
        self.ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return status

    def _send(self, frame: bytearray) -> None:
        try:
            self._writer.write(frame)
        except (OSError, RuntimeError) as error:
            # The transport has seen the end before `_listen` had its turn to; uvloop then raises RuntimeError.
            self.kill()
            raise LogUnavailable("the attempt log's process ended") from error

    async def become_ready(self) -> None:
        """Return once it answers; raises as `launch` does."""
        try:
            async with asyncio.timeout(_READY_S_MAX):
                message = await self._receive()
        except TimeoutError:
            raise LogUnavailable(f"the attempt log's process was not ready within {_READY_S_MAX:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            raise await self._ended_early() from None
        match message:
            case Ready():
                self.version = message.version
                self._heard.be_ready()
                self._listening = asyncio.get_running_loop().create_task(self._listen(), name="log process, answers")
            case Refused():
                raise await self._refused(message)
            case _:
                raise LogUnavailable("the attempt log's process spoke before it was ready")

    async def _refused(self, refused: Refused) -> SetupError | LogDamaged | LogUnavailable:
        await self._wait()
        problem = refused.problem
        if refused.passes:
            return LogUnavailable(problem)
        # The engine's own exception is empty here; what it found stands on stderr, where no viewer's value is yet.
        names = set(ERROR_NAME.findall(self._heard.text()))
        named = ", ".join(sorted(names))
        if names & DAMAGE:
            return LogDamaged(f"{problem}: its data is damaged ({named})")
        why = f" ({named})" if named else ""
        return SetupError(f"{problem}{why}; mend that; {_WITHOUT}")

    async def _ended_early(self) -> SetupError | LogUnavailable:
        status = await self._wait()
        lines = self._heard.text().splitlines()[-_STDERR_LINES_SHOWN:]
        said = "".join(f"\n  {line[:_STDERR_LINE_MAX]}" for line in lines)
        if status < 0 and -status not in _NEVER_RUNS:
            return LogUnavailable(
                f"the attempt log's process {self.ended} while starting; if it always is, look for what ends it "
                f"(memory, a sandbox); {_WITHOUT}{said}"
            )
        return SetupError(
            "the attempt log's engine (chDB) cannot run on this machine: its process "
            f"{self.ended} while starting; move the data folder to one where it runs; {_WITHOUT}{said}"
        )

    async def _receive(self) -> ToDoor:
        size = beside.body_size(await self._reader.readexactly(beside.HEADER_BYTES))
        message: ToDoor = _decoder.decode(await self._reader.readexactly(size))
        return message

    async def _listen(self) -> None:
        try:
            while True:
                self._settle(await self._receive())
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            # A frame that cannot be read leaves no way to find the next: the process is as good as dead.
            self.kill()
        self._fail_all(LogUnavailable("the attempt log's process ended"))

    def _settle(self, message: ToDoor) -> None:
        if not isinstance(message, Answer | Failed):
            raise ValueError("not an answer")
        answer = self._answers.pop(message.number, None)
        if answer is None or answer.done():
            return
        if isinstance(message, Answer):
            answer.set_result(message.rows)
        else:
            answer.set_exception(error_of(message.error))

    def _fail_all(self, error: LogUnavailable) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        self._answers.clear()

    async def _hear(self, stderr: asyncio.StreamReader) -> None:
        """Read what it says, so that it never waits for a reader, and keep the end."""
        while said := await stderr.read(_STDERR_READ_BYTES):
            self._heard.hear(said)


async def launch(folder: Path, *, memory_bytes_max: int) -> Child:
    """Start a log process on `folder` and return it once it answers.

    Raises SetupError when it cannot run here, LogDamaged when it cannot read its files, LogUnavailable otherwise.
    """
    try:
        child = await _connected(folder, memory_bytes_max=memory_bytes_max)
    except OSError as error:
        # Out of descriptors, processes or memory: that passes, and must not end the node or the restarts.
        raise LogUnavailable(f"the attempt log's process cannot be started: {error.strerror}") from error
    try:
        await child.become_ready()
    except BaseException:
        await child.reap()
        raise
    return child


async def _connected(folder: Path, *, memory_bytes_max: int) -> Child:
    """A process that was started and can be heard; where a step fails, what the others opened is closed."""

    def launch(socket_fd: int) -> str:
        told = Launch(
            socket_fd=socket_fd,
            parent_pid=os.getpid(),
            folder=str(folder.absolute()),
            lock_s_max=_LOCK_S_MAX,
            memory_bytes_max=memory_bytes_max,
            log_level=log_form().level,
        )
        return msgspec.json.encode(told).decode()

    with contextlib.ExitStack() as opened:
        # No pipe: uvloop closes its descriptor, and Python's file object closes the number once more, when it may be a
        # viewer's connection.
        heard, said = socket.socketpair()
        opened.callback(heard.close)
        with said:
            process, ours = beside.start(PROCESS, launch, stderr=said.fileno())
        opened.callback(process.wait)
        opened.callback(process.kill)
        reader, writer = await asyncio.open_connection(sock=ours)
        opened.callback(writer.close)
        stderr, hearer = await asyncio.open_connection(sock=heard)
        opened.pop_all()
    return Child(process, reader, writer, stderr, hearer)
