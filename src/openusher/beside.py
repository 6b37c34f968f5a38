"""A process beside the door: started by exec, spoken to over a socket pair that it inherits, gone when the door is.

Never by fork, which threads and engines do not survive, and never over a path: an orphan must not be talked to.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol

HEADER_BYTES = 4
# A block is 32 MiB of text at most, and JSON may write one byte of it as six.
FRAME_BYTES_MAX = 256 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_NICENESS = 10


class Encoder(Protocol):
    """Of msgspec, for JSON or msgpack."""

    def encode_into(self, obj: Any, buffer: bytearray, offset: int = 0, /) -> None: ...


def start(
    module: str, launch: Callable[[int], str], *, pass_fds: Sequence[int] = (), stderr: int | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run `module` with the argument that `launch` makes of its socket's number; return it and our end of the socket.

    Not by asyncio, whose child watcher reaps by itself. To be called in the loop's own thread: the process is killed
    when the thread that started it ends. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as opened:
        opened.callback(ours.close)
        process = subprocess.Popen(
            # -P: a module's namesake in the folder where the door was started must not be taken for it.
            [sys.executable, "-P", "-m", module, launch(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(theirs.fileno(), *pass_fds),
            close_fds=True,
        )
        opened.pop_all()
    return process, ours


def live_with(parent_pid: int) -> None:
    """From here on this process ends when its parent does, and takes no signals that are meant for the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before that call, and then nobody would ever tell.
    if os.getppid() != parent_pid:
        os._exit(1)
    ignore_signals()


def ignore_signals() -> None:
    """Ctrl-C at a terminal and a stop of the whole service reach every process; the door decides when this one ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)


def give_way() -> None:
    """Let decisions, which viewers wait for, go first where the cores are short: nine tenths of a core that both want,
    and at once. For the threads that the caller begins too; on Linux niceness is a thread's own. A sandbox may forbid
    it."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)


class DoorSocket:
    """The socket to the door, in bytes. Without it there is nothing to live for: its end is the end of the process."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = Lock()

    def send(self, frame: bytearray) -> None:
        """Send a frame whole, from any thread."""
        with self._sending:
            try:
                self._socket.sendall(frame)
            except OSError:
                os._exit(1)

    def receive(self) -> bytearray:
        """What follows the header of the next frame."""
        return self._read(body_size(self._read(HEADER_BYTES)))

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                count = self._socket.recv_into(view)
            except OSError:
                count = 0
            if count == 0:
                os._exit(1)
            view = view[count:]
        return data


def framed(message: Any, encoder: Encoder) -> bytearray:
    """The message behind its length in four bytes. Raises ValueError for one that is too long."""
    frame = bytearray(HEADER_BYTES)
    encoder.encode_into(message, frame, HEADER_BYTES)
    size = len(frame) - HEADER_BYTES
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {size} bytes; at most {FRAME_BYTES_MAX} are taken")
    frame[:HEADER_BYTES] = size.to_bytes(HEADER_BYTES, "big")
    return frame


def framed_bytes(body: bytes) -> bytes:
    """As `framed`, of bytes as they are; there must be one at least."""
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_size(header: bytes | bytearray) -> int:
    """The length that follows `header`. Raises ValueError for one that no sender of ours writes."""
    size = int.from_bytes(header, "big")
    if not 0 < size <= FRAME_BYTES_MAX:
        raise ValueError("a broken frame")
    return size
