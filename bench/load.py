"""The load generator, over keep-alive connections, in a process of its own.

`python -m bench.load` reads one `Load` as JSON on stdin and writes one `Report` as JSON on stdout. It parses no more
of an answer than it must, so that the server is what is measured; `busy` says how near it was to its own limit, and a
run against bench/empty.py what its own floor is.

The loop is closed (each connection sends when it has its answer: how much can the server take?) or, at a rate, open
(requests are due at their times, whatever became of those before: how long do viewers wait?).
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_ANSWER_S_MAX = 60.0
# Of the rate offered: a server that reaches less falls behind, and its latencies only say how long one has measured.
REACHED_MIN = 0.99
# What is due is looked for so often at most: more would cost the generator more than it tells.
_TICK_S_MIN = 0.0002
# So long after the last request was due, what could not be sent yet is given up.
_LATE_S_MAX = 1.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `bodies` is a file with one request body a line; in a random order again and again, or,
    where `once`, each one time until they are used up. With the method GET there are no bodies: a line is then JSON
    with the headers that its request has beside the others, and its path as `:path` where it is not that of all. An
    answer that has not `expected` in it is a failure; those that have `marked` in them are counted. With a `rate`, in
    requests a second of all connections together, the loop is open."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    bodies: str
    expected: str
    connections: int
    warmup_s: float
    seconds: float
    once: bool = False
    method: str = "POST"
    rate: float | None = None
    marked: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `sent`, `answered` and `marked` count everything, warm-up included; the rest is of the time
    measured.

    Latencies are to the last byte received: in a closed loop from the first byte sent, in an open one from when the
    request was due, so that one which had to wait for a connection has waited. `unsent` were due, and given up.
    """

    sent: int
    answered: int
    marked: int
    unsent: int
    failure: str
    offered: float | None
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    samples: int
    busy: float

    @property
    def kept_up(self) -> bool:
        """Whether latencies mean anything: in an open loop only where nearly all that was offered was answered."""
        return self.offered is None or (not self.unsent and self.rate >= REACHED_MIN * self.offered)


def run_load(load: Load) -> Report:
    """Send `load` from a process of its own. Raises LoadFailed when an answer was not as expected."""
    with sending(load) as sent:
        report = sent()
    if report.failure:
        raise LoadFailed(f"{load.path}: {report.failure}")
    return report


@contextmanager
def sending(load: Load) -> Iterator[Callable[[], Report]]:
    """Send `load` from a process of its own while the context lasts. What it yields waits for the end and returns the
    report, in which there may be a failure. Raises LoadFailed where there is none."""
    # A session of its own: Ctrl-C reaches the bench only, which then ends this one by its process id.
    sender = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=Path(__file__).parents[1],
    )

    def report() -> Report:
        out, _ = sender.communicate(timeout=load.warmup_s + load.seconds + 120)
        if sender.returncode:
            raise LoadFailed(f"the load generator ended with status {sender.returncode}")
        return msgspec.json.decode(out, type=Report)

    try:
        assert sender.stdin is not None
        sender.stdin.write(msgspec.json.encode(load))
        sender.stdin.close()
        sender.stdin = None
        yield report
    finally:
        if sender.poll() is None:
            sender.kill()
            sender.wait()


class LoadFailed(Exception):
    """An answer was not what was expected; the text says which."""


