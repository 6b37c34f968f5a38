"""Counting, grouping and listing the pending attempts: filters as SQL, each answer with its horizon.

Every function here runs on a reader's thread and reads in one transaction, so that the horizon and the rows agree.
Each result comes as one JSON row: the engine then works without giving the GIL up and taking it back row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import apsw
import msgspec

from openusher.ledger.base import PendingAttempts, PendingCount, PendingGroups, PendingRows, PendingTotals
from openusher.ledger.sqlite.retention import IS_ANONYMISED, SHOWN_IP, SHOWN_ROW
from openusher.model.address import NOT_SAID, Net
from openusher.model.anonymity import is_finer
from openusher.model.attempt import user_of
from openusher.model.block import Horizon, attempt_of
from openusher.model.pattern import Pattern
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total, in_order

# GLOB compares a piece anew at each place of a name, so a long one could take milliseconds of a name made for it.
_GLOB_PIECE_MAX = 64

# How many groups the door holds while it counts them: names are a kilobyte at the most, so a few megabytes.
_GROUPS_HELD_MAX = 8_192
# How many attempts are counted at a time: half a millisecond in which the event loop may have to wait.
_RUN_COUNTED = 4_096

# The largest groups, how many there are in all, and how many attempts these have.
_Found = tuple[list[Group], int, int]

_MAPPED_LOW, _MAPPED_HIGH = 0xFFFF << 32, (0xFFFF << 32) | 0xFFFFFFFF

_HORIZON = """
SELECT max(shipped_attempt, forgotten_attempt), last_attempt,
  max(forgotten_attempt, (SELECT coalesce(min(id) - 1, last_attempt) FROM attempts)),
  kept_from_ms, anonymised_before_ms,
  (SELECT coalesce(max(number), 0) FROM blocks WHERE shipped),
  (SELECT json_group_array(number) FROM blocks WHERE NOT shipped) FROM node
"""
# Every run of attempts that may be meant, for the indexes that begin with the run (see indexes.py).
_RUNS = """
id >> 12 IN (
  WITH RECURSIVE runs (run, last) AS (
    SELECT max(shipped_attempt, forgotten_attempt, ?) >> 12, last_attempt >> 12 FROM node
    UNION ALL SELECT run + 1, last FROM runs WHERE run < last)
  SELECT run FROM runs)
