"""What three publishers need, worked out from what the benches measured: the last table of docs/performance.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.followup import RESULTS as FOLLOW_UPS
from bench.large import RESULTS as LARGE
from bench.report import RESULTS, Figure, read_results

# Half of what a node was seen to take: a bad minute, a checkpoint and a merge have room in the other half.
_USED = 0.5
# `recheck_s=10` at the edge: each viewer is asked about so often.
_RECHECK_S = 10
# All viewers of the largest event come within so long.
_KICK_OFF_S = 600
_COLUMNS = (
    "", "viewers at once", "starts a second", "questions a second", "attempts a day", "disk a day", "memory", "nodes",
)  # fmt: skip
_PARTS = ("door", "ledger process", "log process")
_MEMORY_MB = "door resident with its sessions"


class Publisher(msgspec.Struct, frozen=True):
    """`viewers` at once at most, `attempts` a day."""

    name: str
    viewers: int
    attempts: int


PUBLISHERS = (
    Publisher("a small site", 500, 5_000),
    Publisher("a national broadcaster", 100_000, 1_000_000),
    Publisher("internet scale", 5_000_000, 100_000_000),
)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was seen to do: decisions and follow-ups a second, bytes on disk an attempt, bytes of memory a
    session, and megabytes of memory without any."""

    decisions_s: float
    follow_ups_s: float
    attempt_bytes: float
    session_bytes: float
    memory_mb: float


def measured(results: Path = RESULTS, follow_ups: Path = FOLLOW_UPS, large: Path = LARGE) -> Measured:
    """By the last `make bench`, `make bench-followup` and `make bench-large`: what an attempt takes on the disk shows
    where there are many, in a ledger's file that was not filled with all of them first."""
    node, sessions, many = map(read_results, (results, follow_ups, large))
    chdb = [figure for figure in node.figures if figure.log == "chdb"]
    memory_mb = sum(_value(chdb, f"{part} resident, after the load") for part in _PARTS)
    door_mb = _value(chdb, "door resident, after the load")
    return Measured(
        decisions_s=_rate(chdb, "authorize", connections=64),
        follow_ups_s=_rate(sessions.figures, "follow-ups", connections=64),
        attempt_bytes=_value(many.figures, "on disk, bytes an attempt"),
        session_bytes=1e6 * max(0.0, _value(sessions.figures, _MEMORY_MB) - door_mb) / sessions.tickets,
        memory_mb=memory_mb,
    )


def sizing_table(found: Measured) -> str:
    """A row a publisher."""
    head = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    return "\n".join([*head, *(_row(publisher, found) for publisher in PUBLISHERS)])


def _row(publisher: Publisher, found: Measured) -> str:
    starts_s, follow_ups_s = publisher.viewers / _KICK_OFF_S, publisher.viewers / _RECHECK_S
    # Both are done by the same processor.
    nodes = math.ceil((starts_s / found.decisions_s + follow_ups_s / found.follow_ups_s) / _USED)
    memory_mb = found.memory_mb * nodes + found.session_bytes * publisher.viewers / 1e6
    cells = (
        publisher.name,
        f"{publisher.viewers:,}",
        f"{_rounded(starts_s):,}",
        f"{_rounded(follow_ups_s):,}",
        f"{publisher.attempts:,}",
        _size(publisher.attempts * found.attempt_bytes / 1e6),
        _size(memory_mb) if nodes == 1 else f"{_size(memory_mb / nodes)} each",
        f"{nodes}",
    )
    return f"| {' | '.join(cells)} |"


def _size(megabytes: float) -> str:
    return f"{_rounded(megabytes / 1e3)} GB" if megabytes >= 1e3 else f"{max(1, _rounded(megabytes))} MB"


def _rounded(number: float) -> float:
    """Two figures: no more of it holds on another machine."""
    if number < 10:
        return math.ceil(number * 10) / 10 if number < 1 else round(number, 1)
    return int(round(number, 2 - len(str(int(number)))))


def _rate(figures: Sequence[Figure], name: str, *, connections: int) -> float:
    (rate,) = (each.rate for each in figures if (each.name, each.connections) == (name, connections))
    assert rate is not None
    return rate


def _value(figures: Sequence[Figure], name: str) -> float:
    (value,) = (each.value for each in figures if each.name == name)
    assert value is not None
    return value
