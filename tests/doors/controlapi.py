"""A media server's control API on a real socket, which does what it is told: answers, hangs, redirects, never ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

_WAIT_S_MAX = 20.0
_HANG_S_MAX = 15.0


class Said(NamedTuple):
    """An answer: whole, or a `flood` without end."""

    status: int = 200
    body: bytes = b'{"code":0}'
    headers: tuple[tuple[str, str], ...] = ()
    flood: bool = False


class Called(NamedTuple):
    """A request, when it came, and for how long its connection was kept."""

    method: str
    path: str
    headers: dict[str, str]
    at_s: float
    kept_s: list[float]
    sent_bytes: list[int]


# None: no answer at all.
Behaviour = Callable[[str, str], Said | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Several calls come at once; one that finds no room would come a second late.
    request_queue_size = 128


class ControlApi:
    """Such a server while it runs, and what it was asked."""

    def __init__(self, behaviour: Behaviour, port: int = 0) -> None:
        self.behaviour = behaviour
        self.calls: list[Called] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                api._answer(self)

            def do_DELETE(self) -> None:
                api._answer(self)

            def do_GET(self) -> None:
                api._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_WAIT_S_MAX)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each call."""
        return [(call.method, call.path) for call in self.calls]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        call = Called(handler.command, handler.path, headers, time.monotonic(), [], [])
        said = self.behaviour(handler.command, handler.path)
        self.calls.append(call)
        if said is None:
            _await_end(handler.connection)
        else:
            with suppress(OSError):
                call.sent_bytes.append(_send(handler, said))
        call.kept_s.append(time.monotonic() - call.at_s)


def _send(handler: BaseHTTPRequestHandler, said: Said) -> int:
    handler.send_response(said.status)
    for name, value in said.headers:
        handler.send_header(name, value)
    if not said.flood:
        handler.send_header("Content-Length", str(len(said.body)))
    handler.end_headers()
    handler.wfile.write(said.body)
    sent, until_s = len(said.body), time.monotonic() + _HANG_S_MAX
    while said.flood and time.monotonic() < until_s:
        try:
            sent += handler.connection.send(b"x" * 4096)
        except OSError:
            break
    return sent


def _await_end(connection: socket.socket) -> None:
    connection.settimeout(_HANG_S_MAX)
    with suppress(OSError):
        connection.recv(1)


@contextmanager
def control_api(behaviour: Behaviour, port: int = 0) -> Iterator[ControlApi]:
    """Such a server while the context lasts."""
    api = ControlApi(behaviour, port)
    try:
        yield api
    finally:
        api.close()
