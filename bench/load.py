"""The load generator: a closed loop over keep-alive connections, in a process of its own.

`python -m bench.load` reads one `Load` as JSON on stdin and writes one `Report` as JSON on stdout. It parses no more
of an answer than it must, so that the server is what is measured; `busy` says how near it was to its own limit.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_ANSWER_S_MAX = 60.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `bodies` is a file with one request body a line; in a random order again and again, or,
    where `once`, each one time until they are used up. With the method GET there are no bodies: a line is then JSON
    with the headers that its request has beside the others. An answer that has not `expected` in it is a failure.
    `rate` is what all connections together send at most, in requests a second."""

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


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `sent` and `answered` count everything, warm-up included; the rest is of the time measured.

    Latencies are from the first byte sent to the last byte received.
    """

    sent: int
    answered: int
    failure: str
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    samples: int
    busy: float


def run_load(load: Load) -> Report:
    """Send `load` from a process of its own. Raises LoadFailed when an answer was not as expected."""
    # A session of its own: Ctrl-C reaches the bench only, which then ends this one by its process id.
    sender = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        out, _ = sender.communicate(msgspec.json.encode(load), timeout=load.warmup_s + load.seconds + 120)
    finally:
        if sender.poll() is None:
            sender.kill()
            sender.wait()
    if sender.returncode:
        raise LoadFailed(f"the load generator ended with status {sender.returncode}")
    report = msgspec.json.decode(out, type=Report)
    if report.failure:
        raise LoadFailed(f"{load.path}: {report.failure}")
    return report


class LoadFailed(Exception):
    """An answer was not what was expected; the text says which."""


class _Run:
    """What the connections of one load share."""

    def __init__(self, load: Load, requests: list[bytes]) -> None:
        self._requests = requests
        self._unsent = iter(requests) if load.once else None
        self._chance = random.Random(load.connections).random
        self.expected = load.expected.encode()
        self.pause_s = load.connections / load.rate if load.rate else 0.0
        self.measure_from = self.send_until = 0.0
        self.sent = self.answered = 0
        self.failure = ""
        self.latencies: list[float] = []
        self.last_answer = 0.0

    def next_request(self, now: float) -> bytes | None:
        if self.failure or now >= self.send_until:
            return None
        request = self._requests[int(self._chance() * len(self._requests))] if self._unsent is None else None
        if self._unsent is not None:
            request = next(self._unsent, None)
        self.sent += request is not None
        return request

    def take_answer(self, began: float, now: float, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200") and self.expected in answer:
            self.answered += 1
        else:
            self.failure = f"unexpected answer {answer[:400]!r}"
        if began >= self.measure_from:
            self.latencies.append(now - began)
            self.last_answer = now


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered."""

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
        request = self._run.next_request(now)
        if request is None:
            self._finish()
            return
        self._began = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        size = _answer_size(received)
        if size is None or len(received) < size:
            return
        self._received = b""
        now = time.perf_counter()
        self._run.take_answer(self._began, now, received)
        wait_s = self._began + self._run.pause_s - now
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self.send_next)
        else:
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._run.failure = f"the server closed a connection ({exc or 'without an error'})"
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self._transport.close()


def _answer_size(received: bytes) -> int | None:
    """Bytes of head and body together; None while the head is not whole."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = received.find(b"content-length: ", 0, head)
    if at < 0:
        # Such an answer is none of ours, and is shown as a failure.
        return 0
    return head + 4 + int(received[at + 16 : received.find(b"\r\n", at)])


def _header_lines(headers: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _requests(load: Load) -> list[bytes]:
    head = f"{load.method} {load.path} HTTP/1.1\r\nhost: {load.host}:{load.port}\r\n"
    start = head.encode() + _header_lines(load.headers)
    bodies = Path(load.bodies).read_bytes().splitlines()
    if load.method == "GET":
        return [start + _header_lines(msgspec.json.decode(line, type=dict[str, str])) + b"\r\n" for line in bodies]
    return [b"%scontent-length: %d\r\n\r\n%s" % (start, len(body), body) for body in bodies]


async def _send(load: Load) -> Report:
    run = _Run(load, _requests(load))
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(run), load.host, load.port))[1]
        for _ in range(load.connections)
    ]
    began = time.perf_counter()
    run.measure_from = began + load.warmup_s
    run.send_until = run.measure_from + load.seconds
    cpu_began = time.process_time()
    for connection in connections:
        connection.send_next()
    async with asyncio.timeout(load.warmup_s + load.seconds + _ANSWER_S_MAX):
        await asyncio.gather(*(connection.done for connection in connections))
    busy = (time.process_time() - cpu_began) / (time.perf_counter() - began)
    return _report(run, busy)


def _report(run: _Run, busy: float) -> Report:
    latencies = sorted(run.latencies)
    samples = len(latencies)
    failure = run.failure or ("" if samples else "no answer came in the time measured")
    window_s = max(run.last_answer - run.measure_from, 1e-9)
    return Report(
        sent=run.sent,
        answered=run.answered,
        failure=failure,
        rate=samples / window_s,
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
