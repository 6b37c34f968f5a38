"""`/v1/authorize` beside a constant answer: the same questions, of random tickets, the same stack."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from bench import traffic
from bench.constant import ANSWER
from bench.load import Load, Report, run_load
from bench.process import Account, Server

CONNECTIONS = (1, 64, 256)
_QUESTIONS = 100_000


def write_questions(folder: Path, *, tickets: int) -> Path:
    """The bodies to send, one a line."""
    chance = random.Random(tickets)
    bodies = folder / "questions.txt"
    with bodies.open("wb") as lines:
        for _ in range(min(_QUESTIONS, 2 * tickets)):
            lines.write(msgspec.json.encode(traffic.question(chance, tickets=tickets)) + b"\n")
    return bodies


def measure_authorize(
    server: Server, account: Account, bodies: Path, *, connections: int, seconds: float, rate: float | None = None
) -> Report:
    """As fast as it goes, or in an open loop at `rate` questions a second."""
    return run_load(authorize_load(server, account, bodies, connections=connections, seconds=seconds, rate=rate))


def authorize_load(
    server: Server, account: Account, bodies: Path, *, connections: int, seconds: float, rate: float | None = None
) -> Load:
    """What `measure_authorize` sends."""
    token = account.edge_token.reveal()
    return _load(server, token, bodies, '"attempt_id":', connections=connections, seconds=seconds, rate=rate)


def measure_constant(server: Server, bodies: Path, *, connections: int, seconds: float) -> Report:
    """The same request to the server that answers the same whatever is asked."""
    # As long as a real token, so that the requests are of one size.
    return run_load(_load(server, "x" * 43, bodies, ANSWER.decode(), connections=connections, seconds=seconds))


def _load(
    server: Server,
    token: str,
    bodies: Path,
    expected: str,
    *,
    connections: int,
    seconds: float,
    rate: float | None = None,
) -> Load:
    return Load(
        host=server.host,
        port=server.port,
        path="/v1/authorize",
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        bodies=str(bodies),
        expected=expected,
        connections=connections,
        warmup_s=max(0.5, seconds / 4),
        seconds=seconds,
        rate=rate,
    )
