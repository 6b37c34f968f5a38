"""The tables of the columnar attempt log and the settings of every statement: one dialect for chDB and ClickHouse.

Each setting that exactness or durability rests on is stated, also where it is today's default: defaults change.
Figures: chDB 26.9, 2 busy cores, 10 M attempts of one account on 100,000 tickets, times are p50.
"""

from __future__ import annotations

import math
import re

from openusher.attemptlog.base import COLUMNS
from openusher.model.anonymity import DROPPED, IPV4_BITS, IPV6_BITS
from openusher.model.block import BLOCK_ROWS_MAX, Block

DATABASE = "usher"
# A block goes into each of these.
TABLES = ("attempts",)
# Made of the first of them by the engine, and thrown away when in doubt; see bytime.py.
BY_TIME = "attempts_by_time"

# Of a statement.
THREADS = 2

# Never less than a block, so that an insert is one part and therefore all or nothing.
_INSERT_ROWS_MAX = 1_048_576
assert _INSERT_ROWS_MAX > BLOCK_ROWS_MAX

# Addresses come in as hex digits, which only an expression can read; an EPHEMERAL column is not stored.
_ADDRESS = "IPv6 DEFAULT CAST(toFixedString(unhex({0}_hex), 16) AS IPv6), {0}_hex String EPHEMERAL"

_TABLE = """
CREATE TABLE IF NOT EXISTS {database}.{table}
(
    id Int64,
    cdn Int64,
    at_ms Int64,
    key String,
    pass String,
    user String MATERIALIZED substringIndex(pass, '|', 1),
    app LowCardinality(String),
    appinst LowCardinality(String),
    video LowCardinality(String),
    ip {ip},
    pageurl String,
    refurl String,
    user_agent String,
    server_ip {server_ip},
    edge Int64,
    cut Int64,
    reason LowCardinality(String),
    block UInt32 CODEC(Delta, LZ4),
    incarnation Int64,
    INDEX block block TYPE minmax GRANULARITY 4,
    INDEX pass pass TYPE bloom_filter(0.0001) GRANULARITY 4,
    INDEX user user TYPE bloom_filter(0.0001) GRANULARITY 4,
    INDEX ip ip TYPE bloom_filter(0.0001) GRANULARITY 4
)
ENGINE = {engine}
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(at_ms, 'UTC'))
ORDER BY (cdn, key, id)
SETTINGS {settings}"""

# What is asked about a stretch of time. In the order of time most columns hardly change from row to row: but for keys,
# users and addresses, which are 17, all are 0.3 bytes an attempt. The parts' names differ from those of the table of
# attempts, so that a repair, which looks for those wherever they lie, never takes one for the other.
_BY_TIME_TABLE = """
CREATE TABLE IF NOT EXISTS {database}.{table}
(
    id Int64 CODEC(Delta, LZ4),
    cdn Int64,
    at_ms Int64 CODEC(Delta, LZ4),
    key String,
    user String,
    app LowCardinality(String),
    video LowCardinality(String),
    ip IPv6,
    server_ip IPv6,
    reason LowCardinality(String),
    block UInt32 CODEC(Delta, LZ4),
    INDEX at_ms at_ms TYPE minmax GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY (toYear(fromUnixTimestamp64Milli(at_ms, 'UTC')), toYYYYMM(fromUnixTimestamp64Milli(at_ms, 'UTC')))
ORDER BY (cdn, id)
SETTINGS {settings}"""
_BY_TIME_COLUMNS = "id, cdn, at_ms, key, user, app, video, ip, server_ip, reason, block"

# Rows of one ticket lie together, so a count by key reads one granule a part (7 ms) and pass and user cluster with it
# (11 ms); an address lies anywhere, and a filter that is wrong once in 10,000 instead of 40 times keeps it at 12 ms
# (against 20 to 30 with 0.025). Granules of 2,048 rows read a quarter of the default's; four to a filter, since the
# number of filters costs, not their size. ORDER BY (cdn, id) took 45 ms by key and 1.06 GB instead of 0.38.
# LowCardinality where a site has thousands of values at most: a pattern with two stars is matched once a value.
_TABLE_SETTINGS: dict[str, int | str] = {
    "index_granularity": 2048,
    "fsync_after_insert": 1,
    "fsync_part_directory": 1,
    # Without these two a merge puts unsynced parts in the place of synced ones, and deletes those before they are safe.
    "min_rows_to_fsync_after_merge": 1,
    "old_parts_lifetime": 480,
    # With the defaults a damaged part is put aside at start and every count is silently short.
    "max_suspicious_broken_parts": 0,
    "max_suspicious_broken_parts_bytes": 0,
    # A belt beside the read-back that decides; counted in blocks.
    "non_replicated_deduplication_window": 1000,
}

