"""Filters, horizons and groups in the SQL of the columnar log. Values are always bound, never pasted in."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address

import msgspec

from openusher.attemptlog.base import COLUMNS, Span
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.schema import DATABASE, NET, TABLES, THREADS, settings_clause
from openusher.model.address import ANY_ADDRESS, NOT_SAID, Net
from openusher.model.anonymity import DROPPED, is_finer
from openusher.model.block import Horizon
from openusher.model.limits import INTEGER_MAX
from openusher.model.pattern import Pattern
from openusher.model.search import AttemptFilter, GroupBy, GroupValue

# What answers any question; those that take a table may be asked of the one by time too.
ATTEMPTS = f"{DATABASE}.{TABLES[0]}"


def column(name: str, *, anonymised: str = "") -> str:
    """The SQL of a column, anonymised where the condition `anonymised` holds."""
    if not anonymised or name not in ("ip", *DROPPED):
        return name
    return f"if({anonymised}, {NET if name == 'ip' else repr('')}, {name})"


def _columns(anonymised: str = "") -> str:
    """All columns, in the order of `COLUMNS` and in the form in which rows travel."""
    named = ((column(name, anonymised=anonymised), form) for name, form in COLUMNS)
    return ", ".join(f"lower(hex({text}))" if form == "address" else text for text, form in named)


_COLUMNS = _columns()
TEXT_BYTES = " + ".join(f"length({name})" for name, form in COLUMNS if form == "text")

_COPIED = ", ".join((*(name for name, _ in COLUMNS), "user", "block"))
# Packed it is a sixth, and takes no longer to write.
_COPIED_FORM = "native.lz4"

# The `upto` of a horizon that is above all that a table has: nothing is compared with it.
EVERY_BLOCK = INTEGER_MAX

# What an index leaves is read sooner by one thread than two are woken, and others have the second core.
_FEW_THREADS = 1

_IPV4 = Net(0xFFFF << 32, (0xFFFF << 32) | 0xFFFFFFFF)

# What is grouped by, and the form in which the group's value leaves the database.
_GROUP: dict[GroupBy, tuple[str, str]] = {
    GroupBy.KEY: ("key", "value"),
    GroupBy.USER: ("user", "value"),
    GroupBy.APP: ("app", "value"),
    GroupBy.VIDEO: ("video", "value"),
    GroupBy.IP: ("ip", "lower(hex(value))"),
    GroupBy.REASON: ("reason", "value"),
    GroupBy.SUCCESS: ("toUInt8(reason = '')", "value"),
    GroupBy.SERVER_IP: ("server_ip", "lower(hex(value))"),
    GroupBy.HOUR: ("intDiv(at_ms, 3600000) * 3600", "value"),
    GroupBy.DAY: ("intDiv(at_ms, 86400000) * 86400", "value"),
}
_ADDRESSES = frozenset({GroupBy.IP, GroupBy.SERVER_IP})
_NUMBERS = frozenset({GroupBy.SUCCESS, GroupBy.HOUR, GroupBy.DAY})


class Query(msgspec.Struct, frozen=True):
    """A statement and its bound values."""

    text: str
    params: dict[str, str]

    def __repr__(self) -> str:
        # Parameters hold passes.
        return f"Query({self.text[:60]!r})"

    def statement(self, *, lane: Lane, seconds_max: float, cdn: int = 0, threads: int | None = None) -> Statement:
        """It as the engine is asked, by as many threads as the lane's questions are soonest answered by (None)."""
        if threads is None:
            threads = _FEW_THREADS if lane is Lane.COUNT else THREADS
        text = f"{self.text} {settings_clause(seconds_max=seconds_max, threads=threads)}"
        return Statement(text=text, params=self.params, lane=lane, seconds_max=seconds_max, cdn=cdn)


