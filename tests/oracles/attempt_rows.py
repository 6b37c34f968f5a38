"""Attempts as plain dicts: how they travel in a block, the block's digest, which a filter means, how they group."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from tests.oracles import addresses, matching

Row = dict[str, Any]
Filter = dict[str, Any]

NUMBERS = ("id", "cdn", "at_ms", "edge", "cut")
ADDRESSES = ("ip", "server_ip")
# As attemptlog/base.py has it.
ORDER = ("id", "cdn", "at_ms", "key", "pass", "app", "appinst", "video", "ip", "pageurl", "refurl", "user_agent",
         "server_ip", "edge", "cut", "reason")  # fmt: skip


def digits(text: str) -> str:
    """An address as 32 hex digits, IPv4 as mapped."""
    read = addresses.address(text)
    return f"{'0' * 20}ffff{int(read):08x}" if read.version == 4 else f"{int(read):032x}"


def block_bytes(rows: Iterable[Row]) -> bytes:
    """JSON arrays, one a line, without a line feed at the end."""
    lines = ([digits(row[name]) if name in ADDRESSES else row[name] for name in ORDER] for row in rows)
    return "\n".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines).encode()


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 over the canonical rows in order of id."""
    text = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row["id"]):
        for name in ORDER:
            if name in NUMBERS:
                text.update(b"%d," % row[name])
            elif name in ADDRESSES:
                text.update(digits(row[name]).encode() + b",")
            else:
                raw = row[name].encode()
                text.update(b"%d:%b," % (len(raw), raw))
    return text.hexdigest()


def user(row: Row) -> str:
    return str(row["pass"]).split("|")[0]


def _is_named(name: str, wanted: str) -> bool:
    return matching.matches(wanted, name) if "*" in wanted or "|" in wanted else name == wanted


_HOLDS: dict[str, Callable[[Row, Any], bool]] = {
    "key": lambda row, wanted: row["key"] == wanted,
    "password": lambda row, wanted: row["pass"] == wanted,
    "user": lambda row, wanted: user(row) == wanted,
    "app": lambda row, wanted: _is_named(row["app"], wanted),
    "video": lambda row, wanted: _is_named(row["video"], wanted),
    "ip": lambda row, wanted: addresses.holds(wanted, row["ip"]),
    # No net, however wide, means an attempt whose server was not said.
    "server_ip": lambda row, wanted: (
        int(digits(row["server_ip"]), 16) != 0 and addresses.holds(wanted, row["server_ip"])
    ),
    "accepted": lambda row, wanted: (row["reason"] == "") is wanted,
    "reason": lambda row, wanted: row["reason"] == wanted,
    "from_ms": lambda row, wanted: row["at_ms"] >= wanted,
    "before_ms": lambda row, wanted: row["at_ms"] < wanted,
    "after_id": lambda row, wanted: row["id"] > wanted,
    "before_id": lambda row, wanted: row["id"] < wanted,
}


def is_meant(row: Row, search: Filter) -> bool:
    """Whether every member of `search` holds; `app`, `video`, `ip` and `server_ip` as a client writes them."""
    return all(_HOLDS[name](row, wanted) for name, wanted in search.items())


def anonymised(row: Row) -> Row:
    net = addresses.viewer_net(row["ip"])
    return {**row, "ip": str(net.network_address), "pageurl": "", "refurl": "", "user_agent": ""}


def is_meant_anonymised(row: Row, search: Filter) -> bool:
    """As `is_meant`, of an attempt of which the viewer's net is known only: all of it must be meant."""
    others = {name: wanted for name, wanted in search.items() if name != "ip"}
    return is_meant(row, others) and ("ip" not in search or addresses.holds_all_of(search["ip"], row["ip"]))


def _hour(row: Row) -> datetime:
    return datetime.fromtimestamp(row["at_ms"] // 1000, tz=UTC).replace(minute=0, second=0)


_GROUP: dict[str, Callable[[Row], str | int]] = {
    "key": lambda row: str(row["key"]),
    "user": user,
    "app": lambda row: str(row["app"]),
    "video": lambda row: str(row["video"]),
    "ip": lambda row: int(digits(row["ip"]), 16),
    "server_ip": lambda row: int(digits(row["server_ip"]), 16),
    "reason": lambda row: str(row["reason"]),
    "success": lambda row: 1 if row["reason"] == "" else 0,
    "hour": lambda row: int(_hour(row).timestamp()),
    "day": lambda row: int(_hour(row).replace(hour=0).timestamp()),
}


def totals(rows: Iterable[Row]) -> dict[tuple[str, str, str], int]:
    """How many there are of each app, video and reason."""
    return dict(Counter((row["app"], row["video"], row["reason"]) for row in rows))


def groups(rows: Iterable[Row], by: str) -> list[tuple[str | int, int]]:
    """Value and count, largest first; ties by number, or by the bytes of the text."""
    counts = Counter(_GROUP[by](row) for row in rows)

    def place(group: tuple[str | int, int]) -> tuple[int, bytes | int]:
        value, count = group
        return -count, value if isinstance(value, int) else value.encode()

    return sorted(counts.items(), key=place)