# A count looks into each part. By default, 5, there are a dozen; with 2 there are half as many, each row is written a
# few times more, and a count by key takes 2 ms instead of 4.5.
_MERGES = {"merge_selector_base": 2}
# These change nothing but speed: tables that an older version made are told them too.
_TUNED: dict[str, int | str] = {
    **_MERGES,
    # A month into which nothing has come for a day becomes one part: each part more makes a count by key, of 100 M
    # attempts, 0.8 ms longer.
    "min_age_to_force_merge_seconds": 86_400,
    "min_age_to_force_merge_on_partition_only": 1,
}

_BY_TIME_SETTINGS: dict[str, int | str] = {
    **_MERGES,
    "fsync_after_insert": 1,
    "fsync_part_directory": 1,
    "min_rows_to_fsync_after_merge": 1,
    # Not the engine's eight minutes, in which what a fill writes would be on the disk four times.
    "old_parts_lifetime": 30,
    # Damaged parts are put aside at start, and then missed: what is made anew is no reason not to count.
    "max_suspicious_broken_parts": 1_000_000,
    "max_suspicious_broken_parts_bytes": 1 << 60,
}

_EVERY_STATEMENT: dict[str, int | str] = {
    "timeout_overflow_mode": "'throw'",
    "use_query_condition_cache": 0,
    "use_skip_indexes": 1,
    # Deciding on skip indexes while reading was no faster, and is younger.
    "use_skip_indexes_on_data_read": 0,
    "optimize_use_projections": 0,
    "optimize_use_implicit_projections": 0,
    "optimize_trivial_approximate_count_query": 0,
    # Recent short cuts of top-N; an exact answer does not need them.
    "enable_group_by_top_k_optimization": 0,
    "use_top_k_dynamic_filtering": 0,
    "use_skip_indexes_for_top_k": 0,
    # Reads the other columns only of the rows that remain: what makes errorlog cheap.
    "query_plan_optimize_lazy_materialization": 1,
    # Compiling pays after many seconds of the same expression; ours run for milliseconds.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    "output_format_json_quote_64bit_integers": 0,
    # Two more threads to be woken for one row of text; and a million rows take longer with them too.
    "output_format_parallel_formatting": 0,
}

_EVERY_INSERT: dict[str, int | str] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "max_insert_threads": 1,
    "input_format_parallel_parsing": 0,
    "max_block_size": _INSERT_ROWS_MAX,
    "max_insert_block_size": _INSERT_ROWS_MAX,
    "min_insert_block_size_rows": _INSERT_ROWS_MAX,
    "min_insert_block_size_bytes": 0,
    # A block over two months would be two parts, of which a crash can leave one.
    "max_partitions_per_insert_block": 1,
    "throw_on_max_partitions_per_insert_block": 1,
    "materialize_skip_indexes_on_insert": 1,
    "input_format_null_as_default": 0,
    "input_format_defaults_for_omitted_fields": 1,
}

# Not one part, but few: what is missing of a fill that broke off is seen by the block.
_FILL: dict[str, int | str] = {
    "insert_deduplicate": 0,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": _INSERT_ROWS_MAX,
    "min_insert_block_size_bytes": 0,
}

# Rows wait in memory until there are enough for each of many files.
_COPY: dict[str, int | str] = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 262_144,
    "min_insert_block_size_bytes": 64 * 1024 * 1024,
}

# A block's rows as they travel, and the columns that take them. Texts are plain ones on the way: made LowCardinality by
# the column, they cost half of what they do by the value.
_NAMED = {f"{name}_hex" if form == "address" else name: form for name, form in COLUMNS}
_TAKEN = ", ".join(_NAMED)
_TRAVELLING = ", ".join(f"{name} {'Int64' if form == 'number' else 'String'}" for name, form in _NAMED.items())

