"""The table by time: what is asked of it, and that it is made anew whenever it may not agree with the table of
attempts."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from openusher.attemptlog import bytime
from openusher.errors import LogDamaged
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.attempts_to_ship import BLOCKS, CDN, MONTH_END_MS, START_MS, WHOLE, expected
from tests.conformance.derivedlog import (
    ALL_ROWS,
    BY_TIME,
    FILLING,
    NOVEMBER,
    SEARCH,
    Derived,
    again,
    whole,
)
from tests.crash.openedlog import until


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Derived]:
    """For tests that change nothing."""
    with asyncio.Runner() as runner:
        derived = whole(tmp_path_factory.mktemp("asked") / "log", runner)
        yield derived
        derived.close()


SINCE = AttemptFilter(after_id=5_000)


@pytest.mark.parametrize(
    ("search", "horizon", "by", "table"),
    [
        (SEARCH, WHOLE, None, BY_TIME),
        (AttemptFilter(before_ms=MONTH_END_MS), WHOLE, GroupBy.IP, BY_TIME),
        (SINCE, Horizon(upto=8, behind=4), None, BY_TIME),
        (AttemptFilter(), WHOLE, GroupBy.HOUR, BY_TIME),
        (AttemptFilter(), WHOLE, GroupBy.DAY, BY_TIME),
        (AttemptFilter(), WHOLE, GroupBy.KEY, "attempts "),
        (AttemptFilter(), WHOLE, None, "attempts "),
        (replace(SEARCH, key="plain"), WHOLE, None, "attempts "),
        (replace(SEARCH, password="plain"), WHOLE, None, "attempts "),
        (SEARCH, Horizon(upto=9), None, "attempts "),
    ],
    ids=["range", "group of a range", "since", "by hour", "by day", "by key", "all", "key", "pass", "a block to come"],
)
def test_only_questions_about_time_are_asked_of_the_table_by_time(
    asked: Derived, search: AttemptFilter, horizon: Horizon, by: GroupBy | None, table: str
) -> None:
    if by is None:
        asked.run(asked.log.count(CDN, search, horizon))
    else:
        asked.run(asked.log.groups(CDN, search, by, horizon, top=5))

    assert f"FROM usher.{table}" in f"{asked.engine.question} "


def test_a_log_that_has_none_is_filled_while_blocks_come_and_answers_what_came_since(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(1, 2, 3, 4, 5, 6)
    derived.engine.waits = FILLING
    derived.run(derived.log.derive(6, released=0))
    derived.insert(7)
    derived.run(derived.log.derive(7, released=0))

    assert not derived.is_by_time(Horizon(upto=7))
    assert derived.is_by_time(Horizon(upto=7, behind=6))
    derived.engine.goes_on.set()
    derived.derive(7)
    assert len(expected(NOVEMBER, Horizon(upto=7))) == derived.count(horizon=Horizon(upto=7))
    assert sum(len(BLOCKS[number]) for number in range(1, 8)) == derived.rows()
    derived.close()


@pytest.mark.parametrize("first", [3, 6], ids=["a block", "months"])
def test_one_that_cannot_be_made_is_tried_again_later(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(*range(1, first + 1))
    derived.engine.damaged = "INSERT INTO usher.attempts_by_time"

    async def fail() -> None:
        with suppress(LogDamaged):
            await derived.log.derive(first, released=0)
        await until(lambda: any(derived.engine.damaged in text for text in derived.engine.asked))

    derived.run(fail())
    derived.engine.damaged = ""
    derived.engine.asked.clear()
    derived.run(derived.log.derive(first, released=0))
    assert derived.engine.asked == []
    later = time.monotonic() + bytime._RETRY_S
    monkeypatch.setattr("openusher.attemptlog.bytime.time", SimpleNamespace(monotonic=lambda: later))
    derived.derive(first)
    assert sum(len(BLOCKS[number]) for number in range(1, first + 1)) == derived.rows()
    derived.close()


@pytest.mark.parametrize(
    "fault",
    [
        f"INSERT INTO usher.{BY_TIME} SELECT * FROM usher.{BY_TIME} WHERE block = 3",
        f"INSERT INTO usher.{BY_TIME} SELECT * REPLACE (9 AS block) FROM usher.{BY_TIME} WHERE block = 3",
        f"ALTER TABLE usher.{BY_TIME} DELETE WHERE block = 6 SETTINGS mutations_sync = 2",
        f"ALTER TABLE usher.{BY_TIME} DELETE WHERE id = 8000 SETTINGS mutations_sync = 2",
        f"TRUNCATE TABLE usher.{BY_TIME}",
        f"DROP TABLE usher.{BY_TIME}",
    ],
    ids=["a block twice", "an unknown block", "a block missing", "a row missing", "empty", "gone"],
)
def test_one_that_does_not_agree_at_the_start_is_made_anew(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path, fault: str
) -> None:
    derived.execute(fault)
    opened = again(derived, runner, tmp_path)

    assert not opened.is_by_time()
    opened.derive()
    assert len(expected(NOVEMBER)) == opened.count()
    assert opened.rows() == ALL_ROWS
    opened.close()


def test_one_that_agrees_is_not_made_anew(derived: Derived, runner: asyncio.Runner, tmp_path: Path) -> None:
    opened = again(derived, runner, tmp_path)
    opened.derive()

    assert not any("INSERT" in text or "TRUNCATE" in text for text in opened.engine.asked)
    opened.close()


def test_what_came_last_before_a_crash_is_put_in_by_itself(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path
) -> None:
    derived.execute(f"ALTER TABLE usher.{BY_TIME} DELETE WHERE block = 8 SETTINGS mutations_sync = 2")
    opened = again(derived, runner, tmp_path)
    opened.derive()

    assert not any("TRUNCATE" in text for text in opened.engine.asked)
    assert (ALL_ROWS, len(expected(NOVEMBER))) == (opened.rows(), opened.count())
    opened.close()


def test_a_new_process_is_not_asked_for_it_before_it_was_looked_at(derived: Derived) -> None:
    async def kill() -> None:
        starts = derived.engine.starts
        assert derived.engine._child is not None
        derived.engine._child.kill()
        await until(lambda: derived.engine.starts > starts)

    assert derived.is_by_time()
    derived.run(kill())
    assert not derived.is_by_time()
    derived.derive()


def test_one_that_cannot_be_read_is_answered_for_and_looked_at_again(derived: Derived) -> None:
    derived.engine.damaged = f"FROM usher.{BY_TIME}"

    assert len(expected(NOVEMBER)) == derived.count()
    derived.engine.damaged = ""
    assert not derived.is_by_time()
    derived.derive()


def wrong(derived: Derived) -> list[int]:
    return [*derived.run(derived.log.wrongly_derived(released=0, anonymised_upto=0))]


CHANGE = f"ALTER TABLE usher.{BY_TIME} UPDATE video = 'another' WHERE id IN (3000, 6003) SETTINGS mutations_sync = 2"


def test_a_check_finds_what_differs_in_it_and_it_is_made_anew(derived: Derived) -> None:
    assert wrong(derived) == []
    derived.execute(CHANGE)
    assert wrong(derived) == [3, 6]
    derived.run(derived.log.derive_anew())
    assert not derived.is_by_time()
    derived.derive()
    assert wrong(derived) == []
    derived.engine.damaged = f"FROM usher.{BY_TIME} WHERE block >"
    assert wrong(derived) == list(BLOCKS)


def test_a_check_of_a_stopped_node_finds_it_too_but_not_what_is_made_anew_anyway(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path
) -> None:
    derived.execute(CHANGE)
    opened = again(derived, runner, tmp_path)
    assert wrong(opened) == [3, 6]
    opened.execute(f"ALTER TABLE usher.{BY_TIME} DELETE WHERE id = 6000 SETTINGS mutations_sync = 2")
    opened = again(opened, runner, tmp_path)
    assert wrong(opened) == []
    opened.close()


def test_a_damaged_part_of_it_is_put_aside_at_the_start(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path
) -> None:
    derived.close()
    parts = list((tmp_path / "log" / "chdb" / "store").glob("*/*/2026-*"))
    for part in parts:
        (part / "data.bin").write_bytes(b"")
    assert parts
    opened = Derived(tmp_path / "log", runner)

    assert len(expected(NOVEMBER)) == opened.count()
    opened.derive()
    assert (ALL_ROWS, len(expected(NOVEMBER))) == (opened.rows(), opened.count())
    opened.close()


def test_switched_off_it_is_taken_away(derived: Derived, runner: asyncio.Runner, tmp_path: Path) -> None:
    derived.close()
    without = Derived(tmp_path / "log", runner, by_time=False)

    assert without.execute(f"SELECT name FROM system.tables WHERE name = '{BY_TIME}'") == []
    assert len(expected(NOVEMBER)) == without.count()
    assert without.run(without.log.wrongly_derived(released=0, anonymised_upto=0)) == ()
    without.close()


def test_a_backup_holds_none_of_it_and_what_is_restored_is_made_anew(
    derived: Derived, runner: asyncio.Runner, tmp_path: Path
) -> None:
    frozen = derived.run(derived.log.freeze())
    restored = tmp_path / "restored"
    for place, source in frozen.sources.items():
        target = restored / "log" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        origin = tmp_path / "log" / source
        shutil.copytree(origin, target) if origin.is_dir() else shutil.copy(origin, target)
    for place, link in frozen.links.items():
        (restored / "log" / place).parent.mkdir(parents=True, exist_ok=True)
        (restored / "log" / place).symlink_to(link)

    assert not any("/2026-" in place for place in frozen.sources)
    opened = Derived(restored / "log", runner)
    assert opened.rows() == 0
    opened.derive()
    assert (ALL_ROWS, len(expected(NOVEMBER))) == (opened.rows(), opened.count())
    opened.close()


def test_what_is_removed_and_anonymised_is_so_in_it_too(derived: Derived) -> None:
    derived.run(derived.log.anonymise(upto=6, table="attempts"))
    derived.run(derived.log.remove(upto=2, table="attempts"))
    finer = f"SELECT count() FROM usher.{BY_TIME} WHERE ip IN ('::ffff:192.0.2.200', '2001:db8::2') AND block"

    derived.settle()
    assert derived.execute(f"SELECT min(block) FROM usher.{BY_TIME}") == [[3]]
    assert derived.execute(f"{finer} <= 6") == [[0]]
    assert derived.execute(f"{finer} > 6") != [[0]]
    assert derived.run(derived.log.wrongly_derived(released=2, anonymised_upto=6)) == []


def test_what_is_released_is_of_no_matter(derived: Derived, runner: asyncio.Runner, tmp_path: Path) -> None:
    """A crash may leave some of it in one table, and some in the other."""
    derived.execute(f"ALTER TABLE usher.{BY_TIME} DELETE WHERE id < 2050 SETTINGS mutations_sync = 2")
    opened = again(derived, runner, tmp_path)
    opened.derive(released=2)

    assert not any("TRUNCATE" in text for text in opened.engine.asked)
    assert len(expected(NOVEMBER)) == opened.count(horizon=replace(WHOLE, from_ms=START_MS))
    opened.close()
