"""A stand-in for Usher that notes what servers ask and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AskedUsher:
    """`asked` has each request as it came, line for line; `status` and `headers` are the answer to the next. While
    `speaks` is cleared, nothing is answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.speaks = threading.Event()
        self.speaks.set()
        self.address = ""

    def stop(self) -> None:
        """Be nobody who listens."""


@contextmanager
def asked_usher() -> Iterator[AskedUsher]:
    """It listens while the context lasts, or until nobody shall be reached there any more."""
    told = AskedUsher()
    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            head = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())]
            told.asked.append("\n".join(head))
            told.speaks.wait(10)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    class Listening(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Servers hang up where they have waited long enough."""

    with Listening(("127.0.0.1", 0), Handler) as server:
        told.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def stop() -> None:
            told.speaks.set()
            server.shutdown()
            thread.join()
            server.server_close()
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        told.stop = stop  # type: ignore[method-assign]
        try:
            yield told
        finally:
            stop()
