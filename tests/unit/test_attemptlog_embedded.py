"""Turns of accounts, frames between door and log process, and errors by their names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.turns import Turns
from openusher.attemptlog.embedded.wire import Answer, Ask, framed
from openusher.attemptlog.engine import Lane, Statement, error_of
from openusher.attemptlog.query import Query
from openusher.beside import FRAME_BYTES_MAX, HEADER_BYTES, body_size
from openusher.errors import LogDamaged, LogUnavailable
from openusher.model.block import Block


def taken(turns: Turns[str], number: int) -> list[str]:
    async def take() -> list[str]:
        return [await turns.get() for _ in range(number)]

    return asyncio.run(take())


def test_an_account_that_asks_much_does_not_make_another_wait() -> None:
    turns: Turns[str] = Turns(line_max=100)
    for number in range(50):
        turns.put(1, f"much {number}")
    turns.put(2, "one")
    turns.put(3, "two")
    turns.put(3, "three")

    assert taken(turns, 6) == ["much 0", "one", "two", "much 1", "three", "much 2"]


def test_questions_of_one_account_are_taken_in_order() -> None:
    turns: Turns[str] = Turns(line_max=100)
    for number in range(5):
        turns.put(1, str(number))

    assert taken(turns, 5) == ["0", "1", "2", "3", "4"]


def test_a_full_line_takes_no_more_and_another_account_still_may() -> None:
    turns: Turns[str] = Turns(line_max=2)

    assert [turns.put(1, "a"), turns.put(1, "b"), turns.put(1, "c"), turns.put(2, "d")] == [True, True, False, True]
    assert taken(turns, 3) == ["a", "d", "b"]
    assert turns.put(1, "e")


def test_who_waits_for_a_turn_gets_what_comes() -> None:
    async def wait() -> str:
        turns: Turns[str] = Turns(line_max=2)
        waiting = asyncio.create_task(turns.get())
        await asyncio.sleep(0)
        turns.put(1, "late")
        return await asyncio.wait_for(waiting, 5)

    assert asyncio.run(wait()) == "late"


def test_a_frame_is_its_length_and_its_message() -> None:
    frame = framed(Answer(number=1, rows=b"[1]\n"))

    assert body_size(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES


@pytest.mark.parametrize("header", [b"\0\0\0\0", b"\xff\xff\xff\xff", (FRAME_BYTES_MAX + 1).to_bytes(4, "big")])
def test_a_length_that_no_sender_writes_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="broken frame"):
        body_size(header)


@pytest.mark.parametrize("name", ["CHECKSUM_DOESNT_MATCH", "TOO_MANY_UNEXPECTED_DATA_PARTS", "CANNOT_READ_ALL_DATA"])
def test_broken_files_are_damage(name: str) -> None:
    assert isinstance(error_of(name), LogDamaged)


@pytest.mark.parametrize("name", ["TIMEOUT_EXCEEDED", "MEMORY_LIMIT_EXCEEDED", "NOT_ENOUGH_SPACE", "KeyError"])
def test_any_other_error_of_the_engine_is_no_answer(name: str) -> None:
    assert isinstance(error_of(name), LogUnavailable)


def test_a_statement_does_not_show_what_is_bound_to_it() -> None:
    statement = Statement(text="SELECT {p0:String}", params={"p0": "s3cret"}, lane=Lane.COUNT, seconds_max=1)

    assert "s3cret" not in f"{statement!r} {statement}"


@pytest.mark.parametrize(
    "message",
    [
        Ask(number=1, lane="count", text="SELECT {p0:String}", params={"p0": "s3cret"}, data=b'["s3cret"]'),
        Answer(number=1, rows=b'["s3cret"]'),
        Query("SELECT {p0:String}", {"p0": "s3cret"}),
    ],
    ids=["ask", "answer", "query"],
)
def test_what_goes_to_the_engine_and_back_does_not_show_a_value(message: Ask | Answer | Query) -> None:
    assert "s3cret" not in f"{message!r} {message}"


class ZeroEngine:
    """Answers with zeros, and remembers what it was asked."""

    starts = 1
    pid = None

    def __init__(self) -> None:
        self.asked: list[Statement] = []

    async def start(self, first: Sequence[Statement] = ()) -> None:
        self.asked.extend(first)

    async def execute(self, statement: Statement) -> list[list[Any]]:
        self.asked.append(statement)
        return [[[0], [0]]]

    async def text_of(self, statement: Statement) -> bytes:
        self.asked.append(statement)
        return b""

    async def close(self) -> None:
        self.asked.clear()


def test_what_counts_wait_for_after_a_start_may_take_seconds_and_not_minutes() -> None:
    async def verify() -> list[float]:
        engine = ZeroEngine()
        log = ColumnarLog(engine, count_s_max=10)
        await log.rows_by_block(table="attempts")
        return [statement.seconds_max for statement in engine.asked]

    assert max(asyncio.run(verify())) <= 20


def test_the_rows_of_a_block_travel_as_they_are_and_its_numbers_in_the_statement() -> None:
    """Or a decision would wait until a block has been written anew."""
    rows = b'["line one\\n",1]\n["line two",2]'
    block = Block(number=12, incarnation=5, first_id=1, last_id=2, rows=2, digest="", shipped=False)
    engine = ZeroEngine()
    asyncio.run(ColumnarLog(engine, count_s_max=10).insert(block, rows, table="attempts"))
    (asked,) = engine.asked

    assert asked.data is rows
    assert "reason, 12, 5 FROM input(" in asked.text
