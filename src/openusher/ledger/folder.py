"""The data folder: private to its owner, and used by one process at a time, which a second one is told the name of."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from openusher.errors import SetupError

LEDGER_FILE = "ledger.db"
LOG_FOLDER = "log"
# The rows of a block on their way from the ledger to the log.
ROWS_FILE = "shipping"
ADMIN_SOCKET = "admin.sock"
# Where a restore puts things together before the folder becomes a data folder.
RESTORING_FOLDER = "restoring"
# Likewise where a repair puts a log together that is to take the place of the damaged one.
REPAIRING_FOLDER = "repairing"
_LOCK_FILE = "lock"
# A disk that does not come back within this is one that an operator has to look at.
_DYING_S_MAX = 10.0
_DYING_LOOK_S = 0.05
# What a folder may hold that is still to become a data folder: a first start that failed, a disk of its own.
_OF_AN_EMPTY_FOLDER = frozenset({_LOCK_FILE, "lost+found"})


class Holder(msgspec.Struct):
    """Who holds a data folder."""

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {self.since} UTC"


class FolderInUse(SetupError):
    """Another process holds the folder; `holder` says which, as far as it wrote it down."""

    def __init__(self, folder: Path, holder: Holder | None) -> None:
        super().__init__(f"{folder} is in use by {holder or 'another process'}; stop it, or ask it instead")
        self.holder = holder


class DataFolder:
    """A data folder held by this process until `release`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        # Its descriptor; a process that inherits it holds the folder too.
        self.lock = lock

    @property
    def ledger_file(self) -> Path:
        return self.path / LEDGER_FILE

    @property
    def log_folder(self) -> Path:
        return self.path / LOG_FOLDER

    @property
    def rows_file(self) -> Path:
        # The log's process works in another folder.
        return self.path.absolute() / ROWS_FILE

    def release(self) -> None:
        os.close(self.lock)


def hold_folder(path: Path, *, create: bool = True, half_restored: bool = False) -> DataFolder:
    """Take the folder at `path` for this process. With `create` it may be missing or empty; it gets mode 0700. With
    `half_restored` it may also be what a restore that was broken off has left.

    Raises FolderInUse when another process holds it, SetupError when it is missing, is no data folder or cannot be
    used; a folder that is refused is left as it was.
    """
    try:
        if create:
            _make(path)
        _refuse_foreign(path, create=create, half_restored=half_restored)
        if path.stat().st_mode & 0o077:
            # It holds secrets in clear: tickets' passes and the keys that sign.
            path.chmod(0o700)
        lock = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        give_to_owner(lock, path)
    except FileNotFoundError:
        raise SetupError(f"{path}: no such data folder; name one with --data, or start it with usher serve") from None
    except OSError as error:
        raise SetupError(f"{path}: cannot use it as the data folder: {error.strerror}") from error
    if not _take(lock):
        holder = _read_holder(lock)
        os.close(lock)
        raise FolderInUse(path, holder)
    _write_holder(lock)
    return DataFolder(path, lock)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Let an open file in `folder` belong to whom the folder does: what root's commands make there must not shut out
    the service's own user. Raises OSError."""
    owner, own = folder.stat(), os.fstat(descriptor)
    # Under a service's sandbox root may not give away anything; nor need it, where all is its own.
    if os.geteuid() == 0 and (own.st_uid, own.st_gid) != (owner.st_uid, owner.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _take(lock: int) -> bool:
    """Lock it; False where somebody else has it. A holder that was killed may still be waiting for the disk."""
    deadline = time.monotonic() + _DYING_S_MAX
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(lock)
            if holder is None or Path(f"/proc/{holder.pid}").exists() or time.monotonic() > deadline:
                return False
            time.sleep(_DYING_LOOK_S)
        else:
            return True


def _make(path: Path) -> None:
    """Make the folder and its parents where they are missing, each name synced: a power cut would take with it all
    that was synced inside. The names of its own files are synced by SQLite."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in reversed(missing):
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _refuse_foreign(path: Path, *, create: bool, half_restored: bool) -> None:
    """Before anything in it is changed: a mistyped --data may name a folder that others have to read."""
    inside = {entry.name for entry in path.iterdir()}
    if LEDGER_FILE in inside or (half_restored and RESTORING_FOLDER in inside):
        return
    if RESTORING_FOLDER in inside:
        raise SetupError(f"{path}: a restore into it was broken off; begin it again with usher restore")
    if not create:
        raise SetupError(
            f"{path}: holds no {LEDGER_FILE}, so it is no data folder; name one with --data, or start it with "
            "usher serve"
        )
    if inside - _OF_AN_EMPTY_FOLDER:
        raise SetupError(
            f"{path}: holds other files and no {LEDGER_FILE}, so it is no data folder; name an empty or a new one with "
            "--data"
        )


def _write_holder(lock: int) -> None:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    holder = Holder(os.getpid(), command, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(holder), 0)


def _read_holder(lock: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(lock, 4096, 0), type=Holder)
    except msgspec.DecodeError:
        return None


@contextmanager
def short_path(folder: Path) -> Generator[str, None, None]:
    """A short name for `folder` while the context lasts: a socket's path has at most 107 bytes, a folder's may have
    more."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
