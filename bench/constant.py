"""A constant answer on the same HTTP stack: what a Python service could do at most that decided nothing.

`python -m bench.constant` prints its URL and serves until SIGTERM. It reads the same question and sends an answer of
the same size as the door's, as an ASGI application does: it does not take the door's short way (web/connection.py).
"""

from __future__ import annotations

import signal
import socket
import sys

import msgspec
import uvicorn
import uvloop

from openusher.settings import Settings
from openusher.web.asgi import JSON, Receive, Scope, Send, send_answer
from openusher.web.server import http_config

ANSWER = b'{"allow":true,"reason":"","attempt_id":"1000000","ticket":{"uses_left":null,"expires":4102444800}}'
READY = "constant is ready on "


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    if scope["method"] == "GET":
        # As a door answers a proxy: by the status alone.
        await send_answer(send, 200, b"")
        return
    msgspec.json.decode(body)
    await send_answer(send, 200, ANSWER, JSON)


async def _serve() -> None:
    # uvicorn raises the signal that ended it once more.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listening:
        server = uvicorn.Server(http_config(_answer, Settings()))
        sys.stdout.write(f"{READY}http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve(sockets=[listening])


if __name__ == "__main__":
    uvloop.run(_serve())
