"""A crowd at kick-off, in a process of its own: viewers who come at their times and each start, then watch on.

`python -m bench.crowd` reads one `Crowd` as JSON on stdin and writes one `Came` as JSON on stdout. A viewer's start is
due when he comes, whatever became of the others, and each follow-up when the answer before it is there; both wait
for one of the edges' connections. Whoever is told that the node is busy asks again as hls.js does.
"""

from __future__ import annotations

import asyncio
import heapq
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from bench import traffic
from bench.load import LoadFailed, message_size

# hls.js, `errorRetry` of its load policies: a second, doubled each time, eight at most.
_AGAIN_S, _AGAIN_S_MAX = 1.0, 8.0
_TICK_S = 0.001
_ANSWER_S_MAX = 120.0
_PLAYLIST, _SEGMENT = "index.m3u8", "segment{:05d}.ts"
# What a viewer waits for is judged by these.
PROMPT_S, WATCHING_S = 1.0, 20.0


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Viewers `first` to `first + viewers - 1` of traffic.py, who come evenly within `seconds` and each ask for a
    playlist and then for `follow_ups` segments, through edges with so many connections to the node."""

    host: str
    port: int
    token: str
    first: int
    viewers: int
    seconds: float
    follow_ups: int
    connections: int


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `answered` are all answers but busy ones, `prompt` those within a second of when their request
    was due; `watching` the viewers who had all that they asked for within 20 s. `failures` are wrong answers by what
    they said, and connections that were closed."""

    answered: int
    prompt: int
    busy: int
    watching: int
    failures: dict[str, int]
    seconds: float
    start_p50_ms: float
    start_p99_ms: float
    follow_up_p50_ms: float
    follow_up_p99_ms: float
    max_ms: float
    cpu: float


class _Viewer:
    __slots__ = ("came_at", "due_at", "number", "refused", "step")

    def __init__(self, number: int, came_at: float) -> None:
        self.number = number
        self.came_at = self.due_at = came_at
        self.step = 0
        # How often this request was told that the node is busy.
        self.refused = 0