# The net that is left of an address, and whether there is more left of an attempt; see model/anonymity.py.
NET = (
    "tupleElement(IPv6CIDRToRange(ip, if(ip >= toIPv6('::ffff:0.0.0.0') AND ip <= toIPv6('::ffff:255.255.255.255'), "
    f"{IPV4_BITS}, {IPV6_BITS})), 1)"
)
IS_PLAIN = {
    TABLES[0]: " OR ".join((*(f"{name} != ''" for name in DROPPED), f"ip != {NET}")),
    BY_TIME: f"ip != {NET}",
}
_PARTITION = re.compile("[0-9]{6}|[0-9]{4}-[0-9]{6}")


def _assignments(settings: dict[str, int | str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _statement_settings(seconds_max: float) -> dict[str, int | str]:
    return {**_EVERY_STATEMENT, "max_threads": THREADS, "max_execution_time": math.ceil(seconds_max)}


def create_statements(*, engine: str = "MergeTree", by_time: bool = True) -> list[str]:
    """What makes the database and its tables where they are missing, and takes away the table by time where it is not
    wanted. `engine` is the table engine's name."""
    settings = _assignments(_TABLE_SETTINGS | _TUNED)
    addresses = {"ip": _ADDRESS.format("ip"), "server_ip": _ADDRESS.format("server_ip")}
    tables = [
        _TABLE.format(database=DATABASE, table=table, engine=engine, settings=settings, **addresses) for table in TABLES
    ]
    settings = _assignments(_BY_TIME_SETTINGS)
    derived = (
        _BY_TIME_TABLE.format(database=DATABASE, table=BY_TIME, engine=engine, settings=settings)
        if by_time
        else f"DROP TABLE IF EXISTS {DATABASE}.{BY_TIME} SETTINGS max_table_size_to_drop = 0"
    )
    return [f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic", *tables, derived]


def fill_statement(*, partition: str, behind: int, upto: int, seconds_max: float) -> str:
    """What puts the blocks behind `behind` up to `upto`, of one month, into the table by time; by one thread, since
    counts go on beside it."""
    assert partition.isdecimal()
    where = f"_partition_id = '{partition}' AND block > {behind:d} AND block <= {upto:d}"
    return _into_by_time(where, seconds_max)


def append_statement(number: int, *, seconds_max: float) -> str:
    """What puts one block into the table by time."""
    return _into_by_time(f"block = {number:d}", seconds_max)


def _into_by_time(where: str, seconds_max: float) -> str:
    settings = {**_statement_settings(seconds_max), **_FILL, "max_threads": 1}
    return f"""
        INSERT INTO {DATABASE}.{BY_TIME} ({_BY_TIME_COLUMNS})
        SELECT {_BY_TIME_COLUMNS} FROM {DATABASE}.{TABLES[0]} WHERE {where}
        SETTINGS {_assignments(settings)}"""


def empty_by_time_statements() -> list[str]:
    """What takes all rows out of the table by time, and away with what the engine has put aside as damaged."""
    return [
        f"TRUNCATE TABLE {DATABASE}.{BY_TIME} SETTINGS max_table_size_to_drop = 0",
        f"ALTER TABLE {DATABASE}.{BY_TIME} DROP DETACHED PARTITION ALL SETTINGS allow_drop_detached = 1",
    ]


def tune_statement(table: str, *, made: str) -> str | None:
    """What a table that was `made` so, in the engine's own words, is to be told; None where it has been."""
    assert table in TABLES
    missing = {name: value for name, value in _TUNED.items() if f" {name} = {value}" not in made}
    return f"ALTER TABLE {DATABASE}.{table} MODIFY SETTING {_assignments(missing)}" if missing else None


def settings_clause(*, seconds_max: float, threads: int) -> str:
    """The end of every SELECT; one that takes longer is an error, never a part of the answer."""
    return "SETTINGS " + _assignments({**_statement_settings(seconds_max), "max_threads": threads})


def copy_clause(*, seconds_max: float) -> str:
    """The end of a statement that sets rows aside; by one thread, since counts go on beside it."""
    return "SETTINGS " + _assignments({**_statement_settings(seconds_max), **_COPY, "max_threads": 1})


def freeze_statement(table: str, *, name: str) -> str:
    """What makes hard links to the files of `table` as they are now, under `name`."""
    assert table in TABLES
    return f"ALTER TABLE {DATABASE}.{table} FREEZE WITH NAME '{name}'"


def check_statement(table: str) -> str:
    """What compares every file of `table` with its checksums: name, whether it is sound, and why not, of each part."""
    assert table in TABLES
    return f"CHECK TABLE {DATABASE}.{table} SETTINGS check_query_single_value_result = 0, max_threads = {THREADS}"


def merging_statement(table: str, *, may_merge: bool) -> str:
    """What keeps the engine from merging parts of `table`, or lets it again."""
    assert table in TABLES
    return f"SYSTEM {'START' if may_merge else 'STOP'} MERGES {DATABASE}.{table}"


def attach_statement(part: str, *, table: str) -> str:
    """What takes a part from where detached ones lie; the third value that it returns is the part's new name."""
    assert table in TABLES
    return f"ALTER TABLE {DATABASE}.{table} ATTACH PART '{part}' SETTINGS alter_partition_verbose_result = 1"


def drop_part_statement(part: str, *, table: str) -> str:
    """What takes away a part with all its rows."""
    assert table in TABLES
    return f"ALTER TABLE {DATABASE}.{table} DROP PART '{part}'"


def remove_block_statement(number: int, *, table: str) -> str:
    """What takes away all rows of a block, and returns when that is done."""
    assert table in TABLES
    return f"ALTER TABLE {DATABASE}.{table} DELETE WHERE block = {number:d} SETTINGS mutations_sync = 2"


def insert_statement(block: Block, *, table: str, life: str, seconds_max: float) -> str:
    """The insert of `block`, whose rows stand in the statement's `data`, in the order of `COLUMNS`.

    `life` names the engine's process: a kill can leave a token without its part (seen in 26.9, once in some hundred),
    and the next process would then drop the block without a word.
    """
    assert table in TABLES
    # A setting cannot be bound; both parts are numbers of the ledger and the name is ours.
    token = f"'{block.incarnation:d}-{block.number:d}-{table}-{life}'"
    settings = {**_statement_settings(seconds_max), **_EVERY_INSERT, "insert_deduplication_token": token}
    return f"""
        INSERT INTO {DATABASE}.{table} ({_TAKEN}, block, incarnation)
        SELECT {_TAKEN}, {block.number:d}, {block.incarnation:d} FROM input('{_TRAVELLING}')
        SETTINGS {_assignments(settings)}"""


def remove_statement(upto: int, *, table: str, partition: str, is_whole: bool) -> str:
    """What takes the blocks up to `upto` out of a partition: with it, where it has no others, and else by writing the
    rest anew, behind the statement's back, since that may take minutes and outlasts a restart."""
    assert table in (*TABLES, BY_TIME)
    assert _PARTITION.fullmatch(partition)
    head = f"ALTER TABLE {DATABASE}.{table}"
    if is_whole:
        # By default the engine drops no partition of more than 50 GB.
        return f"{head} DROP PARTITION ID '{partition}' SETTINGS max_partition_size_to_drop = 0"
    return f"{head} DELETE IN PARTITION ID '{partition}' WHERE block <= {upto:d} SETTINGS mutations_sync = 0"


def anonymise_statement(upto: int, *, table: str, partition: str) -> str:
    """What writes the attempts of blocks up to `upto` in a partition as they are shown; also behind its back."""
    assert table in (*TABLES, BY_TIME)
    assert _PARTITION.fullmatch(partition)
    dropped = "" if table == BY_TIME else "".join(f", {name} = ''" for name in DROPPED)
    return (
        f"ALTER TABLE {DATABASE}.{table} UPDATE ip = {NET}{dropped} IN PARTITION ID '{partition}' "
        f"WHERE block <= {upto:d} AND ({IS_PLAIN[table]}) SETTINGS mutations_sync = 0"
    )
