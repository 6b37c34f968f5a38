"""Connections are taken as they come, however long a turn of the event loop is."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from openusher.web import accepting as accepting_module
from openusher.web.accepting import Accepting

# Fewer than by default: both ends of all clients are descriptors of this process.
TAKEN_MAX = 64
CLIENTS = 3 * TAKEN_MAX
# A connection is made within a few turns of being taken.
TURNS_MAX = 3 + 6


@pytest.fixture(autouse=True)
def _few_at_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting_module, "TAKEN_MAX", TAKEN_MAX)


class Greeting(asyncio.Protocol):
    """Says something to whoever is connected."""

    greeted = 0

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()
        Greeting.greeted += 1


class Listening(socket.socket):
    """A listening socket for which there is no room so often."""

    failures = 0

    def accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def listening_on() -> Listening:
    listening = Listening()
    listening.bind(("127.0.0.1", 0))
    listening.listen(CLIENTS)
    return listening


def run(asking: Callable[[Listening], Coroutine[Any, Any, None]]) -> None:
    with listening_on() as listening:
        uvloop.run(asking(listening))


async def turns(until: Callable[[], bool], *, at_most: int) -> int:
    for turn in range(at_most):
        if until():
            return turn
        await asyncio.sleep(0)
    return at_most


def test_those_who_wait_are_connected_within_a_few_turns() -> None:
    async def asked(listening: Listening) -> None:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(CLIENTS)]
        Greeting.greeted = 0
        accepting = Accepting(listening, Greeting, tls={})
        assert await turns(lambda: Greeting.greeted == CLIENTS, at_most=2 * CLIENTS) <= TURNS_MAX
        for client in clients:
            assert client.recv(5) == b"hello"
            client.close()
        accepting.close()

    run(asked)


@pytest.mark.parametrize("failures", [1, 3])
def test_where_there_is_no_room_it_is_tried_again_later(failures: int) -> None:
    async def asked(listening: Listening) -> None:
        listening.failures = failures
        accepting = Accepting(listening, Greeting, tls={}, pause_s=0.001)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(10):
            assert await reader.read() == b"hello"
        assert listening.failures == 0
        writer.close()
        accepting.close()

    run(asked)


def test_after_its_end_nobody_is_taken_and_the_socket_is_open() -> None:
    async def asked(listening: Listening) -> None:
        Accepting(listening, Greeting, tls={}).close()
        with socket.create_connection(listening.getsockname()) as client:
            await turns(lambda: False, at_most=20)
            # Whoever listens next takes it.
            listening.accept()[0].close()
            assert client.recv(5) == b""

    run(asked)


def test_an_answer_leaves_at_once() -> None:
    """The kernel would hold back the second of two small pieces until the first is acknowledged."""

    async def asked(listening: Listening) -> None:
        options: asyncio.Queue[int] = asyncio.Queue()

        class Seen(Greeting):
            def connection_made(self, transport: Any) -> None:
                connection = transport.get_extra_info("socket")
                options.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                super().connection_made(transport)

        accepting = Accepting(listening, Seen, tls={})
        with socket.create_connection(listening.getsockname()):
            assert await options.get() != 0
        accepting.close()

    run(asked)