"""
_GROUP_EXPRESSIONS = {
    GroupBy.KEY: "key",
    GroupBy.USER: "user",
    GroupBy.APP: "app",
    GroupBy.VIDEO: "video",
    GroupBy.IP: SHOWN_IP,
    GroupBy.REASON: "reason",
    GroupBy.SUCCESS: "reason = ''",
    GroupBy.SERVER_IP: "hex(server_ip)",
    GroupBy.HOUR: "at_ms / 3600000 * 3600",
    GroupBy.DAY: "at_ms / 86400000 * 86400",
}


class _Grouping(msgspec.Struct, frozen=True, kw_only=True):
    """A question for groups as parts of its statements; the last value, of `_behind`, is still to be added."""

    by: GroupBy
    source: str
    where: str
    values: tuple[Any, ...]
    top: int | None
    one_viewer: bool


def prepare(connection: apsw.Connection) -> None:
    """Give a reader what the statements below call."""
    connection.create_scalar_function("usher_matches", _matches, 2, deterministic=True)


def count_pending(
    connection: apsw.Connection, cdn: int, search: AttemptFilter, *, held: bool, indexed: bool
) -> PendingCount:
    where, values = _where(cdn, search, indexed=indexed)
    source = _source(search, indexed=indexed)
    with connection:
        after_id, last_id, held_after, horizon = _horizon(connection)
        if held:
            after_id = _held_behind(after_id, held_after, search)
        behind = _behind(after_id, search)
        count = _one(connection, f"SELECT count(*) FROM {source} WHERE {where}", (*values, behind))
    return PendingCount(count=int(count), horizon=horizon, after_id=after_id, last_id=last_id)


def totals_pending(
    connection: apsw.Connection, cdn: int, search: AttemptFilter, *, most: int, indexed: bool
) -> PendingTotals:
    where, values = _where(cdn, search, indexed=indexed)
    statement = f"""
    SELECT json_group_array(json_array(app, video, reason, n)) FROM (
      SELECT app, video, reason, count(*) AS n FROM {_source(search, indexed=indexed)} WHERE {where}
      GROUP BY app, video, reason LIMIT ?)
    """
    with connection:
        after_id, last_id, held_after, horizon = _horizon(connection)
        after_id = _held_behind(after_id, held_after, search)
        answer = _one(connection, statement, (*values, _behind(after_id, search), most))
    totals = msgspec.json.decode(answer, type=list[Total])
    return PendingTotals(totals=totals, horizon=horizon, after_id=after_id, last_id=last_id)


def group_pending(
    connection: apsw.Connection, cdn: int, search: AttemptFilter, by: GroupBy, *, top: int | None, indexed: bool
) -> PendingGroups:
    where, values = _where(cdn, search, indexed=indexed)
    asked = _Grouping(
        by=by,
        source=_source(search, by, indexed=indexed),
        where=where,
        values=values,
        top=top,
        one_viewer=_is_by_viewer(search),
    )
    with connection:
        after_id, last_id, _, horizon = _horizon(connection)
        behind = _behind(after_id, search)
        found = _few_groups(connection, asked, behind, last_id) or _many_groups(connection, asked, behind)
    groups, group_count, attempts = found
    return PendingGroups(groups=groups, group_count=group_count, attempts=attempts, horizon=horizon)


def _few_groups(connection: apsw.Connection, asked: _Grouping, behind: int, last_id: int) -> _Found | None:
    """Counted here, run by run, in half the time of the sort by which the engine brings groups together. None where
    there are, or may well be, too many of them to hold."""
    if asked.by in (GroupBy.KEY, GroupBy.USER) or asked.one_viewer:
        return None
    statement = f"""
    SELECT json_group_array({_GROUP_EXPRESSIONS[asked.by]}) FROM {asked.source} WHERE {asked.where} AND id <= ?
    """
    counts: Counter[GroupValue] = Counter()
    for first in range(behind, last_id, _RUN_COUNTED):
        answer = _one(connection, statement, (*asked.values, first, first + _RUN_COUNTED))
        counts.update(msgspec.json.decode(answer, type=list[GroupValue]))
        if len(counts) > _GROUPS_HELD_MAX:
            return None
    return in_order(_groups(counts.items(), asked.by))[: asked.top], len(counts), counts.total()


def _many_groups(connection: apsw.Connection, asked: _Grouping, behind: int) -> _Found:
    statement = f"""
    WITH groups AS (
        SELECT {_GROUP_EXPRESSIONS[asked.by]} AS value, count(*) AS n
        FROM {asked.source} WHERE {asked.where} GROUP BY value),
      largest AS (SELECT value, n FROM groups ORDER BY n DESC, value LIMIT ?)
    SELECT json_array((SELECT count(*) FROM groups), (SELECT coalesce(sum(n), 0) FROM groups),
      json((SELECT json_group_array(json_array(value, n) ORDER BY n DESC, value) FROM largest)))
    """
    answer = _one(connection, statement, (*asked.values, behind, -1 if asked.top is None else asked.top))
    group_count, attempts, pairs = msgspec.json.decode(answer, type=tuple[int, int, list[tuple[GroupValue, int]]])
    return _groups(pairs, asked.by), group_count, attempts


def _groups(pairs: Iterable[tuple[GroupValue, int]], by: GroupBy) -> list[Group]:
    is_address = by in (GroupBy.IP, GroupBy.SERVER_IP)
    return [Group(int(str(value), 16) if is_address else value, count) for value, count in pairs]


def newest_pending(
    connection: apsw.Connection, cdn: int, search: AttemptFilter, *, seek: int, limit: int, indexed: bool
) -> PendingAttempts:
    where, values = _where(cdn, search, indexed=indexed)
    source = f"{_source(search, indexed=indexed)} WHERE {where}"
    window = f"""
    SELECT json_group_array(json_array({SHOWN_ROW}) ORDER BY id DESC) FROM (
      SELECT * FROM {source} ORDER BY id DESC LIMIT ? OFFSET ?)
    """
    with connection:
        after_id, _, _, horizon = _horizon(connection)
        behind = _behind(after_id, search)
        answer = _one(connection, window, (*values, behind, limit, seek))
        rows = msgspec.json.decode(answer, type=list[list[Any]])
        reaches_end = len(rows) < limit
        matching = _one(connection, f"SELECT count(*) FROM {source}", (*values, behind)) if reaches_end else None
    return PendingAttempts(attempts=[attempt_of(row) for row in rows], matching=matching, horizon=horizon)


def oldest_pending(
    connection: apsw.Connection, cdn: int, search: AttemptFilter, *, limit: int, indexed: bool
) -> PendingRows:
    where, values = _where(cdn, search, indexed=indexed)
    page = f"""
    SELECT json_group_array(json_array({SHOWN_ROW}) ORDER BY id) FROM (
      SELECT * FROM {_source(search, indexed=indexed)} WHERE {where} ORDER BY id LIMIT ?)
    """
    with connection:
        after_id, _, _, horizon = _horizon(connection)
        answer = _one(connection, page, (*values, _behind(after_id, search), limit))
    return PendingRows(rows=msgspec.json.decode(answer, type=list[msgspec.Raw]), horizon=horizon)


def _horizon(connection: apsw.Connection) -> tuple[int, int, int, Horizon]:
    """The id behind which attempts pend, the last one there is, the one behind which none is missing here, and what the
    log must be asked for."""
    after_id, last_id, held_after, from_ms, anonymised_before_ms, upto, unshipped = next(connection.execute(_HORIZON))
    but = [number for number in msgspec.json.decode(unshipped, type=list[int]) if number <= upto]
    horizon = Horizon(upto=upto, but=tuple(but), from_ms=from_ms, anonymised_before_ms=anonymised_before_ms)
    return after_id, last_id, held_after, horizon


def _held_behind(after_id: int, held_after: int, search: AttemptFilter) -> int:
    """The id behind which to look here: further back than where attempts begin to pend, where all is still here that
    `search` means."""
    if search.after_id is None or search.after_id < held_after:
        return after_id
    return min(after_id, search.after_id)


def _behind(after_id: int, search: AttemptFilter) -> int:
    """The one lower bound of the id. With two the engine may begin at the lower, and read what nobody means."""
    return max(after_id, search.after_id or 0)


def _one(connection: apsw.Connection, statement: str, values: tuple[Any, ...]) -> Any:
    ((value,),) = connection.execute(statement, values)
    return value


def _is_by_viewer(search: AttemptFilter) -> bool:
    return search.key is not None or search.password is not None or search.user is not None


def _source(search: AttemptFilter, by: GroupBy | None = None, *, indexed: bool) -> str:
    """The table, and the way to its rows that these filters and groups ask for; see indexes.py. Left to itself, the
    planner may fetch row after row by an index, which takes several times as long as reading the table in its order."""
    if not indexed:
        return "attempts"
    if search.key is not None:
        return "attempts INDEXED BY attempts_by_key"
    if _is_by_viewer(search):
        return "attempts INDEXED BY attempts_by_user"
    if by in (GroupBy.KEY, GroupBy.USER):
        # These indexes hold the id beside the name, and nothing else that a filter may ask for.
        if search == AttemptFilter(after_id=search.after_id, before_id=search.before_id):
            return f"attempts INDEXED BY attempts_by_{by.value}"
        return "attempts NOT INDEXED"
    return "attempts INDEXED BY attempts_narrow"


def _where(cdn: int, search: AttemptFilter, *, indexed: bool) -> tuple[str, tuple[Any, ...]]:
    """The filter as a condition and its values; the last value, of `_behind`, is the caller's to add."""
    conditions, values = ["cdn = ?"], [cdn]
    if indexed and _is_by_viewer(search):
        conditions.append(_RUNS)
        values.append(search.after_id or 0)
    for condition, given in _conditions(search):
        conditions.append(condition)
        values.extend(given)
    conditions.append("id > ?")
    return " AND ".join(conditions), tuple(values)


