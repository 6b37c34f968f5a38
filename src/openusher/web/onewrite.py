"""Sends an answer's head and body in one piece: one system call, one packet, one waking of whoever reads it."""

from __future__ import annotations

import asyncio
from typing import Any

_HEAD, _HEAD_END = b"HTTP/1.1 ", b"\r\n\r\n"
# Not the head of an answer: the client waits for it before it sends its body.
_CONTINUE = b"HTTP/1.1 100 "


class OneWrite:
    """A transport that keeps an answer's head until the next write, `flush` or `close`.

    The server writes head and body one after the other, and its event loop sends each as it is written.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(_HEAD) and data.endswith(_HEAD_END) and not data.startswith(_CONTINUE):
            self._head = data
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        # Asked at each answer, and in a fifth of the time that `__getattr__` takes.
        return bool(self._transport.is_closing())

    def flush(self) -> None:
        """Send the head of an answer that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()
