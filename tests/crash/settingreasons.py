"""What the attempt log must tell its engine, and why: written down a second time, by hand.

So the schema is held against reasons and not against itself. A value is as the engine shows it. `worst` is the default
that would do harm; tests/crash/contrarylog.py makes it the engine's, so that only what a statement states helps.
Read in chDB 26.9.2.
"""

from __future__ import annotations

from typing import NamedTuple


class Stated(NamedTuple):
    value: str
    worst: str
    why: str


# Of every statement, questions and inserts alike.
STATEMENT = {
    "timeout_overflow_mode": Stated(
        "throw", "break", "a question out of time would be answered from a part of the rows"
    ),
    "use_query_condition_cache": Stated("0", "1", "ClickHouse#104781: a poisoned cache made later counts short"),
    "use_skip_indexes": Stated("1", "0", "reading back one block, or counting one viewer, would read every row"),
    "use_skip_indexes_on_data_read": Stated("0", "1", "younger, no faster, and opens every part"),
    "optimize_use_projections": Stated("0", "1", "ClickHouse#111791: a projection answered with deleted rows"),
    "optimize_use_implicit_projections": Stated("0", "1", "as above, for those that nobody made"),
    "optimize_trivial_approximate_count_query": Stated("0", "1", "an estimate is no count"),
    "enable_group_by_top_k_optimization": Stated("0", "1", "a young short cut; the number of groups must be exact too"),
    "use_top_k_dynamic_filtering": Stated("0", "1", "a young short cut: drops rows by what was read before them"),
    "use_skip_indexes_for_top_k": Stated("0", "1", "a young short cut: drops granules by their extremes"),
    "query_plan_optimize_lazy_materialization": Stated("1", "0", "errorlog would read every column of every row"),
    "compile_expressions": Stated("0", "1", "compiling takes longer than our questions do"),
    "compile_aggregate_expressions": Stated("0", "1", "as above"),
    "compile_sort_description": Stated("0", "1", "as above"),
    "max_threads": Stated("2", "5", "one count would take the cores that decisions need"),
    "output_format_json_quote_64bit_integers": Stated("0", "1", "numbers would come back as texts"),
    "output_format_parallel_formatting": Stated("0", "1", "a count of one row would wake two threads more"),
}

# Of a question that an index answers: two threads are woken later than one has read what is left.
OF_FEW = {"count of a key": {"max_threads": "1"}}

# Of every insert, besides those above.
INSERT = {
    "async_insert": Stated("0", "1", "answered before the rows are stored; tokens bleed (ClickHouse#111031)"),
    "insert_deduplicate": Stated("1", "0", "a block sent twice would be stored twice"),
    "max_insert_threads": Stated("1", "4", "each thread would make parts of its own"),
    "input_format_parallel_parsing": Stated("0", "1", "each piece that is read may become a part"),
    "max_block_size": Stated("1048576", "100", "a block in several parts is not all or nothing"),
    "max_insert_block_size": Stated("1048576", "100", "as above"),
    "min_insert_block_size_rows": Stated("1048576", "100", "as above"),
    "min_insert_block_size_bytes": Stated("0", "1000", "as above"),
    "max_partitions_per_insert_block": Stated("1", "100", "over two months it is two parts, and a crash leaves half"),
    "throw_on_max_partitions_per_insert_block": Stated("1", "0", "as above: the limit would only be logged"),
    "materialize_skip_indexes_on_insert": Stated("1", "0", "new rows would all be read until a merge, if one comes"),
    "input_format_null_as_default": Stated("0", "1", "a null would be stored as an empty text, and nobody told"),
    "input_format_defaults_for_omitted_fields": Stated("1", "0", "addresses are defaults, computed from hex digits"),
}

# No statement has to state these: they let the dangers above come true, or sooner.
SHARPENED = {
    # 26.9 heeds insert_deduplicate only where it is told to.
    "deduplicate_insert": "backward_compatible_choice",
    "min_count_to_compile_expression": "0",
    "min_count_to_compile_aggregate_expression": "0",
    "min_count_to_compile_sort_description": "0",
}

# Of the table; its defaults in chDB 26.9 stand behind each.
TABLE = {
    "index_granularity": ("2048", "8192 would read four times as much for one ticket"),
    "fsync_after_insert": ("1", "0: an answered insert is lost with the power"),
    "fsync_part_directory": ("1", "0: as above, the part's folder"),
    "min_rows_to_fsync_after_merge": ("1", "0: a merge puts unsynced parts in the place of synced ones"),
    "old_parts_lifetime": ("480", "0: what was merged is deleted at once"),
    "max_suspicious_broken_parts": ("0", "100: damaged parts are put aside, and every count is short"),
    "max_suspicious_broken_parts_bytes": ("0", "1 GiB: as above"),
    "non_replicated_deduplication_window": ("1000", "0: tokens are forgotten"),
    "merge_selector_base": ("2", "5: twice as many parts, and a count looks into each"),
    "min_age_to_force_merge_seconds": ("86400", "0: a month that is over stays in several parts"),
    "min_age_to_force_merge_on_partition_only": ("1", "0: parts of the month that still grows are merged by age too"),
}

_TEXT, _NAME, _NUMBER = ("String", "", ""), ("LowCardinality(String)", "", ""), ("Int64", "", "")
_DIGITS = ("String", "EPHEMERAL", "")


def _address(name: str) -> tuple[str, str, str]:
    return "IPv6", f"DEFAULT CAST(toFixedString(unhex({name}_hex), 16), 'IPv6')", ""


# name: type, what it is computed from, codec. None may be null: a projection counted Nullable wrongly (#74495).
COLUMNS = {
    "id": _NUMBER,
    "cdn": _NUMBER,
    "at_ms": _NUMBER,
    "key": _TEXT,
    "pass": _TEXT,
    "user": ("String", "MATERIALIZED substringIndex(pass, '|', 1)", ""),
    "app": _NAME,
    "appinst": _NAME,
    "video": _NAME,
    "ip": _address("ip"),
    "ip_hex": _DIGITS,
    "pageurl": _TEXT,
    "refurl": _TEXT,
    "user_agent": _TEXT,
    "server_ip": _address("server_ip"),
    "server_ip_hex": _DIGITS,
    "edge": _NUMBER,
    "cut": _NUMBER,
    "reason": _NAME,
    # One number for 100,000 rows: sorted by ticket it would be most of what a horizon has to read.
    "block": ("UInt32", "", "CODEC(Delta(4), LZ4)"),
    "incarnation": _NUMBER,
}

# name: type, granules to one entry.
INDEXES = {
    "block": ("minmax", 4),
    "pass": ("bloom_filter(0.0001)", 4),
    "user": ("bloom_filter(0.0001)", 4),
    "ip": ("bloom_filter(0.0001)", 4),
}

KINDS = {
    "engine": "MergeTree",
    "partition_key": "toYYYYMM(fromUnixTimestamp64Milli(at_ms, 'UTC'))",
    "sorting_key": "cdn, key, id",
    "primary_key": "cdn, key, id",
}
