"""The table by time while it changes: who counts meanwhile counts what is there, and nothing stays that is to go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openusher.attemptlog.schema import IS_PLAIN
from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from tests.conformance.attempts_to_ship import CDN, WHOLE
from tests.conformance.derivedlog import (
    ALL_ROWS,
    BY_TIME,
    FILLING,
    NOVEMBER,
    SEARCH,
    Derived,
    again,
    expected_of,
)
from tests.crash.openedlog import until


async def asked(derived: Derived, words: str) -> None:
    await until(lambda: any(words in text for text in derived.engine.asked))


def test_a_count_that_has_begun_when_it_is_emptied_is_counted_in_the_other_table(derived: Derived) -> None:
    async def count_while_it_goes() -> int:
        derived.engine.asked.clear()
        derived.engine.waits = f"SELECT count() FROM usher.{BY_TIME}"
        counting = asyncio.create_task(derived.log.count(CDN, SEARCH, WHOLE))
        await asked(derived, derived.engine.waits)
        await derived.log.derive_anew()
        derived.engine.goes_on.set()
        return await counting

    assert expected_of(NOVEMBER) == derived.run(count_while_it_goes())


def test_one_that_is_emptied_while_blocks_are_followed_is_looked_at_again(derived: Derived) -> None:
    async def follow_while_it_goes() -> None:
        derived.engine.waits = "TRUNCATE"
        emptying = asyncio.create_task(derived.log.derive_anew())
        await asked(derived, "TRUNCATE")
        following = asyncio.create_task(derived.log.derive(8, released=0))
        await asyncio.sleep(0.2)
        derived.engine.goes_on.set()
        await asyncio.gather(emptying, following)

    derived.run(follow_while_it_goes())
    assert expected_of(NOVEMBER) == derived.count()
    derived.derive()
    assert (ALL_ROWS, expected_of(NOVEMBER)) == (derived.rows(), derived.count())


def test_a_fill_that_is_doubted_comes_to_its_end_before_another_begins(tmp_path: Path, runner: asyncio.Runner) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(*range(1, 9))

    async def doubt_it() -> None:
        # October is in, and November, blocks 5 to 8, is on its way.
        derived.engine.waits = "_partition_id = '202611'"
        await derived.log.derive(8, released=0)
        await asked(derived, derived.engine.waits)
        assert derived.log._by_time is not None
        derived.log._by_time.doubt()
        for _ in range(3):
            await derived.log.derive(8, released=0)
        derived.engine.goes_on.set()
        await asyncio.sleep(0.5)

    derived.run(doubt_it())
    derived.derive()
    assert (ALL_ROWS, expected_of(NOVEMBER)) == (derived.rows(), derived.count())
    derived.close()


def test_what_is_to_go_waits_for_a_fill_that_may_still_bring_it(tmp_path: Path, runner: asyncio.Runner) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(*range(1, 9))
    derived.engine.waits = FILLING
    derived.run(derived.log.derive(8, released=0))

    with pytest.raises(LogUnavailable):
        derived.run(derived.log.remove(upto=2, table="attempts"))
    with pytest.raises(LogUnavailable):
        derived.run(derived.log.anonymise(upto=6, table="attempts"))
    derived.engine.goes_on.set()
    derived.derive()
    derived.run(derived.log.remove(upto=2, table="attempts"))
    derived.run(derived.log.anonymise(upto=6, table="attempts"))
    derived.settle()
    assert derived.execute(f"SELECT min(block) FROM usher.{BY_TIME}") == [[3]]
    assert derived.execute(f"SELECT count() FROM usher.{BY_TIME} WHERE block <= 6 AND {IS_PLAIN[BY_TIME]}") == [[0]]
    derived.close()


def test_it_is_not_filled_while_what_is_to_go_is_still_there(tmp_path: Path, runner: asyncio.Runner) -> None:
    derived = Derived(tmp_path / "log", runner)
    derived.insert(*range(1, 9))
    derived.execute("SYSTEM STOP MERGES usher.attempts")
    derived.run(derived.log.anonymise(upto=6, table="attempts"))
    derived.run(derived.log.derive(8, released=0))

    assert derived.log._by_time is not None
    assert not derived.log._by_time.is_filling
    assert derived.rows() == 0
    derived.close()


def test_damage_of_it_stops_nothing_and_is_mended(derived: Derived) -> None:
    derived.engine.damaged = BY_TIME
    removed = derived.run(derived.log.remove(upto=2, table="attempts"))
    anonymised = derived.run(derived.log.anonymise(upto=6, table="attempts"))

    assert min(removed, anonymised) > 0
    assert expected_of(NOVEMBER) == derived.count()
    assert derived.run(derived.log.wrongly_derived(released=2, anonymised_upto=6)) == [3, 4, 5, 6, 7, 8]
    derived.engine.damaged = ""
    derived.engine.asked.clear()
    derived.settle()
    derived.derive(released=2)
    assert any("TRUNCATE" in text for text in derived.engine.asked)
    assert derived.run(derived.log.wrongly_derived(released=2, anonymised_upto=6)) == []


def test_parts_that_were_put_aside_go_with_it(derived: Derived, runner: asyncio.Runner, tmp_path: Path) -> None:
    derived.close()
    store = tmp_path / "log" / "chdb" / "store"
    for part in store.glob("*/*/2026-*"):
        (part / "data.bin").write_bytes(b"")
    opened = Derived(tmp_path / "log", runner)
    aside = list(store.glob("*/*/detached/*2026-*"))

    assert aside
    opened.derive()
    assert list(store.glob("*/*/detached/*2026-*")) == []
    opened.close()


def test_a_log_of_which_all_is_released_is_followed(derived: Derived, runner: asyncio.Runner, tmp_path: Path) -> None:
    derived.execute("TRUNCATE TABLE usher.attempts")
    opened = again(derived, runner, tmp_path)
    opened.run(opened.log.derive(8, released=7))

    assert opened.run(opened.log.count(CDN, SEARCH, Horizon(upto=8, behind=7))) == 0
    opened.close()
