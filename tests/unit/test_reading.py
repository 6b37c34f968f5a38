"""Where very many ask at once, a turn of the event loop reads a few of them, and all are read in order."""

from __future__ import annotations

import asyncio

from openusher.settings import Settings
from openusher.web.asgi import Headers, Respond
from openusher.web.observed import Observed
from openusher.web.reading import READ_MAX
from openusher.web.server import http_config
from tests.e2e.rawhttp import request
from tests.unit.test_connection import SHORT, Echo, Wire, made

CLIENTS = 2 * READ_MAX + READ_MAX // 2


class Asked(Echo):
    """Answers at once, and knows whom it has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def ask(self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed) -> None:
        self.bodies.append(body)
        answer(200, body, [], None)


class Paused(Wire):
    """Knows whether it is read from."""

    is_read = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Crowd:
    """Clients of one server, whose requests have come within one turn of the loop; to be ended."""

    def __init__(self) -> None:
        self.asked = Asked()
        config = http_config(self.asked, Settings(), short_way={SHORT.encode(): self.asked}.get)
        config.load()
        self.connections = [(made(config), Paused()) for _ in range(CLIENTS)]
        for number, (connection, wire) in enumerate(self.connections):
            connection.connection_made(wire)
            connection.data_received(request("POST", SHORT, b"%d" % number))

    def end(self) -> None:
        for connection, _ in self.connections:
            connection.connection_lost(None)


async def all_turns() -> None:
    """As many as the crowd needs, and a few more."""
    for _ in range(2 * CLIENTS // READ_MAX + 4):
        await asyncio.sleep(0)


def test_a_turn_reads_so_many_and_leaves_the_others_unread_until_theirs() -> None:
    async def turns() -> tuple[list[int], list[int], Crowd]:
        crowd = Crowd()
        read, waiting = [len(crowd.asked.bodies)], [sum(not wire.is_read for _, wire in crowd.connections)]
        while len(crowd.asked.bodies) < CLIENTS:
            await asyncio.sleep(0)
            read.append(len(crowd.asked.bodies) - sum(read))
            waiting.append(sum(not wire.is_read for _, wire in crowd.connections))
        await asyncio.sleep(0)
        crowd.end()
        return read, waiting, crowd

    read, waiting, crowd = asyncio.run(turns())

    assert READ_MAX == read[0] == max(read)
    assert [waiting[0], waiting[-1]] == [CLIENTS - READ_MAX, 0]
    assert crowd.asked.bodies == [b"%d" % number for number in range(CLIENTS)]
    assert [wire.written.rpartition(b"\n")[2] for _, wire in crowd.connections] == crowd.asked.bodies


def test_who_comes_while_others_wait_is_read_after_them() -> None:
    async def turns() -> list[bytes]:
        crowd = Crowd()
        first, _ = crowd.connections[0]
        first.data_received(request("POST", SHORT, b"again"))
        await all_turns()
        crowd.end()
        return crowd.asked.bodies

    assert asyncio.run(turns())[-1] == b"again"


def test_who_has_gone_before_his_turn_is_not_asked_about() -> None:
    async def turns() -> list[bytes]:
        crowd = Crowd()
        _, gone = crowd.connections[-1]
        gone.closed = True
        await all_turns()
        crowd.end()
        return crowd.asked.bodies

    assert len(asyncio.run(turns())) == CLIENTS - 1


def test_nobody_is_ended_as_idle_or_slow_while_what_came_waits_to_be_read() -> None:
    async def turns() -> tuple[Crowd, list[bool]]:
        crowd = Crowd()
        idle, slow = (connection for connection, _ in crowd.connections[-2:])
        idle.timeout_keep_alive_handler()  # type: ignore[attr-defined]
        slow._end_slow()  # type: ignore[attr-defined]
        await all_turns()
        closed = [wire.closed for _, wire in crowd.connections[-2:]]
        crowd.end()
        return crowd, closed

    crowd, closed = asyncio.run(turns())

    assert (len(crowd.asked.bodies), closed) == (CLIENTS, [False, False])


def test_a_large_piece_does_not_wait_in_memory() -> None:
    async def turns() -> bool:
        crowd = Crowd()
        _, wire = crowd.connections[0]
        crowd.connections[0][0].data_received(request("POST", SHORT, b"x" * 32_000))
        taken = crowd.asked.bodies[-1] == b"x" * 32_000 and wire.is_read
        await all_turns()
        crowd.end()
        return taken

    assert asyncio.run(turns())
