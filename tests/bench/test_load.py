"""The load generator's open loop: a server that stalls is seen by every request that was due meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.load import Load, LoadFailed, Report, run_load
from bench.process import empty_server

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_RATE, _SECONDS = 200.0, 1.5
# From so long after the first request, for so long, nothing is answered.
_STALL_AFTER_S, _STALL_S = 0.2, 1.0

# From when the first request came until this one did: how long it has to wait for its answer.
Wait = Callable[[float], float]


class _Server(asyncio.Protocol):
    """Answers each request after `wait`."""

    first_at = 0.0

    def __init__(self, wait: Wait) -> None:
        self._wait = wait

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        type(self).first_at = self.first_at or loop.time()
        loop.call_later(self._wait(loop.time() - self.first_at), self._transport.write, _ANSWER)


@contextmanager
def served(wait: Wait) -> Iterator[int]:
    """A server on a port of 127.0.0.1, in a thread of its own, while the context lasts."""
    _Server.first_at = 0.0
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Server(wait), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def stall(since_s: float) -> float:
    is_stalled = _STALL_AFTER_S <= since_s < _STALL_AFTER_S + _STALL_S
    return _STALL_AFTER_S + _STALL_S - since_s if is_stalled else 0.0


def load(port: int, folder: Path, *, rate: float | None, seconds: float = _SECONDS, expected: str = "ok") -> Report:
    bodies = folder / "bodies.txt"
    bodies.write_text("{}\n")
    return run_load(
        Load(
            host="127.0.0.1",
            port=port,
            path="/",
            headers={},
            bodies=str(bodies),
            expected=expected,
            connections=4,
            warmup_s=0.0,
            seconds=seconds,
            rate=rate,
            marked="ok",
        )
    )


def test_a_stall_is_in_the_latency_of_every_request_that_was_due_meanwhile(tmp_path: Path) -> None:
    """Two in three are due during the stall, evenly: half of all have waited for a quarter of it or more."""
    with served(stall) as port:
        report = load(port, tmp_path, rate=_RATE)

    assert report.sent == report.answered == report.samples == report.marked == _RATE * _SECONDS
    assert report.p50_ms > 200
    assert report.p99_ms > 900


def test_a_closed_loop_sees_the_stall_once_a_connection(tmp_path: Path) -> None:
    """Which is why it is no measure of how long viewers wait."""
    with served(stall) as port:
        report = load(port, tmp_path, rate=None)

    assert report.p50_ms < 20
    assert report.max_ms > 900


def test_where_the_rate_is_not_reached_no_latency_means_anything(tmp_path: Path) -> None:
    """Four connections of 20 ms a request take 200 a second at most."""
    with served(lambda since_s: 0.02) as port:
        late = load(port, tmp_path, rate=400.0, seconds=0.5)
        given_up = load(port, tmp_path, rate=2_000.0, seconds=0.5)

    assert late.rate < 250
    assert (late.sent, late.unsent, late.kept_up) == (200, 0, False)
    assert given_up.unsent > 0
    assert (given_up.sent + given_up.unsent, given_up.kept_up) == (1_000, False)


def test_the_empty_server_answers_all_that_is_offered(tmp_path: Path) -> None:
    with empty_server(tmp_path) as server:
        report = load(server.port, tmp_path, rate=500.0, seconds=0.5)

    assert (report.sent, report.answered, report.unsent) == (250, 250, 0)


def test_an_unexpected_answer_ends_an_open_loop_at_once(tmp_path: Path) -> None:
    with served(lambda since_s: 0.0) as port, pytest.raises(LoadFailed, match="unexpected answer"):
        load(port, tmp_path, rate=_RATE, expected="another")
