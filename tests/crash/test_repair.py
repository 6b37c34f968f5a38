"""Logs damaged by hand: a check finds it, no count is given, and a repair mends it or refuses and changes nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from openusher.attemptlog.embedded import open_mended_log
from openusher.attemptlog.embedded.mending import Part, parts_in
from openusher.errors import StoreError
from tests.conftest import Promise
from tests.crash import damagedlog as damaged
from tests.crash.damagedlog import ATTEMPTS, Damage
from tests.crash.killedcommand import changes_of, killed_at
from tests.nodes import usher

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the sound folder `data`, and `backups` with one backup of it."""
    folder = tmp_path_factory.mktemp("repair")
    damaged.make(folder / "data", folder / "backups")
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "data", tmp_path / "data", symlinks=True)
    return tmp_path / "data"


def _repair(data: Path, *flags: str) -> tuple[int, dict[str, list[str]]]:
    done = usher("repair", "--data", str(data), "--json", "--yes", *flags)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def _is_whole(data: Path) -> None:
    found = damaged.look(data)

    assert found.faults == []
    assert (found.count, found.ids) == (ATTEMPTS, list(range(1, ATTEMPTS + 1)))


def test_a_sound_log_needs_no_repair(data: Path) -> None:
    before = _content(data)
    status, told = _repair(data)

    assert (status, told) == (0, {"unreadable": [], "mended": [], "lost": [], "repaired": False, "kept_as": None})
    assert _content(data) == before
    _is_whole(data)


def _in_rows(data: Path) -> None:
    """Block 1 is there twice, of block 4 a half is missing, and of block 5, which is not shipped, a half is there."""
    damaged.run(
        data,
        damaged.copied("block = 1"),
        damaged.copied("block = 2", number="5", where="id % 2"),
        damaged.deleted("block = 4 AND id % 2"),
    )


def _in_its_definition(data: Path) -> None:
    """The engine knows of no table."""
    for file in (data / "log").rglob("attempts.sql"):
        file.unlink()


_MENDED: dict[str, tuple[Damage, list[str]]] = {
    "rows": (
        _in_rows,
        [
            "block 5 (25 attempts): taken out; the node ships it anew",
            "block 4 (25 attempts): put back from the ledger",
            "block 1 (25 attempts): put back from the log itself, which held it more than once",
        ],
    ),
    "a definition": (_in_its_definition, ["the log's table: made anew of its parts, of which it did not know all"]),
}


@pytest.mark.parametrize("kind", _MENDED)
def test_what_the_ledger_or_the_log_itself_still_has_is_mended_without_a_backup(
    data: Path, kind: str, promise: Promise
) -> None:
    damage, said = _MENDED[kind]
    damage(data)
    found = damaged.look(data)
    status, told = _repair(data)

    assert found.faults
    assert isinstance(found.count, str)
    assert (status, told["mended"], told["lost"]) == (0, said, [])
    _is_whole(data)
    promise("Counted exactly once", damaged_logs_repaired=1)


def _two_blocks(data: Path) -> None:
    """Block 2 is missing, and block 3 is there twice, with other rows: each once is not what it was either."""
    changed = damaged.changed("block = 3 AND id % 5 = 0")
    damaged.run(data, damaged.deleted("block = 2"), changed, damaged.copied("block = 3"))


def _a_part_is_missing(data: Path) -> None:
    shutil.rmtree(damaged.parts(data)[0])


def _a_byte_of_the_rows(data: Path) -> None:
    damaged.flip_largest(data, "data.bin")


def _a_byte_of_an_index(data: Path) -> None:
    damaged.flip_largest(data, "skp_idx*")


def _the_whole_log(data: Path) -> None:
    shutil.rmtree(data / "log")


