"""Which recorded attempts a search means, and their groups: naive code over dicts and lists, after the SEVU rulings.

A row is a dict of `id cdn at_ms key pass app appinst video ip pageurl refurl user_agent server_ip edge cut reason`,
addresses as text. A search is a dict of any of `key pass user app video ip success reason server_ip from_ms before_ms
after_id before_id`; what is not there is any.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from tests.oracles import addresses, matching

Row = dict[str, Any]
Search = dict[str, Any]


def user(password: str) -> str:
    """What stands before the first pipe of a pass."""
    return password[: password.index("|")] if "|" in password else password


def matches(row: Row, search: Search) -> bool:
    """Whether every member of `search` holds for `row`."""
    return all(_holds(row, member, wanted) for member, wanted in search.items())


def _holds(row: Row, member: str, wanted: Any) -> bool:
    if member in ("app", "video"):
        is_pattern = "*" in wanted or "|" in wanted
        return matching.matches(wanted, row[member]) if is_pattern else bool(row[member] == wanted)
    if member in ("ip", "server_ip"):
        return addresses.holds(wanted, row[member])
    if member == "user":
        return user(row["pass"]) == wanted
    if member == "success":
        return (row["reason"] == "") == bool(wanted)
    if member == "from_ms":
        return bool(row["at_ms"] >= wanted)
    if member == "before_ms":
        return bool(row["at_ms"] < wanted)
    if member == "after_id":
        return bool(row["id"] > wanted)
    if member == "before_id":
        return bool(row["id"] < wanted)
    return bool(row[member] == wanted)


def found(rows: list[Row], cdn: int, search: Search) -> list[Row]:
    """All that match, newest first."""
    return sorted(
        (row for row in rows if row["cdn"] == cdn and matches(row, search)), key=lambda row: row["id"], reverse=True
    )


def groups(rows: list[Row], cdn: int, search: Search, by: str) -> list[tuple[Any, int]]:
    """Value and count of each group: largest first, ties by value."""
    counts = Counter(_group(row, by) for row in found(rows, cdn, search))
    return sorted(counts.items(), key=lambda group: (-group[1], group[0]))


def _group(row: Row, by: str) -> Any:
    if by == "user":
        return user(row["pass"])
    if by == "success":
        return 1 if row["reason"] == "" else 0
    if by in ("ip", "server_ip"):
        return number(row[by])
    if by in ("hour", "day"):
        at = datetime.fromtimestamp(row["at_ms"] // 1000, UTC).replace(minute=0, second=0)
        return int((at if by == "hour" else at.replace(hour=0)).timestamp())
    return row[by]


def number(address: str) -> int:
    """An address as 128 bits; IPv4 as ::ffff:a.b.c.d."""
    read = addresses.address(address)
    return int(read) + (0xFFFF << 32 if read.version == 4 else 0)
