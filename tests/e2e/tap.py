"""A tap on the line between a client and a node: it passes everything on and keeps what the client sent."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager


class Tap:
    """Listens at `url`, passes on to a node. Ask for what was heard once the client has its answer."""

    def __init__(self, listening: socket.socket, node: tuple[str, int]) -> None:
        self._listening = listening
        self._node = node
        self._heard: list[bytearray] = []
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def requests(self) -> list[bytes]:
        """What came in on each connection so far, oldest first."""
        return [bytes(heard) for heard in self._heard]

    def last(self) -> tuple[str, dict[str, str], bytes]:
        """Path, headers by lower-case name, and body of the last connection's one request."""
        head, _, body = self.requests()[-1].partition(b"\r\n\r\n")
        request_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return request_line.split(" ")[1], headers, body

    def last_text(self) -> str:
        """The raw JSON text in the form field of the last request, urlencoded or multipart."""
        _, headers, body = self.last()
        content_type = headers["content-type"]
        if content_type.startswith("multipart/form-data"):
            boundary = re.sub(r'.*boundary="?([^";]+).*', r"\1", content_type)
            part = body.split(f"--{boundary}".encode())[1]
            return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n").decode()
        fields = urllib.parse.parse_qs(body.decode(), strict_parsing=True)
        return fields["json"][0]

    def listen(self) -> None:
        """Accept connections until the listening socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        heard = bytearray()
        self._heard.append(heard)
        with client, socket.create_connection(self._node) as node:
            back = threading.Thread(target=_copy, args=(node, client, bytearray()), daemon=True)
            back.start()
            _copy(client, node, heard)
            back.join()


def _copy(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            kept += piece
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    """A tap before the node at `url` while the context lasts."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tap = Tap(listening, (parts.hostname, parts.port))
        listener = threading.Thread(target=tap.listen, daemon=True)
        listener.start()
        try:
            yield tap
        finally:
            # Wakes accept(), which close() alone would not.
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listener.join(5)
