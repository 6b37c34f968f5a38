"""What door and log process say to each other: msgpack messages, each behind its length in four bytes."""

from __future__ import annotations

import msgspec

from openusher.attemptlog.engine import Lane

HEADER_BYTES = 4
# A block is 32 MiB of text at most, and JSON may write one byte of it as six.
FRAME_BYTES_MAX = 256 * 1024 * 1024


# One thread with a handle of its own each: handles are not to be shared by statements that bind values.
HANDLES = {Lane.INSERT: 1, Lane.COUNT: 2, Lane.CHECK: 1}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the log process is told on its command line; nothing in it is secret."""

    socket_fd: int
    parent_pid: int
    folder: str
    lock_s_max: float
    memory_bytes_max: int


class Ask(msgspec.Struct, frozen=True, tag=True, kw_only=True, array_like=True):
    """Run one statement; the answer carries the same number."""

    number: int
    lane: str
    text: str
    params: dict[str, str]
    data: bytes | None

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
    frame = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, frame, HEADER_BYTES)
    size = len(frame) - HEADER_BYTES
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {size} bytes; at most {FRAME_BYTES_MAX} are taken")
    frame[:HEADER_BYTES] = size.to_bytes(HEADER_BYTES, "big")
    return frame


def body_size(header: bytes | bytearray) -> int:
    """The length that follows `header`. Raises ValueError for one that no sender of ours writes."""
    size = int.from_bytes(header, "big")
    if not 0 < size <= FRAME_BYTES_MAX:
        raise ValueError("a broken frame")
    return size
