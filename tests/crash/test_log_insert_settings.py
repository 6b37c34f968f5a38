"""Every setting that an insert states, and what would be stored without."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import count

import pytest

from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.contrarylog import ContraryLog, varied_rows
from tests.crash.openedlog import CDN, block_of, held_of
from tests.crash.settingreasons import INSERT, STATEMENT
from tests.oracles import attempt_rows as oracle

pytestmark = [pytest.mark.crash]

# Ten of the pieces that the worst defaults cut a block into.
_ROWS = 1_000
_ONE_MONTH_MS = 31 * 86_400_000
_numbers = count(1)


@pytest.fixture(scope="module")
def contrary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContraryLog]:
    with asyncio.Runner() as runner:
        contrary = ContraryLog(tmp_path_factory.mktemp("contrary") / "log", runner)
        yield contrary
        contrary.close()


@pytest.fixture
def number() -> int:
    return next(_numbers)


_STATED = 9_001


@pytest.fixture(scope="module")
def stated(contrary: ContraryLog) -> dict[str, str]:
    rows = varied_rows(_STATED, 10)

    async def insert() -> None:
        await contrary.log.insert(block_of(_STATED, rows), oracle.block_bytes(rows), table="attempts")

    (only,) = contrary.stated(insert)
    return only


@pytest.mark.parametrize("setting", [*STATEMENT, *INSERT])
def test_an_insert_states_what_its_engine_may_have_the_wrong_default_of(
    stated: dict[str, str], setting: str, promise: Promise
) -> None:
    """The only test for those that change nothing of what is stored in chDB 26.9: async_insert (it has no queue, but a
    server has), max_insert_threads and input_format_parallel_parsing (pieces are put together again),
    max_insert_block_size (for rows that follow a statement, as they do to a server) and
    input_format_defaults_for_omitted_fields (our rows omit none)."""
    assert {**STATEMENT, **INSERT}[setting].value == stated.get(setting)
    promise("Counted exactly once", settings_stated_to_the_engine=1)


def test_an_insert_states_nothing_else_but_its_token_and_how_long_it_may_take(stated: dict[str, str]) -> None:
    """A new setting needs a reason in settingreasons.py. The incarnation is in the token because a restored ledger
    gives the same numbers to other rows, which the engine would drop and report as stored. The engine's life is in it
    because a kill may leave a token without its rows, which would then be dropped for good."""
    others = {"insert_deduplication_token", "max_execution_time"}

    assert {*STATEMENT, *INSERT, *others} == stated.keys()
    assert re.fullmatch(rf"5-{_STATED}-attempts-[0-9a-f]{{8}}-1", stated["insert_deduplication_token"])
    assert stated["max_execution_time"] == "60"


@pytest.mark.parametrize(
    "without",
    [(), ("max_block_size",), ("min_insert_block_size_rows", "min_insert_block_size_bytes")],
    ids=["as it is", "rows that are read in pieces", "small pieces"],
)
def test_a_block_is_one_part(contrary: ContraryLog, number: int, without: tuple[str, ...]) -> None:
    """What is read in pieces is put together unless small ones are enough, so either helps alone."""
    contrary.insert(number, varied_rows(number, _ROWS), without=without)

    assert contrary.parts(number) == [_ROWS]


@pytest.mark.parametrize(
    "without",
    [("max_block_size", "min_insert_block_size_rows"), ("max_block_size", "min_insert_block_size_bytes")],
    ids=["pieces of few rows", "pieces of few bytes"],
)
def test_without_its_settings_a_block_is_many_parts(
    contrary: ContraryLog, number: int, without: tuple[str, ...]
) -> None:
    """Or the test above would show nothing."""
    contrary.insert(number, varied_rows(number, _ROWS), without=without)

    assert len(contrary.parts(number)) > 1
    assert sum(contrary.parts(number)) == _ROWS


@pytest.mark.parametrize(
    ("without", "times"),
    [((), 1), (("insert_deduplicate",), 2), (("insert_deduplication_token",), 2)],
    ids=["as it is", "told not to look", "without a token"],
)
def test_a_block_sent_twice_is_stored_once_and_only_by_its_settings(
    contrary: ContraryLog, number: int, without: tuple[str, ...], times: int
) -> None:
    """In another order, so that the engine knows it by the token and not by its bytes."""
    rows = varied_rows(number, _ROWS)

    contrary.insert(number, rows, without=without)
    contrary.insert(number, [*rows[:1], *rows[-2:0:-1], *rows[-1:]], without=without)

    assert contrary.parts(number) == [_ROWS] * times


@pytest.mark.parametrize(
    "without",
    ["max_partitions_per_insert_block", "throw_on_max_partitions_per_insert_block"],
)
def test_a_block_over_two_months_is_refused_and_only_by_its_settings(
    contrary: ContraryLog, number: int, without: str
) -> None:
    rows = varied_rows(number, _ROWS)
    for row in rows[_ROWS // 2 :]:
        row["at_ms"] += _ONE_MONTH_MS

    with pytest.raises(LogUnavailable, match="TOO_MANY_PARTS"):
        contrary.insert(number, rows)

    assert contrary.parts(number) == []
    contrary.insert(number, rows, without=[without])
    assert contrary.parts(number) == [_ROWS // 2] * 2


def test_a_null_is_refused_and_only_by_its_setting(contrary: ContraryLog, number: int) -> None:
    rows = varied_rows(number, _ROWS)
    rows[500]["app"] = None

    with pytest.raises(LogUnavailable):
        contrary.insert(number, rows)

    assert contrary.parts(number) == []
    contrary.insert(number, rows, without=["input_format_null_as_default"])
    assert contrary.parts(number) == [_ROWS]


def test_a_new_block_can_be_searched_by_its_skip_indexes_and_only_by_its_setting(contrary: ContraryLog) -> None:
    first, second = next(_numbers), next(_numbers)

    def granules(number: int) -> int:
        horizon = Horizon(upto=number, but=tuple(range(1, number)))
        return contrary.event("SelectedMarks", lambda: contrary.log.count(CDN, AttemptFilter(user="nobody"), horizon))

    contrary.insert(first, varied_rows(first, _ROWS))
    before = granules(first)
    contrary.insert(second, varied_rows(second, _ROWS), without=["materialize_skip_indexes_on_insert"])

    assert before == 0
    assert granules(second) > 0


def test_what_is_held_of_a_block_is_what_was_sent(contrary: ContraryLog, number: int) -> None:
    contrary.insert(number, varied_rows(number, _ROWS))

    assert held_of(number, varied_rows(number, _ROWS)) == contrary.run(contrary.log.held(number, table="attempts"))