class _Where:
    """Conditions that all must hold, and the values bound in them."""

    def __init__(self) -> None:
        self.params: dict[str, str] = {}
        self._conditions: list[str] = []

    def bind(self, value: str | int, of_type: str) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = bound_text(str(value))
        return f"{{{name}:{of_type}}}"

    def add(self, condition: str) -> None:
        self._conditions.append(condition)

    def compare(self, column: str, operator: str, value: str | int | None, of_type: str) -> None:
        """Add the comparison unless `value` is None: any."""
        if value is not None:
            self.add(f"{column} {operator} {self.bind(value, of_type)}")

    def text(self) -> str:
        return " AND ".join(self._conditions)


def bound_text(text: str) -> str:
    """The form in which the value of a query parameter travels: as in TabSeparated, where `\\` starts an escape."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def like_text(pieces: tuple[str, ...]) -> str:
    """The LIKE pattern of literal `pieces` with anything between them."""
    escaped = (piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for piece in pieces)
    return "%".join(escaped)


def count_query(cdn: int, search: AttemptFilter, horizon: Horizon, *, table: str = TABLES[0]) -> Query:
    """One row: how many."""
    where = _where(cdn, search, horizon)
    # The indexes leave few rows. An engine that has to see for itself what to read first takes a tenth longer.
    how = "PREWHERE" if finds_few(search) else "WHERE"
    return Query(f"SELECT count() FROM {DATABASE}.{table} {how} {where.text()}", where.params)


def groups_query(
    cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int, table: str = TABLES[0]
) -> Query:
    """Rows of value, count, and of all groups how many there are and how many attempts they have; largest first, ties
    by value. At least one if there is any, since what is said of all groups is in it."""
    where = _where(cdn, search, horizon)
    value, shown = _grouped(where, by, horizon)
    limit = where.bind(max(top, 1), "UInt64")
    text = f"""
        SELECT {shown}, attempts, count() OVER (), sum(attempts) OVER ()
        FROM (SELECT {value} AS value, count() AS attempts
              FROM {DATABASE}.{table} WHERE {where.text()} GROUP BY value)
        ORDER BY attempts DESC, value ASC
        LIMIT {limit}"""
    return Query(text, where.params)


def counts_of_query(
    cdn: int,
    search: AttemptFilter,
    by: GroupBy,
    horizon: Horizon,
    values: Sequence[GroupValue],
    *,
    table: str = TABLES[0],
) -> Query:
    """Rows of value and count for those of `values` that have any attempts."""
    where = _where(cdn, search, horizon)
    value, shown = _grouped(where, by, horizon)
    where.add(f"{value} IN (SELECT arrayJoin({_bound_values(where, by, values)}))")
    text = f"""
        SELECT {shown}, attempts
        FROM (SELECT {value} AS value, count() AS attempts
              FROM {DATABASE}.{table} WHERE {where.text()} GROUP BY value)"""
    return Query(text, where.params)


def totals_query(cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int, table: str = TABLES[0]) -> Query:
    """Rows of app, video, reason and count."""
    where = _where(cdn, search, horizon)
    limit = where.bind(most, "UInt64")
    text = f"""
        SELECT app, video, reason, count() FROM {DATABASE}.{table} WHERE {where.text()}
        GROUP BY app, video, reason LIMIT {limit}"""
    return Query(text, where.params)


def newest_query(
    cdn: int, search: AttemptFilter, horizon: Horizon, *, above_block: int, seek: int, limit: int
) -> Query:
    """Rows in the order of `COLUMNS`, newest first, behind the first `seek`, of blocks after `above_block` only."""
    where = _where(cdn, search, horizon)
    if above_block:
        where.compare("block", ">", above_block, "UInt64")
    bound_limit, bound_seek = where.bind(limit, "UInt64"), where.bind(seek, "UInt64")
    # Anonymised outside: the other columns are then still read only of the rows that remain.
    text = f"""
        SELECT {_shown_columns(where, horizon)} FROM (
          SELECT * FROM {ATTEMPTS} WHERE {where.text()} ORDER BY id DESC LIMIT {bound_limit} OFFSET {bound_seek})
        ORDER BY id DESC"""
    return Query(text, where.params)


def sizes_query(cdn: int, search: AttemptFilter, horizon: Horizon) -> Query:
    """Rows of three lists, of equal length: blocks in their order, how many matching attempts each has, and how many
    bytes their texts are. Thousands of blocks in a row: rows are what costs on the way to Python."""
    where = _where(cdn, search, horizon)
    text = f"""
        WITH arraySort(groupArray((block, attempts, bytes))) AS sizes
        SELECT sizes.1, sizes.2, sizes.3
        FROM (SELECT block, count() AS attempts, sum({TEXT_BYTES}) AS bytes
              FROM {ATTEMPTS} WHERE {where.text()} GROUP BY block)
        GROUP BY intDiv(block, 4096) AS run
        ORDER BY run"""
    return Query(text, where.params)


def rows_query(cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copied: str = "") -> Query:
    """Rows in the order of `COLUMNS`, by id, of the blocks of `span`; from what `copy_query` wrote to the folder
    `copied` where that is given."""
    where = _where(cdn, search, horizon)
    where.compare("block", ">=", span.first_block, "UInt64")
    where.compare("block", "<=", span.last_block, "UInt64")
    source = f"file('{copied}/{copied_file(span)}', 'Native')" if copied else ATTEMPTS
    return Query(
        f"SELECT {_shown_columns(where, horizon)} FROM {source} WHERE {where.text()} ORDER BY id", where.params
    )


def copied_file(span: Span) -> str:
    """The name of the file with the rows of `span` in a copy."""
    return f"{span.first_block:d}.{_COPIED_FORM}"


def copy_query(cdn: int, search: AttemptFilter, horizon: Horizon, *, spans: Sequence[Span], into: str) -> Query:
    """Writes the matching rows of `spans` to a file a span in the folder `into`, unsorted. They are all columns that a
    filter may name, as they are stored: it is the reader who anonymises."""
    where = _where(cdn, search, horizon)
    where.compare("block", ">=", spans[0].first_block, "UInt64")
    where.compare("block", "<=", spans[-1].last_block, "UInt64")
    firsts = where.bind("[" + ",".join(f"{span.first_block:d}" for span in spans) + "]", "Array(UInt32)")
    text = f"""
        INSERT INTO FUNCTION file('{into}/{{_partition_id}}.{_COPIED_FORM}', 'Native') PARTITION BY span
        SELECT {_COPIED}, roundDown(block, {firsts}) AS span FROM {ATTEMPTS} WHERE {where.text()}"""
    return Query(text, where.params)


def block_rows_query(number: int, *, table: str) -> Query:
    """All rows of a block, of any account, in the order of `COLUMNS`, by id."""
    assert table in TABLES
    text = f"SELECT {_COLUMNS} FROM {DATABASE}.{table} WHERE block = {{block:UInt32}} ORDER BY id"
    return Query(text, {"block": f"{number:d}"})


def group_value(by: GroupBy, shown: str | int) -> GroupValue:
    """The value of a group as in model/search.py, from what the database shows of it."""
    return int(str(shown), 16) if by in _ADDRESSES else shown


def finds_few(search: AttemptFilter) -> bool:
    """Say whether a filter is answered from an index, so that a first look at the newest blocks would save nothing."""
    exact_address = search.ip is not None and search.ip.low == search.ip.high
    return exact_address or any(text is not None for text in (search.key, search.password, search.user))


def lane_of(search: AttemptFilter) -> Lane:
    """Where a question waits: one that an index answers, in milliseconds, never behind others' that read for longer."""
    return Lane.COUNT if finds_few(search) else Lane.SCAN


