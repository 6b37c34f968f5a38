"""What a run found, as `bench/peers.json` keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.machine import Machine

RESULTS = Path(__file__).parents[1] / "peers.json"

# As the tables name them.
USHER, CONSTANT, FLOOR = "Usher", "constant answer", "load generator's floor"
BTREE, BRIN = "PostgreSQL service", "PostgreSQL service, BRIN"
SQLITE, DUCKDB, SECURE_LINK = "SQLite alone", "DuckDB", "nginx secure_link"


class Spread(msgspec.Struct, frozen=True):
    """The median of the rounds, and how far apart they were."""

    median: float
    least: float
    most: float


def spread(values: Iterable[float]) -> Spread:
    found = sorted(values)
    return Spread(median(found), found[0], found[-1])


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of a contestant: in a closed loop, or in an open one at `share` of its own maximum, then `offered` a
    second. Latencies are missing where less than 99 % of that was reached in any round. `busy`: how near the load
    generator was to its own limit (1.0)."""

    contestant: str
    connections: int
    rate: Spread
    busy: float
    share: float | None = None
    offered: float | None = None
    p50_ms: Spread | None = None
    p99_ms: Spread | None = None


class CountTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long one kind of count took, over one connection: each question new to who is asked, as far as there are so
    many of its kind."""

    contestant: str
    question: str
    p50_ms: Spread
    p99_ms: Spread


class PeerResults(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `workers_tried`: decisions a second at 64 connections by the service's number of processes."""

    machine: Machine
    versions: dict[str, str]
    attempts: int
    tickets: int
    rounds: int
    seconds: float
    took_s: float
    workers: int
    workers_tried: dict[str, float]
    bytes_an_attempt: dict[str, float]
    decisions: Sequence[Decided]
    counts: Sequence[CountTime]

    def closed(self, contestant: str, connections: int) -> Decided | None:
        """Of the closed loop; None where it was not measured."""
        found = [
            figure
            for figure in self.decisions
            if (figure.contestant, figure.connections, figure.share) == (contestant, connections, None)
        ]
        return found[0] if found else None


def read_results(file: Path = RESULTS) -> PeerResults:
    return msgspec.json.decode(file.read_bytes(), type=PeerResults)
