"""Every setting that the log's statements state, and what its questions would do without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from openusher.attemptlog.columnar import ColumnarLog
from openusher.errors import LogUnavailable
from openusher.model.address import Net
from openusher.model.search import AttemptFilter, Group, GroupBy
from tests.conftest import Promise
from tests.crash.contrarylog import BLOCK_ROWS, BLOCKS, COUNT_S_MAX, WHOLE, ContraryLog, varied_rows
from tests.crash.openedlog import CDN, held_of
from tests.crash.settingreasons import OF_FEW, STATEMENT
from tests.oracles import attempt_rows as oracle

pytestmark = [pytest.mark.crash]

# Before it is an error, in seconds; columnar.py has a reason at each.
_SECONDS_MAX = {"held": 60, "all held": 900, "rows by block": 20}
# What else is read while a question is measured: the engine's own tables.
_OTHER_ROWS = 2_000
_ROWS = BLOCKS * BLOCK_ROWS
_NEVER = range(1)


@pytest.fixture(scope="module")
def contrary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContraryLog]:
    with asyncio.Runner() as runner:
        contrary = ContraryLog(tmp_path_factory.mktemp("contrary") / "log", runner)
        # The schema has no projection; whether one that somebody adds is used, is a setting too.
        contrary.command("ALTER TABLE usher.attempts ADD PROJECTION by_block (SELECT block, count() GROUP BY block)")
        for number in range(1, BLOCKS + 1):
            contrary.insert(number, varied_rows(number))
        yield contrary
        contrary.close()


@pytest.fixture(scope="module")
def stated(contrary: ContraryLog) -> dict[str, list[dict[str, str]]]:
    return {kind: contrary.stated(ask) for kind, ask in contrary.questions().items()}


@pytest.mark.parametrize("setting", STATEMENT)
def test_every_question_states_what_its_engine_may_have_the_wrong_default_of(
    stated: dict[str, list[dict[str, str]]], setting: str, promise: Promise
) -> None:
    """The only test for those that change nothing our questions can show in chDB 26.9: max_threads (a choice of speed),
    the implicit projections (none fits a count with a horizon), the approximate count (not in MergeTree), top-k of
    groups (not for groups ordered by count) and top-k by skip index (not even with an index on id)."""
    found = {kind: [statement.get(setting) for statement in statements] for kind, statements in stated.items()}
    wanted = {kind: OF_FEW.get(kind, {}).get(setting, STATEMENT[setting].value) for kind in stated}

    assert {kind: [wanted[kind]] * len(statements) for kind, statements in stated.items()} == found
    promise("Counted exactly once", settings_stated_to_the_engine=1)


def test_a_question_states_nothing_else_but_how_long_it_may_take(stated: dict[str, list[dict[str, str]]]) -> None:
    """A new setting needs a reason in settingreasons.py."""
    for kind, statements in stated.items():
        seconds = str(_SECONDS_MAX.get(kind, COUNT_S_MAX))

        assert [{*STATEMENT, "max_execution_time"}] * len(statements) == [statement.keys() for statement in statements]
        assert {seconds} == {statement["max_execution_time"] for statement in statements}


class _Sign(NamedTuple):
    """How often an event may happen while a question is answered; without the setting it happens otherwise."""

    question: str
    event: str
    allowed: range


_SIGNS = {
    # The cache has no room in our process either (process.py), so it is missed at each look and cannot make a miscount.
    "use_query_condition_cache": _Sign("count of a key", "QueryConditionCacheMisses", _NEVER),
    "use_skip_indexes": _Sign("held", "SelectedParts", range(1, 2)),
    "use_skip_indexes_on_data_read": _Sign("held", "SelectedParts", range(1, 2)),
    "optimize_use_projections": _Sign("rows by block", "SelectedRows", range(_ROWS, _ROWS + _OTHER_ROWS)),
    "use_top_k_dynamic_filtering": _Sign("newest", "FilterTransformPassedRows", range(_OTHER_ROWS)),
    # Measured: 35 bytes a row, and 137 with the columns of those rows that are not shown.
    "query_plan_optimize_lazy_materialization": _Sign("newest", "SelectedBytes", range(70 * _ROWS)),
    "compile_expressions": _Sign("all held", "CompileFunction", _NEVER),
    "compile_aggregate_expressions": _Sign("all held", "CompileFunction", _NEVER),
    "compile_sort_description": _Sign("groups", "CompileFunction", _NEVER),
}


@pytest.mark.parametrize("setting", _SIGNS)
def test_the_engine_works_as_a_setting_wants_and_otherwise_without_it(contrary: ContraryLog, setting: str) -> None:
    question, event, allowed = _SIGNS[setting]
    ask = contrary.questions()[question]

    assert contrary.event(event, ask) in allowed
    assert contrary.event(event, ask, without=[setting]) not in allowed


def test_a_question_out_of_time_is_an_error_of_the_engine_and_not_a_part_of_the_answer(contrary: ContraryLog) -> None:
    """From so slow a disk it takes 2 s. The engine itself has to end it after 1 s, or its process would be killed."""
    log = ColumnarLog(contrary.recording, count_s_max=1)
    pid = contrary.engine.pid
    contrary.set({"max_local_read_bandwidth": "500000", "local_filesystem_read_method": "pread"})
    try:
        with pytest.raises(LogUnavailable, match="TIMEOUT_EXCEEDED"):
            contrary.run(log.groups(CDN, AttemptFilter(), GroupBy.IP, WHOLE, top=_ROWS))
        contrary.recording.without = frozenset({"timeout_overflow_mode"})
        partly = contrary.run(log.groups(CDN, AttemptFilter(), GroupBy.IP, WHOLE, top=_ROWS))
    finally:
        contrary.recording.without = frozenset()
        contrary.set({"max_local_read_bandwidth": "0"})

    assert pid == contrary.engine.pid
    assert sum(group.count for group in partly.groups) < _ROWS


def test_numbers_come_back_as_numbers(contrary: ContraryLog) -> None:
    rows = [row for number in range(1, BLOCKS + 1) for row in varied_rows(number)]
    expected = [Group(value, count) for value, count in oracle.groups(rows, "day")]

    assert expected == contrary.run(contrary.log.groups(CDN, AttemptFilter(), GroupBy.DAY, WHOLE, top=3)).groups
    assert held_of(2, varied_rows(2)) == contrary.run(contrary.log.held(2, table="attempts"))


_NOBODYS = Net(0xFFFF_CB00_7109, 0xFFFF_CB00_7109)


@pytest.mark.parametrize(
    ("search", "granules_max"),
    [
        (AttemptFilter(key="key5"), 2 * BLOCKS),
        (AttemptFilter(key="nobody"), BLOCKS),
        (AttemptFilter(password="nobody|"), 0),
        (AttemptFilter(user="nobody"), 0),
        (AttemptFilter(ip=_NOBODYS), 0),
    ],
    ids=["key", "no key", "pass", "user", "ip"],
)
def test_a_count_of_one_viewer_reads_little(contrary: ContraryLog, search: AttemptFilter, granules_max: int) -> None:
    """By rows that were read: a plan is no proof, and a granule of the default size has 8,192."""

    async def count() -> int:
        return await contrary.log.count(CDN, search, WHOLE)

    assert contrary.event("SelectedRows", count) <= granules_max * 2_048 + _OTHER_ROWS