@pytest.mark.parametrize(
    "damage", [_two_blocks, _a_part_is_missing, _a_byte_of_the_rows, _a_byte_of_an_index, _the_whole_log]
)
def test_what_nothing_here_holds_any_more_is_mended_from_a_backup_and_else_refused(
    made: Path, data: Path, damage: Damage, promise: Promise
) -> None:
    damage(data)
    found = damaged.look(data)
    if damage in (_two_blocks, _the_whole_log):
        _is_refused(data)
    status, mended = _repair(data, "--backups", str(made / "backups"))

    assert found.faults
    # One that does not read what is damaged may be answered, but no other number.
    assert isinstance(found.count, str) or found.count == ATTEMPTS
    assert (status, mended["lost"]) == (0, []), mended
    _is_whole(data)
    promise("Counted exactly once", damaged_logs_repaired=1)


def test_a_part_that_is_found_broken_is_not_merged_away_before_it_is_dropped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge reads no indexes, and would take it along."""
    _a_byte_of_an_index(data)
    broken = damaged.parts(data)
    log = open_mended_log(tmp_path / "mended", memory_bytes_max=10**9)
    look_for_broken = log.broken_parts

    async def look_and_merge(*, table: str) -> list[str]:
        found = await look_for_broken(table=table)
        with suppress(StoreError):
            await log._alter(f"OPTIMIZE TABLE usher.{table} FINAL")
        return found

    async def take() -> tuple[list[Part], dict[int, int]]:
        await log.start()
        try:
            unreadable = await log.take_parts(parts_in(data / "log"), table="attempts")
            return unreadable, await log.rows_by_block(table="attempts")
        finally:
            await log.close()

    monkeypatch.setattr(log, "broken_parts", look_and_merge)
    unreadable, rows_by_block = asyncio.run(take())

    assert len(broken) > 1
    assert {part.folder for part in unreadable} >= set(broken)
    assert rows_by_block == {}


def _is_refused(data: Path) -> None:
    before = _content(data)
    status, told = _repair(data)

    assert (status, bool(told["lost"])) == (3, True)
    assert _content(data) == before


def test_a_repair_that_is_killed_leaves_the_damaged_log_or_the_mended_one(
    data: Path, tmp_path: Path, promise: Promise
) -> None:
    damaged.run(data, damaged.deleted("block = 4 AND id % 2"))
    folders = [shutil.copytree(data, tmp_path / f"data{number}", symlinks=True) for number in range(4)]
    changes = changes_of("repair", "--yes", "--data", str(folders.pop()))
    for folder, moment in zip(folders, (changes // 2, changes - 4, changes), strict=True):
        assert killed_at(moment, "repair", "--yes", "--data", str(folder))
        found = damaged.look(folder)
        _repair(folder)

        assert isinstance(found.count, str) or (found.count, found.faults) == (ATTEMPTS, [])
        _is_whole(folder)
    promise("Counted exactly once", repairs_killed=len(folders))


def _a_block_is_unknown(data: Path) -> None:
    damaged.run(data, damaged.copied("block = 2", number="9"))


def _the_ledger_lost_a_block(data: Path) -> None:
    damaged.tamper(data, "DELETE FROM blocks WHERE number = 2")


def _the_ledger_lost_an_attempt(data: Path) -> None:
    damaged.tamper(data, "DELETE FROM attempts WHERE id = (SELECT max(id) FROM attempts)")


@pytest.mark.parametrize("damage", [_a_block_is_unknown, _the_ledger_lost_a_block, _the_ledger_lost_an_attempt])
def test_what_only_a_restore_puts_right_is_refused_and_says_so(made: Path, data: Path, damage: Damage) -> None:
    damage(data)
    found = damaged.look(data)
    before = _content(data / "log")
    status, told = _repair(data, "--backups", str(made / "backups"))

    assert found.faults
    assert status == 3
    assert any("from one backup" in said for said in told["lost"]), told
    assert _content(data / "log") == before


def test_a_log_of_which_nothing_is_left_is_put_together_and_said_to_be_mended(made: Path, data: Path) -> None:
    shutil.rmtree(data / "log")
    done = usher("repair", "--data", str(data), "--yes", "--backups", str(made / "backups"))

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Repaired.")
    _is_whole(data)
