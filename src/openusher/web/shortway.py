"""A short way through the server for the hottest path: no scope, no task, no messages, which are most of its cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from openusher.logs import event_log
from openusher.web.asgi import BODY_BYTES_MAX, JSON, Headers, Respond
from openusher.web.connection import BoundedConnection
from openusher.web.observed import Learnt, Observed, begun, ended
from openusher.web.onewrite import Turn
from openusher.web.reading import Reading

log = event_log()


class ShortWay(Protocol):
    """What answers requests of one method that came whole. All others reach the application, which answers alike."""

    method: str

    def ask(
        self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed
    ) -> asyncio.Future[None] | None:
        """Call `answer` when it is known, now or later. `target` is what is asked for, query and all, as it came. What
        is learnt on the way, the route first, goes into `observed`.

        A future that is returned is done once `answer` was called. The server cancels it where it cannot wait any
        longer at its end, and `answer` is then called all the same."""
        ...


# Finds what answers a target, as it stands in a request.
ShortWays = Callable[[bytes], ShortWay | None]


class Heads:
    """How answers begin: the status and what the server says with each, which changes once a second, with its date."""

    def __init__(self) -> None:
        self._defaults: Headers | None = None
        self._by_status: dict[int, bytes] = {}

    def of(self, status: int, defaults: Headers) -> bytes:
        if defaults is not self._defaults:
            self._defaults, self._by_status = defaults, {}
        head = self._by_status.get(status)
        if head is None:
            lines = (b"%b: %b\r\n" % header for header in defaults)
            head = self._by_status[status] = b"".join([STATUS_LINE[status], *lines])
        return head


class _Nobody:
    """Nobody waits for the messages of a request that has none."""

    def set(self) -> None: ...


class _ShortRequest:
    """A request on the short way: for the server, which asks it only for these, the one that is under way."""

    __slots__ = ("_connection", "_observed", "disconnected", "keep_alive", "response_complete")

    message_event = _Nobody()
    # It came whole.
    more_body = False

    def __init__(self, connection: ShortWayConnection, observed: Observed, *, keep_alive: bool) -> None:
        self._connection = connection
        self._observed = observed
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False

    def answer(self, status: int, body: bytes, headers: Headers, learnt: Learnt) -> None:
        if isinstance(learnt, BaseException):
            # Its frames hold this request, which holds it: a circle that only the collector of garbage would open.
            learnt.__traceback__ = None
        if not self.disconnected:
            self.response_complete = True
            self._connection.send_answer(status, body, headers, keep_alive=self.keep_alive)
            self._observed.learnt = learnt
            self._connection.observe(ended(self._observed, status))


class ShortWayConnection(BoundedConnection):
    """Reads a request with the server's own parser, and hands it to what `short_way` finds for it, if anything;
    whatever is unusual about it, or about when it comes, goes through the server and the application."""

    short_way: ShortWays
    # One of each for all connections of a server.
    heads: Heads
    turn: Turn
    reading: Reading

    # Whether what is being read may still go the short way.
    _may_be_short = False
    _keep_alive = True
    _body = b""
    _way: ShortWay

    def data_received(self, data: bytes) -> None:
        if self.reading.is_now(self, data):
            self._take(data)

    def wait_to_be_read(self) -> None:
        self._waits_to_be_read = True
        self.transport.pause_reading()

    def read(self, data: bytes) -> None:
        self._waits_to_be_read = False
        if not self._answers.is_closing():
            self.transport.resume_reading()
            self._take(data)

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self._may_be_short and not self._in_headers and not self._answers.is_closing():
            # The rest of its body is still to come.
            self._take_usual_way()

    def on_message_begin(self) -> None:
        # Not one that was sent before its turn.
        if self.cycle is None or self.cycle.response_complete:
            self._may_be_short = True
            self.url, self.headers, self._body = b"", [], b""
            self.expect_100_continue = False
            self._begin_headers()
        else:
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        if not self._may_be_short:
            super().on_headers_complete()
            return
        way = self.short_way(self.url)
        if way is not None and self.parser.get_method() == way.method.encode() and not self.parser.should_upgrade():
            self._way = way
            self._end_headers()
            keeps_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
            self._keep_alive = keeps_alive and not self.is_ending
        else:
            self._take_usual_way()

    def on_body(self, body: bytes) -> None:
        if self._may_be_short:
            self._body = self._body + body if self._body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._may_be_short:
            super().on_message_complete()
        elif len(self._body) > BODY_BYTES_MAX or self.flow.write_paused:
            self._take_usual_way()
            super().on_message_complete()
        else:
            self._may_be_short = False
            self._disarm()
            self._go_short_way()

    def _take_usual_way(self) -> None:
        """From where the server would be if it had had the request from its beginning."""
        self._may_be_short = False
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _go_short_way(self) -> None:
        observed = begun(self._way.method, self.client)
        request = _ShortRequest(self, observed, keep_alive=self._keep_alive)
        self.cycle = request  # type: ignore[assignment]
        try:
            asking = self._way.ask(self.url.decode("latin-1"), self.headers, self._body, request.answer, observed)
        except Exception as error:
            # As the server does with an application's.
            log.exception("request.failed")
            request.keep_alive = False
            request.answer(500, b'{"error":{"field":"","message":"failed; see the node\'s log"}}', [JSON], error)
        else:
            if asking is not None:
                # As the server does with a task of its own.
                self.tasks.add(asking)  # type: ignore[arg-type]
                asking.add_done_callback(self.tasks.discard)

    def send_answer(self, status: int, body: bytes, headers: Headers, *, keep_alive: bool) -> None:
        """Write it whole, and let the server go on as after an answer of the application."""
        if self._answers.is_closing():
            return
        parts = [self.heads.of(status, self.server_state.default_headers)]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        if not keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self._answers.keep(b"".join(parts), self.turn)
        if not keep_alive:
            self._answers.close()
        self._go_on()
