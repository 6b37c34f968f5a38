"""HTTP over a bare socket, for requests that no HTTP library would send."""

from __future__ import annotations

import http.client
import socket
import urllib.parse
from typing import NamedTuple


class Answer(NamedTuple):
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """One connection on which any bytes may be sent."""

    def __init__(self, url: str, *, timeout_s: float = 20.0) -> None:
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a call of its own."""
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self) -> Answer:
        """The next answer. Bytes of one after it would be lost: use `answers` for several at once."""
        found = http.client.HTTPResponse(self.socket)
        found.begin()
        body = found.read()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, body)

    def rest(self) -> bytes:
        """Everything until the node closes the connection."""
        received = b""
        try:
            while piece := self.socket.recv(65_536):
                received += piece
        except ConnectionResetError:
            return received
        return received


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request; `_` in a header's name stands for `-`, and its length is announced unless chunked."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if "transfer-encoding" not in named:
        named = {"content-length": str(len(body)), **named}
    lines = [f"{method} {path} HTTP/1.1", "host: usher", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes, *, size: int = 1_000) -> bytes:
    """`body` in the form of `transfer-encoding: chunked`."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
