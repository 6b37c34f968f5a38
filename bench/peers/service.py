"""A peer that keeps its store in its own process, on the HTTP stack of Usher and of the constant answer.

It serves `/v1/authorize` and `/count` until SIGTERM. The edge's token comes in the environment: `PEER_TOKEN`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from hmac import compare_digest
from typing import Protocol

import msgspec
import uvicorn
import uvloop

from bench.peers.admission import Answer, Asked
from bench.peers.filters import Counted, Parameters
from openusher.settings import Settings
from openusher.web.asgi import JSON, Receive, Scope, Send, header, read_body, send_answer
from openusher.web.server import http_config

READY = "peer is ready on "
_BODY_S_MAX = 10.0


class Store(Protocol):
    """What keeps tickets and attempts. Both calls block: the store is in this process, and takes one at a time."""

    def decide(self, asked: Asked) -> Answer: ...

    def count(self, parameters: Parameters) -> Counted: ...


class _Service:
    """The application."""

    def __init__(self, store: Store, token: str) -> None:
        self._store = store
        self._bearer = f"Bearer {token}".encode()
        self._asked = msgspec.json.Decoder(Asked)
        self._parameters = msgspec.json.Decoder(Parameters)
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, seconds_max=_BODY_S_MAX)
        if scope["path"] == "/count":
            await send_answer(send, 200, self._encode(self._store.count(self._parameters.decode(body))), JSON)
        elif compare_digest(header(scope["headers"], b"authorization"), self._bearer):
            await send_answer(send, 200, self._encode(self._store.decide(self._asked.decode(body))), JSON)
        else:
            await send_answer(send, 401, b"")


async def _serve(store: Store) -> None:
    # uvicorn raises the signal that ended it once more.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listening:
        server = uvicorn.Server(http_config(_Service(store, os.environ["PEER_TOKEN"]), Settings()))
        sys.stdout.write(f"{READY}http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve(sockets=[listening])


def serve(store: Store) -> None:
    """Serve `store` until SIGTERM."""
    uvloop.run(_serve(store))
