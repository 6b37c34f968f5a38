"""The same questions again and again while attempts arrive, each answer held against what was acknowledged.

An answer must count every attempt that was acknowledged before its question was sent, and none that was not yet sent
when the answer came. What a node was filled with follows from numbers (traffic.py), and is counted here once more.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from bench import traffic
from bench.counting import HEADERS, PATH, Parameters, WrongCount, form_line
from bench.load import header_lines, message_size
from bench.process import Account, Server

QUESTIONS = 1_000
RATE = 1_000.0
# What is asked by what, of twenty.
_FIELDS = ("key",) * 10 + ("pass",) * 4 + ("user",) * 3 + ("ip",) * 2 + ("video",)
_ASKED_BY = frozenset(_FIELDS)
_SENDERS = 64
_TICK_S = 0.002
_ANSWER_S_MAX = 60.0
_VIDEOS = [f"live/cam{n}" for n in range(traffic.CAMERAS)]


class Recounted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, once each question had been asked. `busy` is how near the asker was to its own limit."""

    rate: float
    p50_ms: float
    p99_ms: float
    answers: int
    attempts_rate: float
    busy: float


class Tally:
    """What each question must be answered: how many attempts match, of all that were sent and of those acknowledged."""

    def __init__(self, *, tickets: int, attempts: int, questions: int = QUESTIONS) -> None:
        """Of a node that has `attempts` of so many tickets; none of them matches until `hold` says how many do."""
        self._tickets = tickets
        self._chance = random.Random(questions)
        self.questions = [self._question(number) for number in range(questions)]
        self._numbers: dict[tuple[str, str], list[int]] = {}
        for number, parameters in enumerate(self.questions):
            for field, value in parameters.items():
                self._numbers.setdefault((field, str(value)), []).append(number)
        self.attempts = attempts
        self.hold([0] * questions)

    @classmethod
    def of_fill(cls, *, tickets: int, attempts: int, questions: int = QUESTIONS) -> Tally:
        """Of a node that was filled with them by fill.py."""
        tally = cls(tickets=tickets, attempts=attempts, questions=questions)
        filled, counts = random.Random(attempts), [0] * questions
        for _ in range(attempts):
            for number in tally._meant(traffic.question(filled, tickets=tickets)):
                counts[number] += 1
        tally.hold(counts)
        return tally

    def hold(self, counts: list[int]) -> None:
        """Take these for what the questions must be answered before anything is sent."""
        self.acknowledged, self.sent = counts, counts.copy()

    def _question(self, number: int) -> Parameters:
        field, n = _FIELDS[number % len(_FIELDS)], self._chance.randrange(self._tickets)
        values = {
            "key": traffic.key(n),
            "pass": traffic.password(n),
            "user": traffic.user(n),
            "ip": traffic.address(n),
            "video": self._chance.choice(_VIDEOS),
        }
        return {field: values[field]}

    def _meant(self, asked: traffic.Question) -> list[int]:
        """The questions that mean an attempt."""
        values = {**asked, "user": asked["pass"].partition("|")[0]}
        return [number for field in _ASKED_BY for number in self._numbers.get((field, values[field]), ())]

    def send(self) -> tuple[bytes, list[int]]:
        """The body of another attempt, and the questions that mean it, to be given back once it is acknowledged."""
        asked = traffic.question(self._chance, tickets=self._tickets)
        numbers = self._meant(asked)
        for number in numbers:
            self.sent[number] += 1
        return msgspec.json.encode(asked), numbers

    def acknowledge(self, numbers: Sequence[int]) -> None:
        self.attempts += 1
        for number in numbers:
            self.acknowledged[number] += 1


class _Reply(msgspec.Struct, frozen=True):
    """Of a failure `error_count` is missing: it is none that could be read."""

    error_count: int


class _Question(NamedTuple):
    """One that is under way: its number, when it was sent, and what was acknowledged then."""

    number: int
    began: float
    least: int


_reply = msgspec.json.Decoder(_Reply)


