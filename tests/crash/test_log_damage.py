"""The log robbed of its files, or given broken ones, while it was closed: an error, or it shows in what is held."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openusher.errors import LogDamaged, LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.openedlog import CDN, Opened, held_of, rows_of

pytestmark = [pytest.mark.crash]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of four blocks, of which each test takes a copy."""
    folder = tmp_path_factory.mktemp("sound") / "log"

    async def fill() -> None:
        async with Opened(folder) as opened:
            await opened.keep_parts()
            for number in range(1, 5):
                await opened.insert(number, rows_of(number, 300))

    asyncio.run(fill())
    return folder


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "log"
    shutil.copytree(sound, folder, symlinks=True)
    yield folder
    shutil.rmtree(folder)


def parts(folder: Path) -> list[Path]:
    found = sorted(path for path in (folder / "chdb" / "store").rglob("2026*_*") if path.is_dir())
    assert found
    return found


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "columns cut short": lambda part: _cut(part / "data.bin"),
    "a byte of the columns flipped": lambda part: _flip(part / "data.bin"),
    "columns removed": lambda part: (part / "data.bin").unlink(),
    "marks cut short": lambda part: _cut(next(part.glob("data.cmrk*"))),
    "number of rows removed": lambda part: (part / "count.txt").unlink(),
    "skip index cut short": lambda part: _cut(next(part.glob("skp_idx*"))),
    "primary key cut short": lambda part: _cut(next(part.glob("primary.*"))),
    "a part removed": lambda part: _remove(part),
    "every part removed": lambda part: _remove(*part.parent.glob("2026*_*")),
    "the table's definition removed": lambda part: _remove(*part.parents[3].rglob("attempts.sql")),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_is_an_error_or_shows_in_what_is_held(copy: Path, damage: str, promise: Promise) -> None:
    expected = {number: held_of(number, rows_of(number, 300)) for number in range(1, 5)}
    _DAMAGES[damage](parts(copy)[0])

    async def look() -> str:
        opened = Opened(copy)
        try:
            await opened.log.start()
            if await opened.log.rows_by_block(table="attempts") != dict.fromkeys(expected, 300):
                return "rows"
            return "nothing" if expected == await opened.log.all_held(table="attempts") else "digest"
        except LogDamaged:
            return "damaged"
        finally:
            await opened.log.close()

    assert asyncio.run(look()) in ("rows", "damaged")
    promise("Counted exactly once", kinds_of_damage_seen=1)


def test_a_log_that_was_damaged_answers_again_once_its_files_are_back(copy: Path, sound: Path) -> None:
    async def mend() -> None:
        _cut(parts(copy)[0] / "data.bin")
        opened = Opened(copy)
        with pytest.raises(LogDamaged, match="damaged"):
            await opened.log.start()
        with pytest.raises((LogDamaged, LogUnavailable)):
            await opened.log.count(CDN, AttemptFilter(), Horizon(upto=4))
        broken = parts(copy)[0] / "data.bin"
        shutil.copyfile(parts(sound)[0] / "data.bin", broken)
        await opened.restarted(0)

        assert await opened.log.count(CDN, AttemptFilter(), Horizon(upto=4)) == 1200
        await opened.log.close()

    asyncio.run(mend())
