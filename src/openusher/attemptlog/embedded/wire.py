"""What door and log process say to each other: msgpack messages, each behind its length in four bytes."""

from __future__ import annotations

import os

import msgspec

from openusher import beside
from openusher.attemptlog.engine import Lane

# Where in the log's folder the engine keeps its files.
DATA_FOLDER = "chdb"
# What is needed while it is open only; emptied at each start.
TEMPORARIES_FOLDER = "tmp"
# Two threads each: more of them at a time, and what takes a few milliseconds would wait for a core.
_SCANS = max(1, (os.cpu_count() or 1) // 2)
# One thread with a handle of its own each: handles are not to be shared by statements that bind values.
HANDLES = {Lane.INSERT: 1, Lane.COUNT: 2, Lane.SCAN: _SCANS, Lane.EXPORT: 1, Lane.CHECK: 1}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the log process is told on its command line; nothing in it is secret."""

    socket_fd: int
    parent_pid: int
    folder: str
    lock_s_max: float
    memory_bytes_max: int
    # The least that it logs; in JSON, which the door passes on in its own form.
    log_level: str


class Ask(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Run one statement; the answer carries the same number."""

    number: int
    lane: str
    text: str
    params: dict[str, str]
    data: bytes | None
    # In the place of `data`.
    file: str = ""

    def __repr__(self) -> str:
        # Parameters and rows hold passes.
        return f"Ask({self.number}, {self.lane}, {self.text[:60]!r})"


class End(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Close the log and exit."""


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """The log is open, and a first query was answered."""

    version: str


class Refused(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """The log cannot be opened; the process exits, and what the engine said about it is on its stderr. `passes` where
    it may be otherwise in a while, though nobody mends anything."""

    problem: str
    passes: bool


class Answer(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """The rows of a statement, JSON arrays one a line."""

    number: int
    rows: bytes

    def __repr__(self) -> str:
        return f"Answer({self.number}, {len(self.rows)} bytes)"


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """A statement failed. `error` is the engine's name for it: its text may hold values."""

    number: int
    error: str


ToProcess = Ask | End
ToDoor = Ready | Refused | Answer | Failed

_encoder = msgspec.msgpack.Encoder()


def framed(message: ToProcess | ToDoor) -> bytearray:
    """The message behind its length. Raises ValueError for one that is too long."""
    return beside.framed(message, _encoder)
