"""The bound that keeps later blocks out of an answer: left away where there are none, and never where one could be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.engine import Statement
from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.attempts_to_ship import BLOCKS, CDN, WHOLE, block_of, inside
from tests.conformance.derivedlog import BY_TIME, NOVEMBER, SEARCH, Derived, again, expected_of
from tests.crash.openedlog import until
from tests.oracles import attempt_rows as oracle

ATTEMPTS = "attempts"
EVERYTHING = AttemptFilter()
UPTO_5 = Horizon(upto=5)


async def _count(log: ColumnarLog, horizon: Horizon) -> int:
    return await log.count(CDN, EVERYTHING, horizon)


async def _groups(log: ColumnarLog, horizon: Horizon) -> int:
    return (await log.groups(CDN, EVERYTHING, GroupBy.USER, horizon, top=1)).attempts


async def _counts_of(log: ColumnarLog, horizon: Horizon) -> int:
    reasons = sorted({row["reason"] for rows in BLOCKS.values() for row in rows})
    return sum((await log.counts_of(CDN, EVERYTHING, GroupBy.REASON, horizon, values=reasons)).values())


async def _totals(log: ColumnarLog, horizon: Horizon) -> int:
    return sum(total.attempts for total in await log.totals(CDN, EVERYTHING, horizon, most=10_000))


Question = Callable[[ColumnarLog, Horizon], Coroutine[Any, Any, int]]
QUESTIONS: list[Question] = [_count, _groups, _counts_of, _totals]


def looked_at(derived: Derived) -> None:
    """As after every start, before the first question."""
    derived.run(derived.log.rows_by_block(table=ATTEMPTS))


def is_bounded(derived: Derived) -> bool:
    return "block <=" in derived.engine.question


def asked(derived: Derived) -> int:
    """How many questions the engine was asked since the last time."""
    number = sum(text.lstrip().startswith("SELECT") for text in derived.engine.asked)
    derived.engine.asked.clear()
    return number


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_is_left_away_where_no_later_block_is_there(derived: Derived, question: Question) -> None:
    looked_at(derived)
    asked(derived)

    for horizon, bounded in (
        (WHOLE, False), (replace(WHOLE, upto=100), False), (replace(WHOLE, but=(2, 7)), False),
        (UPTO_5, True), (replace(WHOLE, upto=7, behind=3), True),
    ):  # fmt: skip
        assert len(inside(horizon)) == derived.run(question(derived.log, horizon))
        assert (horizon, is_bounded(derived), asked(derived)) == (horizon, bounded, 1)


def test_it_stays_until_somebody_has_looked_what_there_is(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path
) -> None:
    opened = again(derived, runner, tmp_path)

    assert len(inside(UPTO_5)) == opened.run(_count(opened.log, UPTO_5))
    assert len(inside(WHOLE)) == opened.run(_count(opened.log, WHOLE))
    assert is_bounded(opened)
    looked_at(opened)
    assert len(inside(UPTO_5)) == opened.run(_count(opened.log, UPTO_5))
    assert is_bounded(opened)
    opened.close()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_block_that_comes_while_it_is_counted_is_left_out(
    tmp_path: Path, runner: asyncio.Runner, question: Question
) -> None:
    derived = Derived(tmp_path / "log", runner, by_time=False)
    derived.insert(*range(1, 6))
    looked_at(derived)

    async def count_while_one_comes() -> int:
        derived.engine.question, derived.engine.waits = "", "FROM usher.attempts"
        counting = asyncio.create_task(question(derived.log, UPTO_5))
        await until(lambda: derived.engine.waits in derived.engine.question)
        assert not is_bounded(derived)
        derived.engine.waits = ""
        await derived.insert_block(6)
        derived.engine.goes_on.set()
        return await counting

    assert len(inside(UPTO_5)) == derived.run(count_while_one_comes())
    assert is_bounded(derived)
    assert len(inside(replace(WHOLE, upto=6))) == derived.run(question(derived.log, replace(WHOLE, upto=6)))
    assert not is_bounded(derived)
    derived.close()


def test_a_block_that_is_there_before_its_insert_is_answered_is_left_out(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = Derived(tmp_path / "log", runner, by_time=False)
    derived.insert(*range(1, 6))
    looked_at(derived)
    carry_out = derived.engine._carried_out

    async def count_before_the_answer() -> int:
        is_done, is_counted = asyncio.Event(), asyncio.Event()

        async def answer_late(statement: Statement) -> bytes:
            answer = await carry_out(statement)
            if statement.data is not None:
                is_done.set()
                await is_counted.wait()
            return answer

        monkeypatch.setattr(derived.engine, "_carried_out", answer_late)
        inserting = asyncio.create_task(derived.insert_block(6))
        await is_done.wait()
        counted = await _count(derived.log, UPTO_5)
        is_counted.set()
        await inserting
        return counted

    assert len(inside(UPTO_5)) == derived.run(count_before_the_answer())
    derived.close()


def test_a_block_that_comes_while_it_is_counted_by_time_is_left_out(tmp_path: Path, runner: asyncio.Runner) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(*range(1, 7))
    derived.derive(6)
    looked_at(derived)
    horizon = replace(WHOLE, upto=6)

    async def count_while_one_comes() -> int:
        derived.engine.question, derived.engine.waits = "", f"SELECT count() FROM usher.{BY_TIME}"
        counting = asyncio.create_task(derived.log.count(CDN, SEARCH, horizon))
        await until(lambda: derived.engine.waits in derived.engine.question)
        assert not is_bounded(derived)
        derived.engine.waits = ""
        await derived.insert_block(7)
        await derived.log.derive(7, released=0)
        derived.engine.goes_on.set()
        return await counting

    assert expected_of(NOVEMBER, horizon) == derived.run(count_while_one_comes())
    derived.close()


def test_it_stays_where_a_block_may_have_come_that_nobody_has_seen(
    derived: Derived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An insert that failed may have been done."""
    looked_at(derived)

    async def fail(statement: Any) -> Any:
        raise LogUnavailable("the attempt log is starting again")

    nine = replace(block_of(8, BLOCKS[8]), number=9)
    inserting = derived.log.insert(nine, oracle.block_bytes(BLOCKS[8]), table=ATTEMPTS)
    monkeypatch.setattr(derived.engine, "execute", fail)
    with pytest.raises(LogUnavailable):
        derived.run(inserting)

    assert len(inside(WHOLE)) == derived.run(_count(derived.log, WHOLE))
    assert is_bounded(derived)
