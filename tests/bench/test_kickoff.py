"""The crowd of the kick-off bench asks as viewers do: again where it is told busy, and through a real nginx."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.crowd import Crowd, let_come
from bench.kickoff import Kickoff, Through, app, kick_off

VIEWERS, FOLLOW_UPS = 40, 2
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"


class Scripted(asyncio.Protocol):
    """Gives each URL these answers, one after the other, and the last again and again."""

    def __init__(self, answers: list[bytes], asked: Counter[str]) -> None:
        self.answers = answers
        self.asked = asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        url = data.split(b" ", 2)[1].decode()
        answer = self.answers[min(self.asked[url], len(self.answers) - 1)]
        self.asked[url] += 1
        self.transport.write(answer)
        if answer is LAST:
            self.transport.close()


@contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[int, Counter[str]]]:
    """A server on a port of 127.0.0.1, in a thread of its own, and how often it was asked for what."""
    asked: Counter[str] = Counter()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Scripted([*answers], asked), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def crowd(port: int, *, connections: int = 8) -> Crowd:
    """Without a token: it asks for files, each of which has a URL of its own."""
    return Crowd(
        host="127.0.0.1", port=port, token="", viewers=VIEWERS, seconds=0.2, follow_ups=FOLLOW_UPS,
        connections=connections,
    )  # fmt: skip


def test_who_is_told_that_the_node_is_busy_asks_again_until_he_watches() -> None:
    with scripted(BUSY, OK) as (port, asked):
        came = let_come(crowd(port))

    assert {2} == set(asked.values())
    assert len(asked) == VIEWERS * (FOLLOW_UPS + 1) == came.busy == came.answered
    assert came.watching == VIEWERS
    # A second before each is asked for again, in which nobody is answered.
    assert came.prompt == 0


def test_a_connection_that_was_closed_after_its_answer_is_opened_anew() -> None:
    with scripted(LAST) as (port, asked):
        came = let_come(crowd(port, connections=3))

    assert (came.watching, came.failures) == (VIEWERS, {})
    assert asked.total() == VIEWERS * (FOLLOW_UPS + 1)


def test_who_is_refused_is_a_wrong_answer_and_goes() -> None:
    with scripted(REFUSED) as (port, asked):
        came = let_come(crowd(port))

    assert {REFUSED.partition(b"\r\n\r\n")[0].decode(): VIEWERS} == came.failures
    assert (came.watching, asked.total()) == (0, VIEWERS)


@pytest.mark.parametrize("through", Through)
def test_a_small_crowd_starts_once_each_and_all_of_it_watches(through: Through, tmp_path: Path) -> None:
    kicked = kick_off(Kickoff(viewers=100, connections=10, through=through), tmp_path, rechecks=True, seconds=0.2)
    # Of nginx a viewer wants all segments, whichever it has kept the answer to.
    files = {Through.DOOR: 2, Through.NGINX: 5}[through]

    assert (100, 100 * files) == (kicked.came.watching, kicked.came.answered)
    assert kicked.readyz_ms > 0 < kicked.door_mb


def test_more_connections_than_a_process_may_have_are_refused_with_how_many_it_may() -> None:
    done = CliRunner().invoke(app, ["--connections", "1000000000"])

    assert done.exit_code == 2
    assert "ulimit -Hn" in done.output
