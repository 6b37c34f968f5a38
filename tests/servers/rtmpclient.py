"""A player that speaks RTMP byte by byte, to ask what no player would: fields of its own, two plays on one connection.

Source of the bytes: Adobe's "RTMP Specification 1.0" and "AMF 0", in the little that one stream needs.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

# What an `onStatus` says of a play that is let in.
STARTED = "NetStream.Play.Start"
_ANSWER_S_MAX = 10.0
_HANDSHAKE_BYTES = 1536
_CHUNK_BYTES = 128
_SET_CHUNK_SIZE, _AUDIO, _VIDEO, _COMMAND = 1, 8, 9, 20
# Of the one message stream that nginx-rtmp gives a connection.
_STREAM = 1


class Message(NamedTuple):
    """A whole message; of a command its name and values."""

    kind: int
    body: bytes
    values: list[Any]

    @property
    def is_media(self) -> bool:
        return self.kind in (_AUDIO, _VIDEO)

    @property
    def code(self) -> str:
        """What an `onStatus` says, such as NetStream.Play.Start; else empty."""
        status = self.values[-1] if self.values else None
        return status.get("code", "") if isinstance(status, dict) else ""


class _Chunked:
    """What is known of a chunk stream from its chunks so far."""

    def __init__(self) -> None:
        self.length = self.kind = 0
        self.extended = False
        self.body = b""


class RtmpConnection:
    """Connected to an application. What the server then says is read by `message` and those that wait."""

    def __init__(self, port: int, app: str, **said: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S_MAX)
        self._chunk_bytes = 128
        self._by_stream: dict[int, _Chunked] = {}
        self._transaction = 0.0
        self._shake_hands()
        told = {"app": app, "flashVer": "LNX 9,0,124,2", "tcUrl": f"rtmp://127.0.0.1:{port}/{app}", **said}
        self._call("connect", told)
        self._call("createStream", None)

    def close(self) -> None:
        self._socket.close()

    def play(self, name: str) -> None:
        """Ask for a stream, with the ticket behind its `?`; the answer is not awaited."""
        self._send("play", 0.0, None, name, -2000.0, stream=_STREAM)

    def plays(self, name: str) -> bool:
        """Whether a play is let in and media comes."""
        self.play(name)
        return self.await_code(STARTED) and self.await_media()

    def close_stream(self) -> None:
        """Say that what was asked for is over, as players do before they ask for the next."""
        self._send("closeStream", 0.0, None, stream=_STREAM)

    def message(self) -> Message | None:
        """The next one; None where the server has closed the connection. Raises TimeoutError after ten seconds."""
        while True:
            try:
                whole = self._chunk()
            except (ConnectionError, EOFError):
                return None
            if whole is not None:
                return whole

    def await_code(self, code: str) -> bool:
        """Whether the server says this status before it closes the connection."""
        return self._await(lambda message: message.code == code)

    def await_media(self) -> bool:
        """Whether there comes sound or a picture before the server closes the connection."""
        return self._await(lambda message: message.is_media)

    def gets_media_within(self, seconds: float) -> bool:
        """Whether there comes sound or a picture."""
        self._socket.settimeout(seconds)
        try:
            return self.await_media()
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(_ANSWER_S_MAX)

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the server closes the connection, whatever else it sends before."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if self.message() is None:
                    return True
        self._socket.settimeout(_ANSWER_S_MAX)
        return False

    def _await(self, wanted: Any) -> bool:
        deadline = time.monotonic() + _ANSWER_S_MAX
        while (message := self.message()) is not None:
            if wanted(message):
                return True
            assert time.monotonic() < deadline, "the server says other things only"
        return False

    def _shake_hands(self) -> None:
        self._socket.sendall(b"\x03" + bytes(_HANDSHAKE_BYTES))
        assert self._read(1) == b"\x03"
        theirs = self._read(_HANDSHAKE_BYTES)
        self._socket.sendall(theirs)
        self._read(_HANDSHAKE_BYTES)

    def _call(self, name: str, *values: Any) -> None:
        self._transaction += 1
        self._send(name, self._transaction, *values)
        answered = self._await(lambda message: message.values[:2] in (["_result", self._transaction],))
        assert answered, f"{name} was not answered"

    def _send(self, *values: Any, stream: int = 0) -> None:
        body = b"".join(map(_amf, values))
        head = b"\x03" + bytes(3) + len(body).to_bytes(3) + bytes((_COMMAND,)) + stream.to_bytes(4, "little")
        pieces = [body[at : at + _CHUNK_BYTES] for at in range(0, len(body), _CHUNK_BYTES)]
        self._socket.sendall(head + b"\xc3".join(pieces))

    def _read(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            piece = self._socket.recv(count - len(read))
            if not piece:
                raise EOFError
            read += piece
        return read

    def _chunk(self) -> Message | None:
        """Read a chunk, and return the message that it ends, if any."""
        first = self._read(1)[0]
        form, number = first >> 6, first & 0x3F
        assert number > 1, "a chunk stream of many"
        stream = self._by_stream.setdefault(number, _Chunked())
        if form < 3:
            head = self._read((11, 7, 3)[form])
            stream.extended = head[:3] == b"\xff\xff\xff"
            if form < 2:
                stream.length, stream.kind = int.from_bytes(head[3:6]), head[6]
        if stream.extended:
            self._read(4)
        stream.body += self._read(min(self._chunk_bytes, stream.length - len(stream.body)))
        if len(stream.body) < stream.length:
            return None
        message = Message(stream.kind, stream.body, _values(stream.body) if stream.kind == _COMMAND else [])
        stream.body = b""
        if message.kind == _SET_CHUNK_SIZE:
            self._chunk_bytes = int.from_bytes(message.body)
        return message


@contextmanager
def connected(port: int, app: str = "live", **said: str) -> Iterator[RtmpConnection]:
    """A connection to an application while the context lasts. `said` are members of RTMP's `connect`, by their names
    there: flashVer, tcUrl, pageUrl, swfUrl."""
    connection = RtmpConnection(port, app, **said)
    try:
        yield connection
    finally:
        connection.close()


def _amf(value: Any) -> bytes:
    match value:
        case None:
            return b"\x05"
        case float():
            return b"\x00" + struct.pack(">d", value)
        case str():
            return b"\x02" + _short(value)
        case dict():
            return b"\x03" + b"".join(_short(name) + _amf(each) for name, each in value.items()) + b"\0\0\x09"
    raise TypeError(type(value).__name__)


def _short(text: str) -> bytes:
    # Names of streams need not be UTF-8; a test gives such bytes as Python does.
    raw = text.encode(errors="surrogateescape")
    return len(raw).to_bytes(2) + raw


def _values(body: bytes) -> list[Any]:
    values, at = [], 0
    while at < len(body):
        value, at = _value(body, at)
        values.append(value)
    return values


def _value(body: bytes, at: int) -> tuple[Any, int]:
    kind, at = body[at], at + 1
    match kind:
        case 0:
            return struct.unpack_from(">d", body, at)[0], at + 8
        case 1:
            return bool(body[at]), at + 1
        case 2:
            return _text(body, at)
        case 3:
            found = {}
            while body[at : at + 3] != b"\0\0\x09":
                name, at = _text(body, at)
                found[name], at = _value(body, at)
            return found, at + 3
        case 5:
            return None, at
    raise ValueError(f"AMF type {kind}")


def _text(body: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(body[at : at + 2])
    return body[at + 2 : end].decode(), end
