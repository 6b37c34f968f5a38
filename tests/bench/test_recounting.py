"""The bench that asks again and again: it holds each answer against what it has sent, and sees one that is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from bench.counting import Checker, WrongCount
from bench.fill import fill
from bench.process import Account, Server, create_account, node
from bench.recounting import Tally, recount
from openusher.settings import LogKind

_ATTEMPTS, _TICKETS, _QUESTIONS = 2_000, 2_000, 40


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Account]:
    data = tmp_path_factory.mktemp("recounting") / "data"
    made = create_account(data)
    filling = fill(data, LogKind.LEDGER, cdn=made.signer.cdn, attempts=_ATTEMPTS, progress=lambda done: None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(filling)
    return data, made


@pytest.fixture
def door(account: tuple[Path, Account]) -> Iterator[Server]:
    with node(account[0], LogKind.LEDGER) as server:
        yield server


def test_every_answer_is_within_what_was_acknowledged_and_sent(door: Server, account: tuple[Path, Account]) -> None:
    """And then one more of some question is said to have been acknowledged."""
    tally = Tally.of_fill(tickets=_TICKETS, attempts=_ATTEMPTS, questions=_QUESTIONS)
    checker = Checker(door, account[1], _ATTEMPTS)
    checker.check_each(tally.questions, tally.acknowledged)
    asked = recount(door, account[1], tally, connections=4, questions=_QUESTIONS, seconds=0.5, rate=200)
    with asyncio.Runner() as runner:
        found = runner.run(asked)
    checker.check_each(tally.questions, tally.acknowledged)

    assert found.answers > _QUESTIONS
    assert tally.attempts > _ATTEMPTS
    assert tally.sent == tally.acknowledged

    tally.acknowledged[7] += 1
    with pytest.raises(WrongCount, match="acknowledged before"), asyncio.Runner() as runner:
        runner.run(recount(door, account[1], tally, connections=4, questions=_QUESTIONS, seconds=0.5, rate=200))
    with pytest.raises(WrongCount, match="acknowledged"):
        checker.check_each(tally.questions, tally.acknowledged)
