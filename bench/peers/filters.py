"""A count's filter as SQL of any of the three stores: Usher's parameters, read by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple, TypedDict

from bench.peers.admission import read_address

Parameters = dict[str, str | int]
Address = IPv4Address | IPv6Address

GROUPS_MAX = 100
_HOUR_MS = 3_600_000
_EXACT = {"key": "key", "pass": "pass", "user": "user_name", "reason": "reason"}
_ADDRESSES = ("ip", "server_ip")
_GROUPS = {"key": "key", "reason": "reason", "hour": f"at_ms - at_ms % {_HOUR_MS}"}


class Group(TypedDict):
    """One group of a count."""

    value: str
    count: int


class Counted(TypedDict):
    """What a count is answered: how many, or the largest groups."""

    count: int
    groups: list[Group]


class Query(NamedTuple):
    """A statement and what is bound to its parameters."""

    sql: str
    values: list[object]


def packed_address(address: Address) -> bytes:
    """As 16 bytes, which sort as the addresses do: for stores that know no addresses."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


class Dialect(NamedTuple):
    """How a store writes its n-th parameter, from 1, and keeps an address and a truth."""

    parameter: Callable[[int], str]
    address: Callable[[Address], object]
    truth: Callable[[bool], object]


def count_query(parameters: Parameters, dialect: Dialect) -> Query:
    """How many attempts match, or how many of the largest groups."""
    where = _Where(dialect)
    for name, value in parameters.items():
        where.add(name, value)
    group_by = parameters.get("group_by")
    clauses = f" WHERE {' AND '.join(where.clauses)}" if where.clauses else ""
    if group_by is None:
        return Query(f"SELECT count(*) FROM attempts{clauses}", where.values)
    grouped = f"SELECT {_GROUPS[str(group_by)]}, count(*) FROM attempts{clauses}"
    return Query(f"{grouped} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {GROUPS_MAX}", where.values)


def counted(parameters: Parameters, rows: Sequence[Sequence[object]]) -> Counted:
    """What the rows of `count_query` say."""
    if "group_by" not in parameters:
        return {"count": _whole(rows[0][0]), "groups": []}
    is_hour = parameters["group_by"] == "hour"
    groups: list[Group] = [
        {"value": _hour(_whole(value)) if is_hour else str(value), "count": _whole(count)} for value, count in rows
    ]
    return {"count": sum(group["count"] for group in groups), "groups": groups}


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


def _hour(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


class _Where:
    """Clauses that must all hold, and what is bound in them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.clauses: list[str] = []
        self.values: list[object] = []

    def add(self, name: str, value: str | int) -> None:
        if name in _EXACT:
            self._compare(_EXACT[name], "=", value)
        elif name in ("app", "video"):
            self._names(name, str(value))
        elif name in _ADDRESSES:
            self._addresses(name, str(value))
        elif name == "success":
            self._compare("success", "=", self._dialect.truth(bool(value)))
        elif name == "starttime":
            self._compare("at_ms", ">=", 1000 * int(value))
        elif name == "endtime":
            self._compare("at_ms", "<", 1000 * int(value))

    def _bound(self, value: object) -> str:
        self.values.append(value)
        return self._dialect.parameter(len(self.values))

    def _compare(self, column: str, operator: str, value: object) -> None:
        self.clauses.append(f"{column} {operator} {self._bound(value)}")

    def _names(self, column: str, patterns: str) -> None:
        """One alternative or more. A name with one star, at its end, is a range, which every index can answer."""
        alternatives = []
        for pattern in patterns.split("|"):
            first, star, rest = pattern.partition("*")
            if not star:
                alternatives.append(f"{column} = {self._bound(pattern)}")
            elif first and not rest:
                after = first[:-1] + chr(ord(first[-1]) + 1)
                alternatives.append(f"({column} >= {self._bound(first)} AND {column} < {self._bound(after)})")
            else:
                escaped = pattern.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_").replace("*", "%")
                alternatives.append(f"{column} LIKE {self._bound(escaped)} ESCAPE '\\'")
        self.clauses.append(f"({' OR '.join(alternatives)})")

    def _addresses(self, column: str, text: str) -> None:
        if "/" not in text:
            self._compare(column, "=", self._dialect.address(read_address(text)))
            return
        net = ip_network(text, strict=False)
        self._compare(column, ">=", self._dialect.address(net[0]))
        self._compare(column, "<=", self._dialect.address(net[-1]))