def _conditions(search: AttemptFilter) -> list[tuple[str, tuple[Any, ...]]]:
    found: list[tuple[str, tuple[Any, ...]]] = []
    if search.key is not None:
        found.append(("key = ?", (search.key,)))
    if search.password is not None:
        # The user too: one index serves both.
        found.append(("user = ? AND pass = ?", (user_of(search.password), search.password)))
    if search.user is not None:
        found.append(("user = ?", (search.user,)))
    found.extend(_name_condition("app", search.app))
    found.extend(_name_condition("video", search.video))
    found.extend(_net_condition("ip", search.ip))
    if search.ip is not None and is_finer(search.ip):
        found.append((f"NOT {IS_ANONYMISED}", ()))
    found.extend(_net_condition("server_ip", search.server_ip))
    if search.server_ip is not None and search.server_ip.holds(NOT_SAID):
        found.append(("server_ip <> ?", (_bytes(NOT_SAID),)))
    if search.accepted is not None:
        found.append(("reason = ''" if search.accepted else "reason <> ''", ()))
    if search.reason is not None:
        found.append(("reason = ?", (search.reason.value,)))
    bounds = (
        ("at_ms >= ?", search.from_ms),
        ("at_ms < ?", search.before_ms),
        ("id < ?", search.before_id),
    )
    found.extend((condition, (bound,)) for condition, bound in bounds if bound is not None)
    return found