class _Run:
    """What the connections of one load share."""

    def __init__(self, load: Load, requests: list[bytes]) -> None:
        self._requests = requests
        self._unsent = iter(requests) if load.once else None
        self._chance = random.Random(load.connections).random
        self._expected, self._marked = load.expected.encode(), load.marked.encode()
        self.is_open = load.rate is not None
        self._pace_s = 1 / load.rate if load.rate else 0.0
        self._began = 0.0
        self._due = 0
        self.measure_from = self.send_until = 0.0
        self.sent = self.answered = self.marked = self.answered_in_time = 0
        self.failure = ""
        self.latencies: list[float] = []
        self.last_answer = 0.0
        self.idle: deque[_Connection] = deque()

    def begin(self, now: float, load: Load) -> None:
        self._began = now
        self.measure_from = now + load.warmup_s
        self.send_until = self.measure_from + load.seconds

    @property
    def due_at(self) -> float:
        """When the next request of an open loop is to be sent: by the clock alone."""
        return self._began + self._due * self._pace_s

    @property
    def unsent(self) -> int:
        """Requests of an open loop that were due in its time and were never sent."""
        if not self.is_open:
            return 0
        return max(0, int((self.send_until - self._began) / self._pace_s) - self._due)

    def is_over(self, now: float) -> bool:
        if self.failure or not self.is_open:
            return bool(self.failure) or now >= self.send_until
        return self.due_at >= self.send_until or now >= self.send_until + _LATE_S_MAX

    def next_request(self, now: float) -> tuple[float, bytes] | None:
        """A request and when it begins to wait; None where none is due yet, or none is left."""
        began = now
        if self.is_open:
            began = self.due_at
            if began > now:
                return None
            self._due += 1
        if self._unsent is None:
            request = self._requests[int(self._chance() * len(self._requests))]
        else:
            left = next(self._unsent, None)
            if left is None:
                return None
            request = left
        self.sent += 1
        return began, request

    def take_answer(self, began: float, now: float, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200") and self._expected in answer:
            self.answered += 1
            self.marked += bool(self._marked) and self._marked in answer
        else:
            self.failure = f"unexpected answer {answer[:400]!r}"
        self.answered_in_time += self.measure_from <= now < self.send_until
        if began >= self.measure_from:
            self.latencies.append(now - began)
            self.last_answer = now

    def send_what_is_due(self) -> None:
        """Open loop, often: one request to each idle connection while there is one due and one idle."""
        now = time.perf_counter()
        while self.idle and (self.is_over(now) or self.due_at <= now):
            self.idle.popleft().send_next()


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered, or when it is due."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._began = 0.0
        self._received = b""
        self._transport: asyncio.WriteTransport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def send_next(self) -> None:
        now = time.perf_counter()
        if self._run.is_over(now):
            self._finish()
            return
        due = self._run.next_request(now)
        if due is not None:
            self._began, request = due
            self._transport.write(request)
        elif self._run.is_open:
            self._run.idle.append(self)
        else:
            self._finish()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        size = message_size(received)
        if size is None or len(received) < size:
            return
        self._received = b""
        self._run.take_answer(self._began, time.perf_counter(), received)
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._run.failure = f"the server closed a connection ({exc or 'without an error'})"
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self._transport.close()


def message_size(received: bytes) -> int | None:
    """Bytes of head and body together; None while the head is not whole."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = received.find(b"content-length: ", 0, head)
    if at < 0:
        # As nginx writes it.
        at = received.find(b"Content-Length: ", 0, head)
    if at < 0:
        # A request without a body. Such an answer is none of ours, and is shown as a failure.
        return head + 4
    return head + 4 + int(received[at + 16 : received.find(b"\r\n", at)])


def header_lines(headers: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _requests(load: Load) -> list[bytes]:
    bodies = Path(load.bodies).read_bytes().splitlines()
    if load.method == "GET":
        return [_get(load, msgspec.json.decode(line, type=dict[str, str])) for line in bodies]
    start = _start(load, load.path)
    return [b"%scontent-length: %d\r\n\r\n%s" % (start, len(body), body) for body in bodies]


def _get(load: Load, headers: dict[str, str]) -> bytes:
    start = _start(load, headers.pop(":path", load.path))
    return start + header_lines(headers) + b"\r\n"


def _start(load: Load, path: str) -> bytes:
    head = f"{load.method} {path} HTTP/1.1\r\nhost: {load.host}:{load.port}\r\n"
    return head.encode() + header_lines(load.headers)


async def _send(load: Load) -> Report:
    run = _Run(load, _requests(load))
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(run), load.host, load.port))[1]
        for _ in range(load.connections)
    ]
    began = time.perf_counter()
    run.begin(began, load)
    cpu_began = time.process_time()
    if load.rate is not None:
        # uvloop's own timers are of whole milliseconds.
        loop.add_signal_handler(signal.SIGALRM, run.send_what_is_due)
        tick_s = max(1 / load.rate, _TICK_S_MIN)
        signal.setitimer(signal.ITIMER_REAL, tick_s, tick_s)
    for connection in connections:
        connection.send_next()
    async with asyncio.timeout(load.warmup_s + load.seconds + _ANSWER_S_MAX):
        await asyncio.gather(*(connection.done for connection in connections))
    signal.setitimer(signal.ITIMER_REAL, 0)
    busy = (time.process_time() - cpu_began) / (time.perf_counter() - began)
    return _report(load, run, busy)


def _report(load: Load, run: _Run, busy: float) -> Report:
    latencies = sorted(run.latencies)
    samples = len(latencies)
    failure = run.failure or ("" if samples else "no answer came in the time measured")
    rate = samples / max(run.last_answer - run.measure_from, 1e-9)
    if load.rate is not None:
        # What is answered after the time measured was not reached in it.
        rate = run.answered_in_time / load.seconds
    return Report(
        sent=run.sent,
        answered=run.answered,
        marked=run.marked,
        unsent=run.unsent,
        failure=failure,
        offered=load.rate,
        rate=rate,
        p50_ms=1000 * latencies[samples // 2] if samples else 0.0,
        p99_ms=1000 * latencies[samples * 99 // 100] if samples else 0.0,
        max_ms=1000 * latencies[-1] if samples else 0.0,
        samples=samples,
        busy=busy,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(_send(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
    )
