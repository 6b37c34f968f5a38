"""The log process: holds chDB, and answers statements that come over the socket it inherited.

Run by exec only (`python -m openusher.attemptlog.embedded.process LAUNCH`): forking a process that has chDB open hangs
the child. It lives no longer than its parent, and takes no signals that are meant for the door.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from openusher.attemptlog.embedded.wire import (
    DATA_FOLDER,
    HANDLES,
    TEMPORARIES_FOLDER,
    Answer,
    Ask,
    Failed,
    Launch,
    Ready,
    Refused,
    ToDoor,
    ToProcess,
    framed,
)
from openusher.attemptlog.engine import ERROR_NAME
from openusher.beside import DoorSocket, give_way, ignore_signals, live_with
from openusher.logs import LogForm, log_to_stderr

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection

_LOCK_FILE = "lock"
_LOCK_LOOK_S = 0.05

# Caches hold marks and primary keys only; 10 M attempts have 2 MB of them.
_CACHE_BYTES = 64 * 1024 * 1024
_FORMAT = "JSONCompactEachRow"
# From -1000, never, to 1000, always first; the others have the 0 that processes begin with.
_OOM_SCORE = "500"


class _Refusal(Exception):
    """The log cannot be opened, said in words for the operator."""

    def __init__(self, problem: str, *, passes: bool = False) -> None:
        super().__init__(problem)
        self.passes = passes


def main() -> None:
    """Open the log, answer until told to end, and exit; never return to an interpreter that would unload the engine."""
    launch = msgspec.json.decode(sys.argv[1], type=Launch)
    live_with(launch.parent_pid)
    _be_first_to_go()
    # Beside a backlog that moves, a decision then takes 13 ms in the place of 138; a count beside decisions takes as
    # long as before, or, where it reads a whole account, up to twice.
    give_way()
    log_to_stderr(LogForm("json", launch.log_level), process="log")
    door = _Door(socket.socket(fileno=launch.socket_fd))
    try:
        log = _OpenLog(launch, door)
    except _Refusal as refusal:
        door.send(Refused(problem=str(refusal), passes=refusal.passes))
        os._exit(1)
    # chDB sets handlers of its own while it opens.
    ignore_signals()
    door.send(Ready(version=log.version))
    while isinstance(message := door.receive(), Ask):
        log.take(message)
        # The rows of a block are not to stay in memory until the next one comes.
        del message
    log.close()
    os._exit(0)


def _be_first_to_go() -> None:
    """Where memory runs out, the kernel shall end this process, which is started again, and not the door or ledger."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