def _name_condition(column: str, name: str | Pattern | None) -> list[tuple[str, tuple[Any, ...]]]:
    match name:
        case None:
            return []
        case str():
            return [(f"{column} = ?", (name,))]
        case Pattern():
            alternatives = [_alternative(column, pieces) for pieces in name.alternatives]
            condition = " OR ".join(condition for condition, _ in alternatives)
            return [(f"({condition})", tuple(value for _, values in alternatives for value in values))]


def _alternative(column: str, pieces: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    """One alternative of a pattern. GLOB is the engine's own matcher and takes a tenth of what a call of ours takes.

    It answers as ours does, case and letters as they are, and it too goes on from the left-most place of each piece
    and never back [SQLite func.c, SQLITE_NOWILDCARDMATCH]. It ends at NUL, which no name and no pattern holds.
    """
    if len(pieces) == 1:
        return f"{column} = ?", pieces
    # Within brackets its other signs stand for themselves.
    globs = [piece.replace("[", "[[]").replace("?", "[?]") for piece in pieces]
    if all(len(glob) <= _GLOB_PIECE_MAX for glob in globs[1:]):
        return f"{column} GLOB ?", ("*".join(globs),)
    return f"usher_matches(?, {column})", (msgspec.json.encode(pieces).decode(),)


def _net_condition(column: str, net: Net | None) -> list[tuple[str, tuple[Any, ...]]]:
    if net is None:
        return []
    low, high = _bytes(net.low), _bytes(net.high)
    if net.low == net.high:
        return [(f"{column} = ?", (low,))]
    found: list[tuple[str, tuple[Any, ...]]] = [(f"{column} BETWEEN ? AND ?", (low, high))]
    if net.skips_ipv4:
        found.append((f"{column} NOT BETWEEN ? AND ?", (_bytes(_MAPPED_LOW), _bytes(_MAPPED_HIGH))))
    return found


def _bytes(address: int) -> bytes:
    return address.to_bytes(16, "big")


# At a kilobyte a name, a few megabytes at the most.
@lru_cache(maxsize=8_192)
def _matches(pieces: str, name: str) -> bool:
    return _pattern(pieces).matches(name)


@lru_cache(maxsize=1_024)
def _pattern(pieces: str) -> Pattern:
    return Pattern((msgspec.json.decode(pieces, type=tuple[str, ...]),))
