"""One HTTP connection with bounds that the server does not set itself."""

from __future__ import annotations

import asyncio
import re
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openusher.web.asgi import BODY_CAME, BODY_DUE
from openusher.web.observed import NO_METHOD, Observer, begun, ended, unseen
from openusher.web.onewrite import OneWrite

# Cookies and all, what a site or a media server sends is a few hundred bytes.
HEADER_BYTES_MAX = 32 * 1024

# The parser drops the body of a request that offers to change to another protocol, as Java's own client does with each.
# No offer is ever taken, so the header may as well have another name.
_OFFER = re.compile(rb"\r\n[Uu]pgrade:")
_OTHER_NAME = b"\r\nX-Offer:"

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 33\r\nconnection: close\r\n\r\n"
    b"the headers did not come in time\n"
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\ncontent-length: 26\r\n"
    b"connection: close\r\n\r\nthe headers are too large\n"
)


_STOPPING = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 21\r\nretry-after: 1\r\n"
    b"connection: close\r\n\r\nthe node is stopping\n"
)
# At the server's end. A request may be on its way that nothing has been seen of; one that has begun may be slow.
_LAST_REQUEST_S_MAX = 0.5
_LAST_REST_S_MAX = 2.0
# What has come and waits for its turn to be read has come in time.
_TURN_S = 1.0


class _HeadersTooLarge(Exception):
    """Leaves the parser; see `send_400_response`."""


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose headers trickle in or do not end. Whoever reads a body bounds it, to the time that the
    headers left."""

    # From the connection, or from the first byte of a later request, to the end of its headers and body.
    request_s_max = 10.0
    observe: Observer = staticmethod(unseen)
    # Of all connections of a server: from when it ends, each answer is the last on its connection.
    is_ending = False

    _answers: OneWrite
    _in_headers = False
    # Something has come that has not had its turn yet.
    _waits_to_be_read = False
    _piece_bytes = 0
    # What the headers' last piece ended with.
    _tail = b""
    # Of the pieces that the headers came in. In the first, the end of another request may stand before them.
    _first_bytes = 0
    _later_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    # Since when headers are awaited that have not come, by the clock of `Observed`.
    _awaited_from = 0.0
    # When the last answer was sent, by the loop's clock.
    _idle_from = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._answers = OneWrite(transport)
        super().connection_made(self._answers)  # type: ignore[arg-type]
        self._expect_headers()
        if self.is_ending:
            # Taken in the very turn in which the server ended.
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        tail = self._tail
        # Most requests come in one piece and are under way at the end: they pay for a few comparisons.
        if self._in_headers:
            self._later_bytes += len(data)
            renamed = _without_offer(tail, data)
        else:
            renamed = _OFFER.sub(_OTHER_NAME, data) if b"pgrade:" in data else data
        self._piece_bytes = len(data)
        super().data_received(renamed)
        if self._in_headers:
            self._tail = (tail + data)[-len(_OTHER_NAME) :]
            if self._later_bytes > HEADER_BYTES_MAX:
                self._refuse(431, _TOO_LARGE)
            elif self._deadline is None:
                self._expect_headers()

    def on_message_begin(self) -> None:
        self._begin_headers()
        super().on_message_begin()

    def _begin_headers(self) -> None:
        self._in_headers = True
        self._first_bytes = self._piece_bytes
        self._later_bytes = 0

    def _end_headers(self) -> None:
        self._in_headers = False
        self._tail = b""
        if self._first_bytes + self._later_bytes > HEADER_BYTES_MAX and self._headers_bytes() > HEADER_BYTES_MAX:
            raise _HeadersTooLarge

    def on_headers_complete(self) -> None:
        self._end_headers()
        # Not where an earlier request is being answered: meanwhile nothing is read.
        if self._deadline is not None and (self.cycle is None or self.cycle.response_complete):
            self.scope[BODY_DUE] = self._deadline.when()  # type: ignore[literal-required]
        self._disarm()
        super().on_headers_complete()
        if self.is_ending:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        # Mostly in the same piece as the headers: before the application is asked, which shares the scope.
        self.scope[BODY_CAME] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # An answer to HEAD ends with its head.
        self._answers.flush()
        self._go_on()

    def _go_on(self) -> None:
        """As the base class when an answer is complete, but for the clock of an idle connection: to set one at each
        answer, and to stop it at each request, takes longer than to parse a request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_from = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _watch_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._waits_to_be_read:
            self._watch_idleness(_TURN_S)
            return
        if self._in_headers or not self.cycle.response_complete:
            # Its answer sets the clock anew.
            return
        left = self._idle_from + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch_idleness(left)
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """The base class stops the clock when anything comes; here it finds out by itself."""

    def shutdown(self) -> None:
        """The server ends. The base class would close where no request is under way, though one may be on its way:
        whoever sent it could not know whether it was carried out."""
        if self._is_answering():
            self.cycle.keep_alive = False
        self.loop.call_later(_LAST_REQUEST_S_MAX, self._end_idle)
        self.loop.call_later(_LAST_REST_S_MAX, self._end_unfinished)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_idle(self) -> None:
        if not self._in_headers and not self._waits_to_be_read and not self._is_answering():
            self._end()

    def _end_unfinished(self) -> None:
        if self._in_headers or (self._is_answering() and self.cycle.more_body):
            self._refuse(503, _STOPPING)

    def send_400_response(self, msg: str) -> None:
        """As in the base class, which calls it for whatever the parser or a callback of ours raises."""
        if not self._in_headers and self.headers is not None and self._headers_bytes() > HEADER_BYTES_MAX:
            self._refuse(431, _TOO_LARGE)
        else:
            super().send_400_response(msg)
            self._observe_refusal(400)

    def _headers_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _expect_headers(self) -> None:
        self._awaited_from = time.perf_counter()
        self._deadline = self.loop.call_later(self.request_s_max, self._end_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_slow(self) -> None:
        if self._waits_to_be_read:
            # It is not the other side that is slow.
            self._deadline = self.loop.call_later(_TURN_S, self._end_slow)
            return
        if self._in_headers or self.cycle is None:
            self._refuse(408, _TOO_SLOW)
        else:
            # There was an answer and no new request: nobody waits for another.
            self._end()

    def _refuse(self, status: int, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._observe_refusal(status)
        self._end()

    def _observe_refusal(self, status: int) -> None:
        observed = begun(NO_METHOD, self.client)
        if self._deadline is not None:
            observed.began = self._awaited_from
        self.observe(ended(observed, status))

    def _end(self) -> None:
        self._disarm()
        if not self.transport.is_closing():
            self.transport.close()


def _without_offer(tail: bytes, data: bytes) -> bytes:
    """`data` with the header's name changed, which may have begun in the `tail` that was read before."""
    renamed = _OFFER.sub(_OTHER_NAME, tail + data)[len(tail) :]
    # Of the name there was nothing left to change.
    return b"-" + renamed if data.startswith(b":") and tail.lower().endswith(b"\r\nupgrade") else renamed
