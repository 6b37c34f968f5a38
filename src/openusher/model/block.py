"""Blocks: numbered runs of attempts that move from ledger to log as one, and the bound they set to a count."""

from __future__ import annotations

from typing import Any

import msgspec

from openusher.model.attempt import Attempt

# One insert must be one part of the log; both bounds keep its text in memory twice without pain.
BLOCK_ROWS_MAX = 100_000
BLOCK_BYTES_MAX = 32 * 1024 * 1024

# The columns of a shipped attempt, in order, and how each is written in a block's canonical rows.
COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "number"),
    ("cdn", "number"),
    ("at_ms", "number"),
    ("key", "text"),
    ("pass", "text"),
    ("app", "text"),
    ("appinst", "text"),
    ("video", "text"),
    ("ip", "address"),
    ("pageurl", "text"),
    ("refurl", "text"),
    ("user_agent", "text"),
    ("server_ip", "address"),
    ("edge", "number"),
    ("cut", "number"),
    ("reason", "text"),
)


def attempt_of(columns: list[Any]) -> Attempt:
    """The attempt whose columns these are: in the order of `COLUMNS`, addresses as hex digits."""
    pairs = zip(COLUMNS, columns, strict=True)
    named: dict[str, Any] = {name: int(value, 16) if kind == "address" else value for (name, kind), value in pairs}
    named["password"] = named.pop("pass")
    return Attempt(**named)


def row_of(attempt: Attempt) -> bytes:
    """The JSON that `attempt_of` reads: how an attempt travels."""
    columns = (getattr(attempt, "password" if name == "pass" else name) for name, _ in COLUMNS)
    pairs = zip(COLUMNS, columns, strict=True)
    return msgspec.json.encode([f"{value:032x}" if kind == "address" else value for (_, kind), value in pairs])


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A numbered run of attempts that moves from ledger to log as one: ids `first_id` to `last_id`, all of one month.

    `digest` is the SHA-256, in hex, of its rows as `canonical rows` (see attemptlog/base.py)."""

    number: int
    incarnation: int
    first_id: int
    last_id: int
    rows: int
    digest: str
    shipped: bool


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """What the log must be asked for beside a pending answer: blocks up to `upto`, but none of `but`; of their attempts
    those at `from_ms` or later, since older ones are forgotten (0: none is). Those from before `anonymised_before_ms`
    are shown anonymised (see anonymity.py), and not meant by an address or net that is finer than what is left.

    `behind` is for whoever has already counted blocks up to it: they need not be looked at."""

    upto: int
    but: tuple[int, ...] = ()
    from_ms: int = 0
    anonymised_before_ms: int = 0
    behind: int = 0
