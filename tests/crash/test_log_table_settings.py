"""What the log's table was made with, and what a damaged or merged table would do without. Syncs: test_log_syncs.py."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openusher.attemptlog.engine import Lane, Statement
from openusher.errors import LogDamaged
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.openedlog import CDN, Opened, rows_of
from tests.crash.settingreasons import COLUMNS, INDEXES, KINDS, TABLE

pytestmark = [pytest.mark.crash]

_WHERE = "database = 'usher' AND table = 'attempts'"
_BLOCK_ROWS = 300
_WHOLE = Horizon(upto=2)


async def _asked(opened: Opened, text: str) -> list[list[Any]]:
    return await opened.engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=60))


async def _filled(folder: Path, *lax: str) -> None:
    """A closed log of two blocks, each a part, whose table was told `lax` settings afterwards."""
    async with Opened(folder) as opened:
        await _asked(opened, "SYSTEM STOP MERGES usher.attempts")
        for number in (1, 2):
            await opened.insert(number, rows_of(number, _BLOCK_ROWS))
        for setting in lax:
            await _asked(opened, f"ALTER TABLE usher.attempts MODIFY SETTING {setting}")


def _parts(folder: Path) -> list[Path]:
    found = (path for path in (folder / "chdb" / "store").rglob("2026*_*") if path.is_dir())
    return sorted(path for path in found if path.parent.name != "detached")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "log"
    shutil.rmtree(tmp_path / "log")


# --- as the engine shows it -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    """The engine's own account of an empty log's table."""
    columns = "name, type, trimRight(concat(default_kind, ' ', default_expression)), compression_codec"
    texts = {
        "columns": f"SELECT {columns} FROM system.columns WHERE {_WHERE} ORDER BY position",
        "indexes": f"SELECT name, type_full, granularity, expr FROM system.data_skipping_indices WHERE {_WHERE}",
        "kinds": f"SELECT {', '.join(KINDS)} FROM system.tables WHERE {_WHERE}",
        "engine": f"SELECT engine_full FROM system.tables WHERE {_WHERE}",
    }

    async def look() -> dict[str, list[list[Any]]]:
        async with Opened(tmp_path_factory.mktemp("made") / "log") as opened:
            return {name: await _asked(opened, text) for name, text in texts.items()}

    return asyncio.run(look())


def _settings(engine_full: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+) = (\w+)", engine_full.partition(" SETTINGS ")[2]))


@pytest.mark.parametrize("setting", TABLE)
def test_the_table_was_made_with_each_setting(made: dict[str, list[list[Any]]], setting: str) -> None:
    assert TABLE[setting][0] == _settings(made["engine"][0][0]).get(setting)


def test_the_table_has_no_setting_and_no_clause_without_a_reason(made: dict[str, list[list[Any]]]) -> None:
    """A new setting needs a reason in settingreasons.py. No TTL either: only the retention horizon removes attempts."""
    engine = made["engine"][0][0]

    assert TABLE.keys() == _settings(engine).keys()
    assert list(KINDS.values()) == made["kinds"][0]
    assert (
        f"MergeTree PARTITION BY {KINDS['partition_key']} ORDER BY ({KINDS['sorting_key']})"
        == (engine.partition(" SETTINGS ")[0])
    )


def test_a_table_of_an_older_version_is_told_what_makes_counts_faster(folder: Path) -> None:
    def base(engine: list[list[Any]]) -> str | None:
        return _settings(engine[0][0]).get("merge_selector_base")

    async def open_again() -> None:
        look = f"SELECT engine_full FROM system.tables WHERE {_WHERE}"
        async with Opened(folder) as opened:
            await _asked(opened, "ALTER TABLE usher.attempts RESET SETTING merge_selector_base")
            assert base(await _asked(opened, look)) is None
        for _ in range(2):
            async with Opened(folder) as opened:
                assert base(await _asked(opened, look)) == "2"

    asyncio.run(open_again())


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_has_its_type_its_source_and_its_codec(made: dict[str, list[list[Any]]], column: str) -> None:
    """By report: what a type or a codec saves is a figure of the bench, and a null is refused before it is stored."""
    kind, source, codec = {name: rest for name, *rest in made["columns"]}[column]

    assert COLUMNS[column] == (kind, source.removesuffix(" defaultValueOfTypeName('String')"), codec)


def test_there_are_no_other_columns(made: dict[str, list[list[Any]]]) -> None:
    assert list(COLUMNS) == [name for name, *_ in made["columns"]]


def test_each_filter_has_its_skip_index(made: dict[str, list[list[Any]]]) -> None:
    expected = {name: (kind, granules, name) for name, (kind, granules) in INDEXES.items()}

    assert expected == {name: (kind, granules, of) for name, kind, granules, of in made["indexes"]}


# --- damage ---------------------------------------------------------------------------------------------------------


def _cut_to_half(part: Path) -> None:
    data = part / "data.bin"
    os.truncate(data, data.stat().st_size // 2)


def _cut_to_nothing(part: Path) -> None:
    """What a power loss leaves of files that were not synced."""
    for path in part.iterdir():
        os.truncate(path, 0)


_MANY_PARTS = "max_suspicious_broken_parts = 100"
_MANY_BYTES = "max_suspicious_broken_parts_bytes = 1073741824"


@pytest.mark.parametrize(
    ("damage", "lax"),
    [(_cut_to_nothing, _MANY_BYTES), (_cut_to_nothing, None), (_cut_to_half, _MANY_PARTS)],
    ids=["no bytes are too many parts", "as it is", "one part is too many bytes"],
)
def test_a_damaged_part_is_an_error_by_each_of_the_two_settings(
    folder: Path, damage: Callable[[Path], None], lax: str | None, promise: Promise
) -> None:
    """Where one is lax the other has to see it."""

    async def open_damaged() -> None:
        await _filled(folder, *([lax] if lax else []))
        damage(_parts(folder)[0])
        opened = Opened(folder)
        try:
            with pytest.raises(LogDamaged):
                await opened.log.start()
        finally:
            await opened.log.close()

    asyncio.run(open_damaged())
    promise("Counted exactly once", kinds_of_damage_seen=1)


def test_without_the_two_settings_a_damaged_log_would_count_short_and_say_nothing(folder: Path) -> None:
    """Or the test above would show nothing."""

    async def count() -> int:
        await _filled(folder, _MANY_PARTS, _MANY_BYTES)
        _cut_to_half(_parts(folder)[0])
        async with Opened(folder) as opened:
            return await opened.log.count(CDN, AttemptFilter(), _WHOLE)

    assert asyncio.run(count()) == _BLOCK_ROWS


# --- merges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lax", "left"),
    # One more where the engine had merged the two before it was told to.
    [((), range(3, 5)), (("old_parts_lifetime = 0",), range(1, 2))],
    ids=["as it is", "without its setting"],
)
def test_what_was_merged_stays_on_disk_even_when_the_engine_cleans_up(
    folder: Path, lax: tuple[str, ...], left: range
) -> None:
    """Dropping any partition, as retention does, makes the engine clean up at once instead of after half a minute."""

    async def merge() -> int:
        await _filled(folder, *lax)
        async with Opened(folder) as opened:
            await _asked(opened, "OPTIMIZE TABLE usher.attempts FINAL")
            await _asked(opened, "ALTER TABLE usher.attempts DROP PARTITION 202511")
            return len(_parts(folder))

    assert asyncio.run(merge()) in left
