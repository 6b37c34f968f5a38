"""Copies what a node has staged into a folder of backups; only what is new, where an earlier backup is there."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path, PurePosixPath

import msgspec

from openusher.backup.files import (
    Progress,
    copy_file,
    digest_file,
    link_file,
    make_folders,
    sync_folder,
    sync_folders_below,
)
from openusher.backup.manifest import (
    MANIFEST,
    UNFINISHED,
    Backup,
    Manifest,
    StoredFile,
    backup_folders,
    read_backup,
    readable_backups,
)
from openusher.backup.staging import Staged
from openusher.errors import SetupError

# The engine writes it last in a part's folder: names, sizes and hashes of all that is large there.
_PART_CHECKSUMS = "checksums.txt"
# What checksums.txt does not speak of is far smaller.
_SMALL_BYTES = 64 * 1024


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Of the node that is backed up."""

    usher: str
    engine: str
    schema: int


class Made(msgspec.Struct, frozen=True):
    """A backup that was made, and how much of it no earlier one had."""

    backup: Backup
    new_bytes: int


def prepare_directory(directory: Path, *, data: Path) -> None:
    """Make the folder of backups where it is missing, private. Raises SetupError, also for one inside the data folder,
    which would be lost with it."""
    inside, around = directory.resolve(), data.resolve()
    if inside == around or around in inside.parents:
        raise SetupError(f"{directory}: lies in the data folder; back up to another place, best on another disk")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{directory}: cannot be made: {error.strerror}") from error


def size_of(staged: Staged, *, data: Path) -> int:
    """How many bytes make up what is staged."""
    sources = (data / source for source in staged.sources.values())
    files = (file for source in sources for file in (source.rglob("*") if source.is_dir() else (source,)))
    return sum(file.stat().st_size for file in files if file.is_file())


def make_backup(directory: Path, staged: Staged, *, data: Path, by: Versions, progress: Progress) -> Made:
    """Make a backup in `directory` of what is staged in `data`; it is there whole, synced, or not at all.

    Raises SetupError for a folder with another node's backups, and OSError; what was copied by then goes with the next
    backup.
    """
    _refuse_others(directory, staged.incarnation)
    _remove_unfinished(directory)
    made_at = time.gmtime()
    name = _free_name(directory, time.strftime("%Y%m%dT%H%M%SZ", made_at))
    folder = directory / f"{UNFINISHED}{name}"
    folder.mkdir(mode=0o700)
    making = _Making(folder, next(readable_backups(directory), None), progress)
    for place, source in staged.sources.items():
        making.add(place, data / source)
    manifest = Manifest(
        made_at=time.strftime("%Y-%m-%d %H:%M:%S", made_at),
        usher=by.usher,
        engine=by.engine,
        schema=by.schema,
        incarnation=staged.incarnation,
        cut=staged.cut,
        files=making.files,
        links=staged.links,
    )
    _write_manifest(folder / MANIFEST, manifest)
    sync_folders_below(folder)
    finished = folder.rename(directory / name)
    sync_folder(directory)
    return Made(Backup(finished, manifest), making.new_bytes)


def prune(directory: Path, *, keep: int) -> list[str]:
    """Remove all backups but the newest `keep`; returns their names. Those kept lose nothing by it."""
    removed = []
    for folder in backup_folders(directory)[:-keep]:
        # Under the name of an unfinished one first: half of a backup is none.
        shutil.rmtree(folder.rename(directory / f"{UNFINISHED}{folder.name}"))
        removed.append(folder.name)
    return removed


def find_damage(folder: Path, *, progress: Progress) -> list[str]:
    """What in a backup is not as it was made, a sentence each. Raises SetupError."""
    backup = read_backup(folder)
    faults = []
    for place, stored in backup.manifest.files.items():
        try:
            if digest_file(folder / place, progress=progress) != stored:
                faults.append(f"{folder / place}: has changed since the backup was made")
        except OSError as error:
            faults.append(f"{folder / place}: {error.strerror}")
    return faults


class _Making:
    """Fills a folder, and keeps account. What `earlier` has alike is linked from there and not read again."""

    def __init__(self, folder: Path, earlier: Backup | None, progress: Progress) -> None:
        self._folder = folder
        self._earlier = earlier
        self._progress = progress
        self.files: dict[str, StoredFile] = {}
        self.new_bytes = 0

    def add(self, place: str, source: Path) -> None:
        """Take a file, or a part of the log with all that is in its folder."""
        if not source.is_dir():
            self._add_file(place, source, known=None)
            return
        files = {f"{place}/{file.relative_to(source)}": file for file in sorted(source.rglob("*")) if file.is_file()}
        known = self._known_part(place, files)
        for inner, file in files.items():
            self._add_file(inner, file, known=known.get(inner))

    def _known_part(self, place: str, files: dict[str, Path]) -> dict[str, StoredFile]:
        """The files of the same part in the earlier backup; none if that has no such part, or another of its name."""
        if self._earlier is None:
            return {}
        known = {name: file for name, file in self._earlier.manifest.files.items() if name.startswith(f"{place}/")}
        if {name: file.bytes for name, file in known.items()} != {
            name: file.stat().st_size for name, file in files.items()
        }:
            return {}
        small = [name for name, file in known.items() if file.bytes <= _SMALL_BYTES or _is_checksums(name)]
        if not any(map(_is_checksums, small)):
            return {}
        same = all(digest_file(files[name], progress=_nothing) == known[name] for name in small)
        return known if same else {}

    def _add_file(self, place: str, source: Path, *, known: StoredFile | None) -> None:
        target = self._folder / place
        make_folders(target.parent, below=self._folder)
        if known is not None and self._earlier is not None and _linked(self._earlier.folder / place, target):
            self.files[place] = known
            self._progress(known.bytes)
            return
        if link_file(source, target):
            # It is synced, and nobody writes to it again.
            stored = digest_file(target, progress=self._progress)
        else:
            stored = copy_file(source, target, progress=self._progress)
        self.files[place] = stored
        self.new_bytes += stored.bytes


def _linked(source: Path, target: Path) -> bool:
    try:
        return link_file(source, target)
    except FileNotFoundError:
        # Somebody has taken files out of the earlier backup; this one shall be whole all the same.
        return False


def _is_checksums(name: str) -> bool:
    return PurePosixPath(name).name == _PART_CHECKSUMS


def _nothing(_: int) -> None:
    return


def _free_name(directory: Path, name: str) -> str:
    taken = {folder.name for folder in backup_folders(directory)}
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(each for each in names if each not in taken)


def _refuse_others(directory: Path, incarnation: int) -> None:
    """A folder is one node's: pruning and restoring go by age alone. Raises SetupError."""
    newest = next(readable_backups(directory), None)
    if newest is not None and newest.manifest.incarnation != incarnation:
        raise SetupError(
            f"{directory}: holds backups of another node, or of this one from before it was restored; name another "
            "folder, one for each node"
        )


def _remove_unfinished(directory: Path) -> None:
    for folder in directory.glob(f"{UNFINISHED}*"):
        shutil.rmtree(folder)


def _write_manifest(file: Path, manifest: Manifest) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as writing:
        writing.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        writing.flush()
        os.fsync(writing.fileno())