def _is_anonymised(where: _Where, horizon: Horizon) -> str:
    """The condition under which an attempt is shown anonymised; empty where none is."""
    before_ms = horizon.anonymised_before_ms
    return f"at_ms < {where.bind(before_ms, 'Int64')}" if before_ms else ""


def _shown_columns(where: _Where, horizon: Horizon) -> str:
    return _columns(_is_anonymised(where, horizon))


def _grouped(where: _Where, by: GroupBy, horizon: Horizon) -> tuple[str, str]:
    if by is GroupBy.IP:
        return column("ip", anonymised=_is_anonymised(where, horizon)), _GROUP[by][1]
    return _GROUP[by]


def _where(cdn: int, search: AttemptFilter, horizon: Horizon) -> _Where:
    where = _Where()
    where.compare("cdn", "=", cdn, "Int64")
    where.compare("key", "=", search.key, "String")
    where.compare("pass", "=", search.password, "String")
    where.compare("user", "=", search.user, "String")
    _add_net(where, "ip", search.ip)
    if search.ip is not None and is_finer(search.ip):
        where.compare("at_ms", ">=", horizon.anonymised_before_ms or None, "Int64")
    _add_name(where, "app", search.app)
    _add_name(where, "video", search.video)
    if search.accepted is not None:
        where.add("reason = ''" if search.accepted else "reason != ''")
    where.compare("reason", "=", None if search.reason is None else search.reason.value, "String")
    _add_net(where, "server_ip", search.server_ip)
    if search.server_ip is not None and search.server_ip.holds(NOT_SAID):
        where.compare("server_ip", "!=", str(IPv6Address(NOT_SAID)), "IPv6")
    where.compare("at_ms", ">=", search.from_ms, "Int64")
    where.compare("at_ms", "<", search.before_ms, "Int64")
    where.compare("id", ">", search.after_id, "Int64")
    where.compare("id", "<", search.before_id, "Int64")
    _add_horizon(where, horizon)
    return where