class _Door:
    """The door, which speaks msgpack."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = DoorSocket(connection)
        self._decoder = msgspec.msgpack.Decoder(ToProcess)

    def send(self, message: ToDoor) -> None:
        self._socket.send(framed(message))

    def receive(self) -> ToProcess:
        message: ToProcess = self._decoder.decode(self._socket.receive())
        return message


class _OpenLog:
    """chDB open on the log's folder, with a thread for each handle."""

    def __init__(self, launch: Launch, door: _Door) -> None:
        self._door = door
        folder = Path(launch.folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Relative paths from here on: chDB would read a `?` or `&` in the folder's name as the start of options.
            os.chdir(folder)
        except OSError as error:
            raise _Refusal(f"{folder}: cannot be used as the attempt log's folder: {error.strerror}") from error
        self._lock = _locked(folder, seconds_max=launch.lock_s_max)
        _keep_temporaries_here()
        connect = _load_chdb()
        self._connections: list[Connection] = []
        self._queues: dict[str, SimpleQueue[Ask | None]] = {}
        self._threads: list[Thread] = []
        try:
            self.version = self._open(launch, connect)
        except Exception as error:
            raise _Refusal(f"{folder}: chDB cannot open it") from error
        self._start()

    def _open(self, launch: Launch, connect: Callable[[str], Connection]) -> str:
        options = {
            "max_server_memory_usage": launch.memory_bytes_max,
            "mark_cache_size": _CACHE_BYTES,
            "index_mark_cache_size": _CACHE_BYTES,
            "primary_index_cache_size": _CACHE_BYTES,
            "query_condition_cache_size": 0,
        }
        text = DATA_FOLDER + "?" + "&".join(f"{name}={value}" for name, value in options.items())
        for _ in range(sum(HANDLES.values())):
            self._connections.append(connect(text))
        rows = msgspec.json.decode(self._connections[0].query("SELECT version()", _FORMAT).bytes())
        return str(rows[0])

    def _start(self) -> None:
        connections = iter(self._connections)
        for lane, handles in HANDLES.items():
            queue: SimpleQueue[Ask | None] = SimpleQueue()
            self._queues[lane.value] = queue
            for _ in range(handles):
                thread = Thread(target=self._work, args=(queue, next(connections)), daemon=True, name=lane.value)
                thread.start()
                self._threads.append(thread)

    def take(self, ask: Ask) -> None:
        self._queues[ask.lane].put(ask)

    def close(self) -> None:
        """Finish what has begun, close the files and give up the lock."""
        for lane, handles in HANDLES.items():
            for _ in range(handles):
                self._queues[lane.value].put(None)
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()
        os.close(self._lock)

    def _work(self, queue: SimpleQueue[Ask | None], connection: Connection) -> None:
        while (ask := queue.get()) is not None:
            self._door.send(_answered(ask, connection))
            del ask


def _answered(ask: Ask, connection: Connection) -> Answer | Failed:
    try:
        if ask.data is None and not ask.file:
            rows = connection.query(ask.text, _FORMAT, params=ask.params).bytes()
            return Answer(number=ask.number, rows=rows)
        _insert(ask, connection)
        return Answer(number=ask.number, rows=b"")
    except Exception as error:
        return Failed(number=ask.number, error=_error_name(error))


def _insert(ask: Ask, connection: Connection) -> None:
    """Not with the rows behind the statement's text, which costs twice the time of all the rest, and not as a stream of
    its own: that reports success where storing the rows failed (seen in 26.9)."""
    with open(ask.file, "rb") if ask.data is None else _in_memory(ask.data) as file:
        # Not by the file's name, which may hold a `?` or `*`.
        source = f"file('/proc/self/fd/{file.fileno()}', '{_FORMAT}', "
        connection.query(ask.text.replace("input(", source, 1), _FORMAT)


def _in_memory(rows: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("rows"), "wb")
    file.write(rows)
    file.flush()
    return file


def _error_name(error: Exception) -> str:
    """The engine's name for an error. Never its text: that may show a pass which a statement was bound to."""
    names = ERROR_NAME.findall(str(error))
    return names[-1] if names else type(error).__name__


def _load_chdb() -> Callable[[str], Connection]:
    """What opens a handle of the engine. Raises _Refusal where it cannot even be loaded, which no folder is to blame
    for."""
    try:
        # For results that nobody asks for it would load numpy too: a tenth of a second at each start, and 40 MB.
        sys.modules["pyarrow"] = None  # type: ignore[assignment]
        # Here and nowhere else: importing it takes 300 MB and starts threads.
        from chdb.state.sqlitelike import Connection
    except Exception as error:
        raise _Refusal(f"chDB cannot be loaded on this machine: {type(error).__name__}: {error}") from error
    return Connection


def _locked(folder: Path, *, seconds_max: float) -> int:
    """Take the folder for this process; chDB itself would only say that it failed. The lock ends with the process.

    One that was just killed may hold it for a moment longer, while the kernel takes its memory down: wait for that.
    """
    try:
        lock = os.open(_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _Refusal(f"{folder}: cannot be used as the attempt log's folder: {error.strerror}") from error
    deadline = time.monotonic() + seconds_max
    while not _took(lock):
        if time.monotonic() >= deadline:
            holder = os.pread(lock, 100, 0).decode(errors="replace").strip()
            problem = f"{folder}: the attempt log is in use by {holder or 'another process'}"
            raise _Refusal(problem, passes=True)
        time.sleep(_LOCK_LOOK_S)
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()}, started by process {os.getppid()}\n".encode())
    return lock


def _keep_temporaries_here() -> None:
    """The engine makes a folder for what it needs while it is open, and a killed one leaves it: not in the machine's,
    and gone at the next start."""
    shutil.rmtree(TEMPORARIES_FOLDER, ignore_errors=True)
    os.mkdir(TEMPORARIES_FOLDER, mode=0o700)
    os.environ["TMPDIR"] = os.path.abspath(TEMPORARIES_FOLDER)


def _took(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main()