class _Arrivals:
    """Who asks next: those who come, those whose pause is over, and those who wait for a connection."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._began = 0.0
        self._come = 0
        self._again: list[tuple[float, int, _Viewer]] = []
        self._waiting: deque[_Viewer] = deque()
        self._head = (
            f"GET /v1/edges/nginx HTTP/1.1\r\nhost: {crowd.host}:{crowd.port}\r\n"
            f"authorization: Bearer {crowd.token}\r\n"
        )
        self.idle: deque[_Connection] = deque()
        self.left = crowd.viewers
        self.busy = self.watching = self.prompt = 0
        self.failures: Counter[str] = Counter()
        self.starts_s: list[float] = []
        self.follow_ups_s: list[float] = []

    def begin(self, now: float) -> None:
        self._began = now

    def send_what_is_due(self, now: float) -> None:
        crowd = self._crowd
        pace_s = crowd.seconds / crowd.viewers
        while self._come < crowd.viewers and (due := self._began + self._come * pace_s) <= now:
            self._waiting.append(_Viewer(crowd.first + self._come, due))
            self._come += 1
        while self._again and self._again[0][0] <= now:
            self._waiting.append(heapq.heappop(self._again)[2])
        while self._waiting and self.idle:
            self.idle.popleft().ask(self._waiting.popleft())

    def request(self, viewer: _Viewer) -> bytes:
        file = _SEGMENT.format(viewer.step) if viewer.step else _PLAYLIST
        named = msgspec.json.decode(traffic.nginx_headers(viewer.number, file), type=dict[str, str])
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"{self._head}{lines}\r\n".encode()

    def answered(self, viewer: _Viewer, answer: bytes, now: float) -> None:
        waited_s = now - viewer.due_at
        if answer.startswith(b"HTTP/1.1 503"):
            self.busy += 1
            pause_s = min(_AGAIN_S * 2**viewer.refused, _AGAIN_S_MAX)
            viewer.refused += 1
            heapq.heappush(self._again, (now + pause_s, viewer.number, viewer))
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failures[answer.partition(b"\r\n\r\n")[0].decode("latin-1")] += 1
            self.left -= 1
            return
        self.prompt += waited_s <= PROMPT_S
        (self.follow_ups_s if viewer.step else self.starts_s).append(waited_s)
        if viewer.step == self._crowd.follow_ups:
            self.watching += now - viewer.came_at <= WATCHING_S
            self.left -= 1
            return
        viewer.step += 1
        viewer.due_at, viewer.refused = now, 0
        self._waiting.append(viewer)


class _Connection(asyncio.Protocol):
    """One of an edge's connections to the node."""

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._viewer: _Viewer | None = None
        self._received = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._arrivals.idle.append(self)

    def ask(self, viewer: _Viewer) -> None:
        self._viewer = viewer
        self._transport.write(self._arrivals.request(viewer))

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        size = message_size(received)
        if size is None or len(received) < size or self._viewer is None:
            return
        viewer, self._viewer, self._received = self._viewer, None, b""
        now = time.perf_counter()
        self._arrivals.answered(viewer, received, now)
        self._arrivals.idle.append(self)
        self._arrivals.send_what_is_due(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._viewer is not None:
            self._arrivals.failures["the connection was closed"] += 1
            self._arrivals.left -= 1

    def close(self) -> None:
        self._transport.close()


def let_come(crowd: Crowd) -> Came:
    """Send the crowd from a process of its own. Raises LoadFailed when that did not end well."""
    sender = subprocess.run(
        [sys.executable, "-m", "bench.crowd"],
        input=msgspec.json.encode(crowd),
        stdout=subprocess.PIPE,
        timeout=crowd.seconds + _ANSWER_S_MAX + 60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if sender.returncode:
        raise LoadFailed(f"the crowd's process ended with status {sender.returncode}")
    return msgspec.json.decode(sender.stdout, type=Came)


async def _come(crowd: Crowd) -> Came:
    loop = asyncio.get_running_loop()
    # Connections first: an edge keeps them from before.
    arrivals = _Arrivals(crowd)
    for _ in range(crowd.connections):
        await loop.create_connection(lambda: _Connection(arrivals), crowd.host, crowd.port)
    connections = list(arrivals.idle)
    began = time.perf_counter()
    arrivals.begin(began)
    cpu_began = time.process_time()
    async with asyncio.timeout(crowd.seconds + _ANSWER_S_MAX):
        while arrivals.left > 0:
            arrivals.send_what_is_due(time.perf_counter())
            await asyncio.sleep(_TICK_S)
    seconds = time.perf_counter() - began
    cpu = (time.process_time() - cpu_began) / seconds
    for connection in connections:
        connection.close()
    return _came(arrivals, seconds=seconds, cpu=cpu)


def _came(arrivals: _Arrivals, *, seconds: float, cpu: float) -> Came:
    starts, follow_ups = sorted(arrivals.starts_s), sorted(arrivals.follow_ups_s)
    return Came(
        answered=len(starts) + len(follow_ups) + sum(arrivals.failures.values()),
        prompt=arrivals.prompt,
        busy=arrivals.busy,
        watching=arrivals.watching,
        failures=dict(arrivals.failures),
        seconds=seconds,
        start_p50_ms=_percentile_ms(starts, 0.5),
        start_p99_ms=_percentile_ms(starts, 0.99),
        follow_up_p50_ms=_percentile_ms(follow_ups, 0.5),
        follow_up_p99_ms=_percentile_ms(follow_ups, 0.99),
        max_ms=_percentile_ms(sorted([*starts[-1:], *follow_ups[-1:]]), 1.0),
        cpu=cpu,
    )


def _percentile_ms(sorted_s: list[float], share: float) -> float:
    return 1000 * sorted_s[min(int(share * len(sorted_s)), len(sorted_s) - 1)] if sorted_s else 0.0


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(_come(msgspec.json.decode(sys.stdin.buffer.read(), type=Crowd))))
    )
