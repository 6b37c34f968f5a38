"""What a folder of backups holds: one folder a backup, each whole by itself, and a manifest that is written last.

    DIR/20261128T114003Z/manifest.json     what it is, and size and SHA-256 of each file
    DIR/20261128T114003Z/ledger.db
    DIR/20261128T114003Z/log/…             the attempt log's files, in their places

Files that two backups have alike are one file with two names (hard links), where the file system has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from openusher.errors import BackupDamaged, SetupError

MANIFEST = "manifest.json"
LEDGER = "ledger.db"
LOG = "log"
# What a backup is called while it is being made; one that was killed stays under such a name until the next is made.
UNFINISHED = ".unfinished-"
# Raised when an older Usher could not restore what a newer one wrote.
_FORMAT = 1


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a backup as it must be."""

    bytes: int
    sha256: str


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a backup goes: the last attempt, of which those up to `shipped_attempt` are in the log, and the last
    block there. `clock_ms` is the ledger's clock then."""

    attempt: int
    shipped_attempt: int
    block: int
    clock_ms: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. `links` are symbolic links that a restore makes, from place to target; a backup has none
    itself, since what copies it elsewhere may follow them."""

    format: Annotated[int, msgspec.Meta(ge=1)] = _FORMAT
    made_at: str
    usher: str
    # Of the attempt log, as far as it is known; an older one may not read a newer one's files.
    engine: str = ""
    schema: int
    incarnation: int
    cut: Cut
    files: dict[str, StoredFile]
    links: dict[str, str]

    @property
    def size(self) -> int:
        return sum(file.bytes for file in self.files.values())


class Backup(msgspec.Struct, frozen=True):
    """A finished backup in its folder."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.folder.name


def read_backup(folder: Path) -> Backup:
    """The backup in `folder`. Raises BackupDamaged when its manifest cannot be read, SetupError when that is from a
    newer Usher."""
    try:
        text = (folder / MANIFEST).read_bytes()
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if (version := msgspec.json.decode(found["format"], type=int)) > _FORMAT:
            raise SetupError(f"{folder}: was made by a newer Usher (format {version}); install that version")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (OSError, KeyError, msgspec.DecodeError) as error:
        raise BackupDamaged(f"{folder}: its {MANIFEST} cannot be read: {error}; take another backup") from error
    for place in (*manifest.files, *manifest.links):
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise BackupDamaged(f"{folder}: its {MANIFEST} names a file outside of it; take another backup")
    return Backup(folder, manifest)


def backup_folders(directory: Path) -> list[Path]:
    """The folders of the finished backups in `directory`, the oldest first. Raises SetupError."""
    try:
        return sorted(path.parent for path in directory.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))
    except OSError as error:
        raise SetupError(f"{directory}: cannot be read: {error.strerror}") from error


def readable_backups(directory: Path) -> Iterator[Backup]:
    """Those that this Usher can use, the newest first."""
    for folder in reversed(backup_folders(directory)):
        try:
            yield read_backup(folder)
        except SetupError:
            continue


def find_backup(directory: Path, *, name: str = "") -> Backup:
    """The newest backup in `directory`, or the one called `name`; `directory` may also be one backup's own folder.

    Raises SetupError.
    """
    if not name and (directory / MANIFEST).exists():
        return read_backup(directory)
    folders = backup_folders(directory)
    if not folders:
        raise SetupError(f"{directory}: holds no backup; usher backup makes one")
    if not name:
        return read_backup(folders[-1])
    for folder in folders:
        if folder.name == name:
            return read_backup(folder)
    raise SetupError(f"{directory}: holds no backup {name}; usher backup {directory} --list shows those it has")
