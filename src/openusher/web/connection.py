"""One HTTP connection with bounds that the server does not set itself, and a short way for the hottest path."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from openusher.web.asgi import BODY_BYTES_MAX, BODY_CAME, BODY_DUE, JSON, Headers, Respond
from openusher.web.onewrite import OneWrite

log = logging.getLogger(__name__)

# Cookies and all, what a site or a media server sends is a few hundred bytes.
HEADER_BYTES_MAX = 32 * 1024

_OFFER = re.compile(rb"\r\n[Uu]pgrade:")

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 33\r\nconnection: close\r\n\r\n"
    b"the headers did not come in time\n"
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\ncontent-length: 26\r\n"
    b"connection: close\r\n\r\nthe headers are too large\n"
)


class _HeadersTooLarge(Exception):
    """Leaves the parser; see `send_400_response`."""


class ShortWay(Protocol):
    """What answers POSTs to one path that came whole, without the task and the messages of an ASGI application, which
    are a third of what a decision costs the door. All others reach the application, which answers alike."""

    path: str

    def ask(self, headers: Headers, body: bytes, answer: Respond) -> None:
        """Call `answer` when it is known, now or later."""
        ...


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose headers trickle in or do not end. Whoever reads a body bounds it, to the time that the
    headers left."""

    short_way: ShortWay | None = None

    # From the connection, or from the first byte of a later request, to the end of its headers and body.
    request_s_max = 10.0

    _answers: OneWrite
    _in_headers = False
    _piece_bytes = 0
    # Of the pieces that the headers came in. In the first, the end of another request may stand before them.
    _first_bytes = 0
    _later_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    _is_receiving = False
    # One that may go the short way, if it turns out to have come whole.
    _short: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._answers = OneWrite(transport)
        super().connection_made(self._answers)  # type: ignore[arg-type]
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # The parser drops the body of a request that offers to change to another protocol, as Java's own client does
        # with each. No offer is ever taken, so the header may as well have another name, of the same length.
        if b"pgrade:" in data:
            data = _OFFER.sub(b"\r\nX-Offer:", data)
        self._piece_bytes = len(data)
        if self._in_headers:
            self._later_bytes += len(data)
        self._is_receiving = True
        super().data_received(data)
        self._is_receiving = False
        short, self._short = self._short, None
        if short is not None:
            self._go_short_way(short)
        # Most requests come in one piece and are under way here: they pay for a few comparisons.
        if self._in_headers:
            if self._later_bytes > HEADER_BYTES_MAX:
                self._end(_TOO_LARGE)
            elif self._deadline is None:
                self._expect_headers()
        elif short is None and self._deadline is None and self.cycle is not None and self.cycle.response_complete:
            # Line ends between requests, or a body that nobody reads: they stop the clock of an idle connection.
            self._expect_headers()

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._first_bytes = self._piece_bytes
        self._later_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._first_bytes + self._later_bytes > HEADER_BYTES_MAX and self._headers_bytes() > HEADER_BYTES_MAX:
            raise _HeadersTooLarge
        # Not where an earlier request is being answered: meanwhile nothing is read.
        if self._deadline is not None and (self.cycle is None or self.cycle.response_complete):
            self.scope[BODY_DUE] = self._deadline.when()  # type: ignore[literal-required]
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # Mostly in the same piece as the headers: before the application is asked, which shares the scope.
        self.scope[BODY_CAME] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # An answer to HEAD ends with its head.
        self._answers.flush()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        way = self.short_way
        may_be_short = (
            way is not None
            # Else it is one that was sent before its turn.
            and self._is_receiving
            and cycle.scope["path"] == way.path
            and cycle.scope["method"] == "POST"
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused
        )
        if may_be_short:
            self._short = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _go_short_way(self, cycle: RequestResponseCycle) -> None:
        assert self.short_way is not None
        if cycle.more_body or len(cycle.body) > BODY_BYTES_MAX:
            super()._start_asgi_task(cycle, self.app)
            return

        def answer(status: int, body: bytes, headers: Headers) -> None:
            if not cycle.disconnected and not self.transport.is_closing():
                self._send_answer(cycle, status, body, headers)

        try:
            self.short_way.ask(cycle.scope["headers"], bytes(cycle.body), answer)  # type: ignore[arg-type]
        except Exception:
            # As the server does with an application's.
            log.exception("request.failed")
            cycle.keep_alive = False
            answer(500, b'{"error":{"field":"","message":"failed; see the node\'s log"}}', [JSON])

    def _send_answer(self, cycle: RequestResponseCycle, status: int, body: bytes, headers: Headers) -> None:
        """Write it whole, and let the server go on as after an answer of the application."""
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"content-length: ", str(len(body)).encode(), b"\r\n\r\n", body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def send_400_response(self, msg: str) -> None:
        """As in the base class, which calls it for whatever the parser or a callback of ours raises."""
        if not self._in_headers and self.headers is not None and self._headers_bytes() > HEADER_BYTES_MAX:
            self._end(_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _headers_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(self.request_s_max, self._end_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_slow(self) -> None:
        # Where there was an answer and no new request, nobody waits for another.
        self._end(_TOO_SLOW if self._in_headers or self.cycle is None else b"")

    def _end(self, answer: bytes) -> None:
        self._disarm()
        transport: Any = self.transport
        if not transport.is_closing():
            transport.write(answer)
            transport.close()


def connection_class(*, request_s_max: float, short_way: ShortWay | None = None) -> type[BoundedConnection]:
    """The connection with a node's setting: the server makes its connections itself and passes nothing on."""
    return type("Connection", (BoundedConnection,), {"request_s_max": request_s_max, "short_way": short_way})