class _Run:
    """What the connections of one load share."""

    def __init__(self, server: Server, account: Account, tally: Tally, *, questions: int, seconds: float) -> None:
        self.tally = tally
        self._seconds = seconds
        host = {"host": f"{server.host}:{server.port}"}
        token = {"authorization": f"Bearer {account.edge_token.reveal()}", "content-type": "application/json"}
        self._attempt_head = b"POST /v1/authorize HTTP/1.1\r\n" + header_lines(host | token)
        ask_head = f"POST {PATH} HTTP/1.1\r\n".encode() + header_lines(host | HEADERS)
        asked = tally.questions[:questions]
        bodies = (form_line("sevu.errorcount", parameters, account).encode() for parameters in asked)
        self.requests = [_request(ask_head, body) for body in bodies]
        self._first = iter(range(len(self.requests)))
        self._chance = random.Random(len(self.requests))
        self.measure_from = self.until = float("inf")
        self.latencies: list[float] = []
        self.idle: deque[_Sender] = deque()
        self.failure: Exception | None = None

    def is_over(self, now: float) -> bool:
        return self.failure is not None or now >= self.until

    def next_number(self, now: float) -> int:
        """Each question once, which is not measured; then any of them."""
        number = next(self._first, None)
        if number is not None:
            return number
        if self.measure_from > now:
            self.measure_from, self.until = now, now + self._seconds
        return self._chance.randrange(len(self.requests))

    def check(self, question: _Question, answer: bytes) -> None:
        number, began, least = question
        counted, most = _reply.decode(answer).error_count, self.tally.sent[number]
        if not least <= counted <= most:
            asked = ", ".join(self.tally.questions[number])
            raise WrongCount(f"by {asked}: {least} acknowledged before, {most} sent until then, {counted} counted")
        if began >= self.measure_from:
            self.latencies.append(time.perf_counter() - began)

    def attempt(self) -> tuple[bytes, list[int]]:
        body, numbers = self.tally.send()
        return _request(self._attempt_head, body), numbers


def _request(head: bytes, body: bytes) -> bytes:
    return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)


class _Connection(asyncio.Protocol):
    """Takes whole answers; what it then does is its kind's."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self._received = b""
        self.transport: asyncio.WriteTransport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        size = message_size(self._received)
        if size is not None and len(self._received) >= size:
            received, self._received = self._received, b""
            self._take_whole(received)

    def _take_whole(self, received: bytes) -> None:
        try:
            if not received.startswith(b"HTTP/1.1 200"):
                raise WrongCount(f"unexpected answer {received[:400]!r}")
            self.take(received[received.find(b"\r\n\r\n") + 4 :])
        except (WrongCount, msgspec.MsgspecError) as error:
            self.run.failure = error
            self.finish()

    @abstractmethod
    def take(self, answer: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.run.failure = self.run.failure or WrongCount(f"the server closed a connection ({exc or 'no error'})")
            self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


class _Asker(_Connection):
    """Asks the next question when the last one is answered."""

    _question: _Question

    def ask(self) -> None:
        now = time.perf_counter()
        if self.run.is_over(now):
            self.finish()
            return
        number = self.run.next_number(now)
        self._question = _Question(number, now, self.run.tally.acknowledged[number])
        self.transport.write(self.run.requests[number])

    def take(self, answer: bytes) -> None:
        self.run.check(self._question, answer)
        self.ask()


class _Sender(_Connection):
    """Sends an attempt when told to."""

    _numbers: list[int]

    def __init__(self, run: _Run) -> None:
        super().__init__(run)
        self.is_idle = asyncio.Event()
        self.is_idle.set()

    def send(self) -> None:
        self.is_idle.clear()
        request, self._numbers = self.run.attempt()
        self.transport.write(request)

    def take(self, answer: bytes) -> None:
        self.run.tally.acknowledge(self._numbers)
        self.is_idle.set()
        self.run.idle.append(self)


async def recount(
    server: Server,
    account: Account,
    tally: Tally,
    *,
    connections: int,
    questions: int = QUESTIONS,
    seconds: float,
    rate: float = RATE,
) -> Recounted:
    """Ask the first `questions` of `tally` in no order while attempts arrive at `rate` a second. Raises WrongCount."""
    run = _Run(server, account, tally, questions=questions, seconds=seconds)
    loop = asyncio.get_running_loop()
    where = server.host, server.port
    askers = [(await loop.create_connection(lambda: _Asker(run), *where))[1] for _ in range(connections)]
    senders = [(await loop.create_connection(lambda: _Sender(run), *where))[1] for _ in range(_SENDERS)]
    run.idle.extend(senders)
    began, cpu_began, attempts_began = time.perf_counter(), time.process_time(), tally.attempts
    for asker in askers:
        asker.ask()
    due = 0
    while not run.is_over(now := time.perf_counter()):
        while run.idle and due < (now - began) * rate:
            run.idle.popleft().send()
            due += 1
        await asyncio.sleep(_TICK_S)
    busy = (time.process_time() - cpu_began) / (time.perf_counter() - began)
    async with asyncio.timeout(_ANSWER_S_MAX):
        await asyncio.gather(*(asker.done for asker in askers))
        if run.failure is None:
            await asyncio.gather(*(sender.is_idle.wait() for sender in senders))
    for sender in senders:
        sender.finish()
    if run.failure is not None:
        raise run.failure
    latencies = sorted(run.latencies)
    return Recounted(
        rate=len(latencies) / seconds,
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[len(latencies) * 99 // 100],
        answers=len(latencies),
        attempts_rate=(tally.attempts - attempts_began) / (run.until - began),
        busy=busy,
    )
