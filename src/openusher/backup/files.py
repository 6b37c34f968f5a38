"""Copies and links of files, digested and synced; and the lock of those who make them."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from openusher.backup.manifest import StoredFile
from openusher.errors import SetupError
from openusher.ledger.folder import give_to_owner

_CHUNK_BYTES = 1024 * 1024
_LOCK_FILE = "backup.lock"

# Told how many bytes were dealt with since it was called last.
Progress = Callable[[int], None]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who makes a backup of, or into, `folder`. Raises SetupError."""
    try:
        lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        give_to_owner(lock, folder)
    except OSError as error:
        raise SetupError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"{folder}: another backup is under way there; wait for it") from None
        yield
    finally:
        os.close(lock)


def copy_file(source: Path, target: Path, *, progress: Progress) -> StoredFile:
    """Copy content only, to a new file that nobody else can read, synced; return what was copied."""
    with source.open("rb") as reading:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as writing:
            digest, size = hashlib.sha256(), 0
            while chunk := reading.read(_CHUNK_BYTES):
                writing.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                progress(len(chunk))
            writing.flush()
            os.fsync(writing.fileno())
    return StoredFile(size, digest.hexdigest())


def link_file(source: Path, target: Path) -> bool:
    """Give `source` a second name; False where the file system, or another owner, does not allow it."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def digest_file(file: Path, *, progress: Progress) -> StoredFile:
    """What `file` holds."""
    with file.open("rb") as reading:
        digest, size = hashlib.sha256(), 0
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            progress(len(chunk))
    return StoredFile(size, digest.hexdigest())


def make_folders(folder: Path, *, below: Path) -> None:
    """Make `folder` and what it lies in, private, up to `below`, which is there."""
    if folder != below and not folder.exists():
        make_folders(folder.parent, below=below)
        folder.mkdir(mode=0o700)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in `folder` are on the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all_below(folder: Path) -> None:
    """Make sure that all that is in `folder` is on the disk, and its own name."""
    for inner, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(Path(inner) / name, os.O_RDONLY)
        sync_folder(Path(inner))
    sync_folder(folder.parent)


def sync_folders_below(folder: Path) -> None:
    """As `sync_folder`, of `folder` and all folders in it."""
    for inner, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(inner))
