"""The rows that every peer is filled with: the bench's tickets, and the attempts as Usher itself exports them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import traffic
from bench.peers.admission import read_address
from bench.peers.filters import packed_address
from bench.process import ServerFailed
from openusher.model.ticket import NewTicket

TICKET_COLUMNS = ["key", "pass", "app", "video", "ip", "uses_limit", "uses_taken", "active", "expires_s"]
ATTEMPT_COLUMNS = [
    "id", "at_ms", "key", "pass", "user_name", "app", "appinst", "video", "ip", "pageurl", "refurl", "user_agent",
    "server_ip", "success", "reason",
]  # fmt: skip


class Rows(NamedTuple):
    """Tickets as they stood before the attempts took their uses, and attempts; columns as above."""

    tickets: pa.Table
    attempts: pa.Table


def export_attempts(data: Path, *, cdn: int, file: Path) -> None:
    """Write all attempts of an account to a Parquet file, with the command that an operator would use."""
    flags = ["--show-pass", "--output", str(file), "--data", str(data)]
    done = subprocess.run(
        [sys.executable, "-m", "openusher", "attempts", "export", str(cdn), *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode:
        raise ServerFailed(f"usher attempts export: {done.stderr}")


def read_rows(exported: Path, tickets: pa.Table) -> Rows:
    """What a peer is filled with, from what Usher exported of its own node with these tickets."""
    attempts = pq.read_table(exported)
    at_ms = pc.cast(attempts["datetime"], pa.int64())
    attempts = attempts.rename_columns({"user": "user_name"}).append_column("at_ms", at_ms)
    said = pc.if_else(pc.equal(attempts["server_ip"], ""), None, attempts["server_ip"])
    attempts = attempts.set_column(attempts.schema.get_field_index("server_ip"), "server_ip", said)
    return Rows(tickets, attempts.select(ATTEMPT_COLUMNS))


def packed(attempts: pa.Table) -> pa.Table:
    """With addresses of 16 bytes, for stores that know none."""
    for name in ("ip", "server_ip"):
        values = pa.array([text and _packed(text) for text in attempts[name].to_pylist()], pa.binary())
        attempts = attempts.set_column(attempts.schema.get_field_index(name), name, values)
    return attempts


@lru_cache(maxsize=200_000)
def _packed(text: str) -> bytes:
    return packed_address(read_address(text))


def no_attempts() -> pa.Table:
    """The table of attempts with nothing in it."""
    types = {"id": pa.int64(), "at_ms": pa.int64(), "success": pa.bool_()}
    return pa.schema([(name, types.get(name, pa.string())) for name in ATTEMPT_COLUMNS]).empty_table()


def bench_tickets(number: int) -> pa.Table:
    """Those that bench/fill.py issues and revokes."""
    revoked = frozenset(traffic.key(n) for n in range(number) if traffic.is_revoked(n))
    return ticket_table([traffic.ticket(n, cdn=1) for n in range(number)], revoked=revoked)


def ticket_table(issued: Sequence[NewTicket], *, revoked: Set[str]) -> pa.Table:
    """Rows of `tickets`, no use of them taken."""
    return pa.table(
        {
            "key": [ticket.key for ticket in issued],
            "pass": [ticket.password for ticket in issued],
            "app": [ticket.app for ticket in issued],
            "video": [ticket.video for ticket in issued],
            "ip": [ticket.ip for ticket in issued],
            "uses_limit": [ticket.uses_limit for ticket in issued],
            "uses_taken": [0] * len(issued),
            "active": [ticket.key not in revoked for ticket in issued],
            "expires_s": [ticket.expires_s for ticket in issued],
        }
    )
