"""The cheapest server there is: one answer of a few bytes to whatever comes whole. What the load generator reaches
against it is its own floor: `python -m bench.empty` prints its URL and serves until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import uvloop

from bench.load import message_size

READY = "empty is ready on "
BODY = b"ok"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class _Connection(asyncio.Protocol):
    """Reads as far as to know that a request is whole."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        size = message_size(received)
        if size is not None and len(received) >= size:
            self._received = b""
            self._transport.write(_ANSWER)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=2_048)
    sys.stdout.write(f"{READY}http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ending.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())