def _add_horizon(where: _Where, horizon: Horizon) -> None:
    where.compare("block", "<=", None if horizon.upto == EVERY_BLOCK else horizon.upto, "UInt64")
    where.compare("block", ">", horizon.behind or None, "UInt64")
    where.compare("at_ms", ">=", horizon.from_ms or None, "Int64")
    if horizon.but:
        numbers = "[" + ",".join(f"{number:d}" for number in horizon.but) + "]"
        where.add(f"NOT has({where.bind(numbers, 'Array(UInt64)')}, block)")


def _add_name(where: _Where, column: str, wanted: str | Pattern | None) -> None:
    if not isinstance(wanted, Pattern):
        where.compare(column, "=", wanted, "String")
        return
    alternatives = [
        f"{column} = {where.bind(pieces[0], 'String')}"
        if len(pieces) == 1
        else f"{column} LIKE {where.bind(like_text(pieces), 'String')}"
        for pieces in wanted.alternatives
    ]
    where.add(f"({' OR '.join(alternatives)})")


def _add_net(where: _Where, column: str, net: Net | None) -> None:
    if net is None or net == ANY_ADDRESS:
        return
    if net.low == net.high:
        where.compare(column, "=", str(IPv6Address(net.low)), "IPv6")
        return
    where.compare(column, ">=", str(IPv6Address(net.low)), "IPv6")
    where.compare(column, "<=", str(IPv6Address(net.high)), "IPv6")
    if net.skips_ipv4:
        low, high = (where.bind(str(IPv6Address(end)), "IPv6") for end in (_IPV4.low, _IPV4.high))
        where.add(f"NOT ({column} >= {low} AND {column} <= {high})")


def _bound_values(where: _Where, by: GroupBy, values: Sequence[GroupValue]) -> str:
    """An array of `values`, bound as one JSON text: the text form of an array would need SQL's own quoting."""
    if by in _ADDRESSES:
        digits = [f"{int(value):032x}" for value in values]
        bound = where.bind(msgspec.json.encode(digits).decode(), "String")
        return f"arrayMap(x -> CAST(toFixedString(unhex(x), 16) AS IPv6), JSONExtract({bound}, 'Array(String)'))"
    bound = where.bind(msgspec.json.encode(list(values)).decode(), "String")
    return f"JSONExtract({bound}, '{'Array(Int64)' if by in _NUMBERS else 'Array(String)'}')"
