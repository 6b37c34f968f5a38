"""A crowd at kick-off, in a process of its own: viewers who come at their times and each start, then watch on.

`python -m bench.crowd` reads one `Crowd` as JSON on stdin and writes one `Came` as JSON on stdout. A viewer's start is
due when he comes, whatever became of the others, and each follow-up when the answer before it is there; both wait
for one of so many connections, which are opened when they are needed. Whoever is told that the node is busy asks again
as hls.js does.
"""

from __future__ import annotations

import asyncio
import heapq
import resource
import socket
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
# Of this machine; the option's number is from linux/in.h, and unknown to Python.
_ADDRESSES, _IP_BIND_ADDRESS_NO_PORT = 32, 24
_ANSWER_S_MAX = 120.0
PLAYLIST = "index.m3u8"
# What a server says where no other request may follow.
_LAST = b"onnection: close\r\n"
# What a viewer waits for is judged by these.
PROMPT_S, WATCHING_S = 1.0, 20.0


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Viewers 0 to `viewers - 1` of traffic.py, who come evenly within `seconds` and each ask for a playlist and then
    for `follow_ups` segments. With an edge's `token` the node is asked as that edge asks; without one an nginx is asked
    for the files, as viewers do behind a balancer that says who they are."""

    host: str
    port: int
    token: str
    viewers: int
    seconds: float
    follow_ups: int
    connections: int


def segment(number: int) -> str:
    """The file's name."""
    return f"segment{number:05d}.ts"


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
        self._opened = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._again: list[tuple[float, int, _Viewer]] = []
        self._waiting: deque[_Viewer] = deque()
        self._host = f" HTTP/1.1\r\nhost: {crowd.host}:{crowd.port}\r\n"
        self._door = f"GET /v1/edges/nginx{self._host}authorization: Bearer {crowd.token}\r\n"
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
            self._waiting.append(_Viewer(self._come, due))
            self._come += 1
        while self._again and self._again[0][0] <= now:
            self._waiting.append(heapq.heappop(self._again)[2])
        while self._waiting and self.idle:
            connection = self.idle.popleft()
            if connection.is_open:
                connection.ask(self._waiting.popleft())
        while self._waiting and self._opened < crowd.connections:
            self._opened += 1
            opening = asyncio.get_running_loop().create_task(self._open(self._waiting.popleft()))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, viewer: _Viewer) -> None:
        """A connection more, for who waits."""
        loop = asyncio.get_running_loop()
        try:
            connected = _from_one_of_many_addresses(self._opened)
            await loop.sock_connect(connected, (self._crowd.host, self._crowd.port))
            _, made = await loop.create_connection(lambda: _Connection(self), sock=connected)
        except OSError as error:
            self._opened -= 1
            self.failed(f"no connection: {error.strerror}")
        else:
            made.ask(viewer)

    def closed(self) -> None:
        """One of the connections is no more."""
        self._opened -= 1

    def failed(self, said: str) -> None:
        """A viewer has had a wrong answer, or none, and goes away."""
        self.failures[said] += 1
        self.left -= 1

    def request(self, viewer: _Viewer) -> bytes:
        file = segment(viewer.step) if viewer.step else PLAYLIST
        head = self._door
        if self._crowd.token:
            named = msgspec.json.decode(traffic.nginx_headers(viewer.number, file), type=dict[str, str])
        else:
            named = traffic.viewer_headers(viewer.number)
            head = f"GET {traffic.viewer_url(viewer.number, file)}{self._host}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"{head}{lines}\r\n".encode()

    def answered(self, viewer: _Viewer, answer: bytes, now: float) -> None:
        waited_s = now - viewer.due_at
        if answer.startswith(b"HTTP/1.1 503"):
            self.busy += 1
            pause_s = min(_AGAIN_S * 2**viewer.refused, _AGAIN_S_MAX)
            viewer.refused += 1
            heapq.heappush(self._again, (now + pause_s, viewer.number, viewer))
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failed(answer.partition(b"\r\n\r\n")[0].decode("latin-1"))
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


def _from_one_of_many_addresses(number: int) -> socket.socket:
    """A socket to connect to this machine with. From one address alone the kernel looks for a free port for most of a
    millisecond once ten thousand are taken, and has none beyond 28,000."""
    made = socket.socket()
    made.setblocking(False)
    # The port is then looked for when it is connected, among those of one's own address.
    made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    made.bind((f"127.0.0.{1 + number % _ADDRESSES}", 0))
    return made


class _Connection(asyncio.Protocol):
    """One of the edge's connections to the node, or a viewer's to nginx."""

    def __init__(self, arrivals: _Arrivals) -> None:
        self.is_open = True
        self._arrivals = arrivals
        self._viewer: _Viewer | None = None
        self._received = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

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
        if _LAST in received:
            self.close()
        else:
            self._arrivals.idle.append(self)
        self._arrivals.send_what_is_due(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._arrivals.closed()
        if self._viewer is not None:
            self._arrivals.failed("the connection was closed")

    def close(self) -> None:
        self.is_open = False
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
    arrivals = _Arrivals(crowd)
    began = time.perf_counter()
    arrivals.begin(began)
    cpu_began = time.process_time()
    until = began + crowd.seconds + _ANSWER_S_MAX
    while arrivals.left > 0 and time.perf_counter() < until:
        arrivals.send_what_is_due(time.perf_counter())
        await asyncio.sleep(_TICK_S)
    seconds = time.perf_counter() - began
    if arrivals.left > 0:
        arrivals.failures[f"gave up after {_ANSWER_S_MAX:.0f} s"] += arrivals.left
    cpu = (time.process_time() - cpu_began) / seconds
    for connection in arrivals.idle:
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
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(_come(msgspec.json.decode(sys.stdin.buffer.read(), type=Crowd))))
    )
