"""Backups as folders of files: whole or not there, never more than is new, and found out when they change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from openusher.attemptlog.base import Frozen
from openusher.attemptlog.plainlist import PlainListLog
from openusher.backup.files import locked, make_folders
from openusher.backup.last import LastBackup, last_backup, remember_backup
from openusher.backup.making import Versions, find_damage, make_backup, prepare_directory, prune
from openusher.backup.manifest import MANIFEST, Cut, backup_folders, find_backup, read_backup
from openusher.backup.restoring import copy_backup, new_folder
from openusher.backup.staging import STAGE_FOLDER, Staged, Staging
from openusher.errors import BackupDamaged, CountUnavailable, LedgerUnavailable, SetupError
from openusher.ledger.base import Decide, LedgerStats
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.ledger.sqlite.store import schema_version
from openusher.model.search import AttemptFilter
from openusher.shipper import Shipper
from tests.conformance.asking import NOON_MS, request

_EVERYTHING = AttemptFilter()
_CUT = Cut(attempt=5, shipped_attempt=3, block=1, clock_ms=NOON_MS)
# A part of the log: what it holds, and sizes and hashes of that.
_PART = {"id.bin": "1" * 100_000, "count.txt": "9", "checksums.txt": "of ones"}


def _nothing(_: int) -> None:
    return


def _write(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        make_folders((folder / name).parent, below=folder)
        (folder / name).write_text(text)


def _staged(data: Path, parts: dict[str, dict[str, str]], *, ledger: str = "ledger") -> Staged:
    """A ledger and the parts of a log, ready to be copied from `data`."""
    _write(
        data,
        {"stage/ledger.db": ledger} | {f"{part}/{n}": text for part, of in parts.items() for n, text in of.items()},
    )
    sources = {"ledger.db": "stage/ledger.db"} | {f"log/{part}": part for part in parts}
    return Staged(incarnation=7, cut=_CUT, sources=sources, links={"log/link": "../else/where"})


def _make(directory: Path, staged: Staged, data: Path) -> tuple[Path, int]:
    made = make_backup(
        directory, staged, data=data, by=Versions(usher="0.1.0", engine="", schema=schema_version()), progress=_nothing
    )
    return made.backup.folder, made.new_bytes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


# --- making ---------------------------------------------------------------------------------------------------------


def test_a_second_backup_takes_only_what_is_new_and_each_is_whole_without_the_other(
    data: Path, directory: Path
) -> None:
    first, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    # Not by its data's own file: there may be other file systems between.
    os.rename(data / "p1", data / "old")
    newer = {"p1": _PART, "p2": {"id.bin": "2" * 50_000, "checksums.txt": "of twos"}}
    (data / "stage/ledger.db").unlink()
    second, new_bytes = _make(directory, _staged(data, newer, ledger="ledger of today"), data)

    assert new_bytes == len("ledger of today") + 50_000 + len("of twos")
    assert (first / "log/p1/id.bin").stat().st_ino == (second / "log/p1/id.bin").stat().st_ino
    assert prune(directory, keep=1) == [first.name]
    assert backup_folders(directory) == [second]
    assert find_damage(second, progress=_nothing) == []
    assert (second / "log/p2/id.bin").read_text() == "2" * 50_000


def test_a_folder_with_another_nodes_backups_is_left_as_it_is(data: Path, directory: Path) -> None:
    first, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    other = msgspec.structs.replace(_staged(data, {"p2": _PART}), incarnation=8)

    with pytest.raises(SetupError, match="another node"):
        _make(directory, other, data)
    assert [path for path in directory.iterdir() if path.is_dir()] == [first]


@pytest.mark.parametrize("other", [{"checksums.txt": "of twos"}, {"count.txt": "8"}, {"id.bin": "1" * 99_999}])
def test_another_part_of_the_same_name_is_copied_anew(data: Path, directory: Path, other: dict[str, str]) -> None:
    first, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    os.rename(data / "p1", data / "old")
    second, _ = _make(directory, _staged(data, {"p1": _PART | other}), data)

    assert (first / "log/p1/id.bin").stat().st_ino != (second / "log/p1/id.bin").stat().st_ino
    assert find_damage(second, progress=_nothing) == []


def test_a_file_taken_out_of_the_earlier_backup_is_not_missing_from_the_next(data: Path, directory: Path) -> None:
    first, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    (first / "log/p1/id.bin").unlink()
    second, _ = _make(directory, _staged(data, {"p1": _PART}), data)

    assert find_damage(first, progress=_nothing) == [f"{first / 'log/p1/id.bin'}: No such file or directory"]
    assert find_damage(second, progress=_nothing) == []


def test_a_backup_that_failed_is_none_and_goes_with_the_next(data: Path, directory: Path) -> None:
    first, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    staged = _staged(data, {"p1": _PART})
    with pytest.raises(FileNotFoundError):
        _make(directory, msgspec.structs.replace(staged, sources={**staged.sources, "log/p2": "gone"}), data)
    left = sorted(path.name for path in directory.iterdir() if path.name.startswith("."))
    found = find_backup(directory).folder
    second, _ = _make(directory, _staged(data, {"p1": _PART}), data)

    assert len(left) == 1
    assert found == first
    assert sorted(directory.iterdir()) == [first, second]


def test_nobody_else_can_read_what_was_made(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "new"
    prepare_directory(directory, data=data)
    folder, _ = _make(directory, _staged(data, {"p1": _PART}), data)

    modes = {path.stat().st_mode & 0o077 for path in (directory, folder, folder / MANIFEST, *folder.glob("log/**/"))}
    assert modes == {0}


def test_a_backup_inside_the_data_folder_is_refused(data: Path) -> None:
    for place in (data, data / "backups"):
        with pytest.raises(SetupError, match="lies in the data folder"):
            prepare_directory(place, data=data)

    assert list(data.iterdir()) == []


def test_two_backups_into_one_place_do_not_meet(directory: Path) -> None:
    with locked(directory), pytest.raises(SetupError, match="another backup is under way"), locked(directory):
        raise AssertionError("both have it")


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_changed_byte_is_found_by_verifying_and_by_restoring_which_leaves_the_folder_empty(
    data: Path, directory: Path, tmp_path: Path
) -> None:
    folder, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    (folder / "log/p1/id.bin").write_text("1" * 99_999 + "2")
    with pytest.raises(BackupDamaged, match=r"id\.bin: has changed since"), new_folder(tmp_path / "new"):
        copy_backup(read_backup(folder), tmp_path / "new", progress=_nothing)

    assert find_damage(folder, progress=_nothing) == [
        f"{folder / 'log/p1/id.bin'}: has changed since the backup was made"
    ]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"lock"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": schema_version() + 1}, "made by Usher 0.1.0 .*install that version"),
        ({"format": 2}, "made by a newer Usher"),
        ({"format": "x"}, "cannot be read"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}, "a file outside of it"),
        ({"links": {"/etc/passwd": "x"}}, "a file outside of it"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(
    data: Path, directory: Path, tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    folder, _ = _make(directory, _staged(data, {"p1": _PART}), data)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest | change))
    with pytest.raises(SetupError, match=problem), new_folder(tmp_path / "new"):
        copy_backup(read_backup(folder), tmp_path / "new", progress=_nothing)


def test_a_backup_is_found_by_its_name_by_its_age_and_by_its_own_folder(data: Path, directory: Path) -> None:
    first, second = (_make(directory, _staged(data, {}), data)[0] for _ in range(2))

    assert [first, second] == backup_folders(directory)
    assert find_backup(directory).folder == second
    assert find_backup(directory, name=first.name).folder == find_backup(first).folder == first
    with pytest.raises(SetupError, match="holds no backup x"):
        find_backup(directory, name="x")
    with pytest.raises(SetupError, match="holds no backup; usher backup makes one"):
        find_backup(data)


def test_a_restore_is_refused_by_any_folder_that_holds_something(data: Path, tmp_path: Path) -> None:
    (data / "ledger.db").write_text("of a node")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/cv.txt").write_text("me")
    for folder, problem in ((data, "is a data folder already"), (tmp_path / "papers", "holds other files")):
        with pytest.raises(SetupError, match=problem), new_folder(folder):
            raise AssertionError("it was taken")

    assert (tmp_path / "papers/cv.txt").read_text() == "me"
    assert (data / "ledger.db").read_text() == "of a node"


def test_what_a_broken_off_restore_has_left_is_not_served_and_is_taken_by_the_next(tmp_path: Path) -> None:
    data = tmp_path / "new"
    data.mkdir()
    _write(data, {"restoring/ledger.db": "x"})
    with pytest.raises(SetupError, match="begin it again with usher restore"):
        hold_folder(data)
    with new_folder(data):
        left = {path.name for path in data.iterdir()}

    assert left == {"lock"}


# --- staging --------------------------------------------------------------------------------------------------------


class _FrozenList(PlainListLog):
    """Remembers which blocks it held when it was frozen."""

    frozen: tuple[int, ...] = ()

    async def freeze(self) -> Frozen:
        self.frozen = tuple(sorted(self._blocks))
        return Frozen()


class _ShipsWhileCopied(SqliteLedger):
    """While it is copied, somebody ships."""

    shipping: asyncio.Task[bool] | None = None
    shipper: Shipper

    async def copy_to(self, file: str) -> LedgerStats:
        copied = await super().copy_to(file)
        self.shipping = asyncio.get_running_loop().create_task(self.shipper.ship_next())
        await asyncio.wait([self.shipping], timeout=0.3)
        return copied


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_block_moves_between_the_copy_of_the_ledger_and_that_of_the_log(data: Path) -> None:
    ledger, log = await _ShipsWhileCopied.open(data / "ledger.db"), _FrozenList()
    assert isinstance(ledger, _ShipsWhileCopied)
    shipper = ledger.shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    await ledger.commit_batch([Decide(request(1))] * 3, now_ms=NOON_MS)
    await shipper.ship_next()
    await ledger.commit_batch([Decide(request(1))] * 2, now_ms=NOON_MS)
    staging = Staging(ledger, log, shipper, data=data, free_bytes_min=0)
    staged = await staging.begin()
    assert ledger.shipping is not None
    shipped_later = await ledger.shipping
    copied = await SqliteLedger.open(data / STAGE_FOLDER / "ledger.db")
    pending, stats = (await copied.count_pending(1, _EVERYTHING)).count, await copied.stats()
    await copied.close()
    await staging.end()
    await ledger.close()

    assert (log.frozen, staged.cut.block, stats.shipped_block) == ((1,), 1, 1)
    assert (staged.cut.attempt, staged.cut.shipped_attempt, pending) == (5, 3, 2)
    # It was only held up.
    assert shipped_later
    assert sorted(log._blocks) == [1, 2]
    assert not (data / STAGE_FOLDER).exists()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_node_whose_log_lacks_something_or_whose_disk_is_full_is_not_backed_up(data: Path) -> None:
    ledger, log = await SqliteLedger.open(data / "ledger.db"), _FrozenList()
    shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    await ledger.commit_batch([Decide(request(1))] * 3, now_ms=NOON_MS)
    await shipper.ship_next()
    with pytest.raises(LedgerUnavailable, match="make room first"):
        await Staging(ledger, log, shipper, data=data, free_bytes_min=2**62).begin()
    log._blocks.clear()
    shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    with pytest.raises(CountUnavailable, match="does not hold block 1"):
        await Staging(ledger, log, shipper, data=data, free_bytes_min=0).begin()
    await ledger.close()

    assert os.listdir(data) == ["ledger.db"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_backup_that_is_ended_while_it_is_made_ready_leaves_nothing(data: Path) -> None:
    ledger, log = await SqliteLedger.open(data / "ledger.db"), _FrozenList()
    shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    staging = Staging(ledger, log, shipper, data=data, free_bytes_min=0)
    beginning = asyncio.get_running_loop().create_task(staging.begin())
    # Until it has begun, and no longer.
    await asyncio.sleep(0)
    await staging.end()
    has_begun = beginning.done()
    await ledger.close()

    assert has_begun
    assert os.listdir(data) == ["ledger.db"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_node_clears_what_a_killed_backup_left_and_not_what_one_still_copies(data: Path) -> None:
    ledger, log = await SqliteLedger.open(data / "ledger.db"), _FrozenList()
    shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    staging = Staging(ledger, log, shipper, data=data, free_bytes_min=0)
    await staging.begin()
    with locked(data):
        await staging.clear_left_over()
        kept = (data / STAGE_FOLDER / "ledger.db").exists()
    await staging.clear_left_over()
    await ledger.close()

    assert kept
    assert sorted(os.listdir(data)) == ["backup.lock", "ledger.db"]


# --- what the data folder knows of it -------------------------------------------------------------------------------


def test_files_that_a_backup_makes_belong_to_whom_the_folder_does(data: Path, directory: Path) -> None:
    """Root makes backups of a service's folder, whose own user must be able to make the next."""
    if os.geteuid() == 0:
        os.chown(data, 65_534, 65_534)
        os.chown(directory, 65_534, 65_534)
    folder, _ = _make(directory, _staged(data, {"part": _PART}), data)
    with locked(data), locked(directory):
        remember_backup(data, read_backup(folder))
    hold_folder(tmp := data / "inner").release()

    owner = data.stat().st_uid
    made = [data / "backup.lock", directory / "backup.lock", data / "last-backup.json"]
    assert [file.stat().st_uid for file in made] == [owner] * 3
    assert (tmp / "lock").stat().st_uid == tmp.stat().st_uid


def test_a_note_of_the_last_backup_that_cannot_be_read_is_none(data: Path, directory: Path) -> None:
    folder, _ = _make(directory, _staged(data, {"part": _PART}), data)
    notes = []
    for text in (None, "", "{}", '{"backup": "b", "made_at": "yesterday", "attempt": 1}'):
        if text is not None:
            (data / "last-backup.json").write_text(text)
        notes.append(last_backup(data))
    remember_backup(data, read_backup(folder))

    assert notes == [None] * 4
    assert last_backup(data) == LastBackup(folder.name, read_backup(folder).manifest.made_at, _CUT.attempt)
