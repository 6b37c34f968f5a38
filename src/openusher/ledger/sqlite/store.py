"""The ledger's file: how it is opened, what it must be, and how it is brought up to this version's schema."""

from __future__ import annotations

import os
import secrets
from importlib import resources
from pathlib import Path

import apsw

from openusher.errors import SetupError

# "Usr1" in the file's header says that it is ours, to us and to file(1).
APPLICATION_ID = 0x55737231
# Older ones can lose WAL pages when a write meets a checkpoint (sqlite.org/wal.html, "WAL-reset bug").
_SQLITE_VERSION_MIN = (3, 51, 3)
# 64 MiB: by then several checkpoints have found readers in their way.
WAL_PAGES_MAX = 16_000
_JOURNAL_BYTES_MAX = 64 * 1024 * 1024
# The kernel keeps the rest. SQLite looks through the whole of its own at each commit that split a page: with 32 MiB
# that was 7 of a decision's 66 us.
_WRITER_CACHE_KIB = 4 * 1024
_BUSY_MS = 5_000


def open_writer(file: Path, *, demo: bool = False, vfs: str | None = None) -> apsw.Connection:
    """Open or create the ledger at `file` for its one writer, migrated to this version.

    Raises SetupError: not a ledger, from a newer version, or an unfit SQLite library.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < _SQLITE_VERSION_MIN:
        raise SetupError(f"SQLite {apsw.sqlite_lib_version()} can lose writes; install apsw 3.54 or newer")
    is_new = not file.exists()
    try:
        if not is_new:
            _refuse_what_is_not_ours(file, vfs=vfs)
        connection = apsw.Connection(str(file), vfs=vfs)
        if is_new:
            file.chmod(0o600)
        _set_up_writer(connection)
        _migrate(connection, file, demo=demo)
    except apsw.NotADBError as error:
        raise SetupError(f"{file} is not a ledger of Usher; name another data folder") from error
    except apsw.Error as error:
        raise SetupError(f"{file}: cannot open the ledger: {error}") from error
    return connection


def _refuse_what_is_not_ours(file: Path, *, vfs: str | None) -> None:
    """Raises SetupError for a newer version's ledger or another program's database, and leaves it as it is: whoever
    opens a file to write moves its WAL into it when he closes it."""
    connection = open_reader(file, vfs=vfs)
    # It could not, but would try.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        have, application = int(connection.pragma("user_version")), int(connection.pragma("application_id"))
    finally:
        connection.close()
    if application not in (0, APPLICATION_ID) or (application == 0 and have):
        raise SetupError(f"{file} is a database of another program; name another data folder")
    if have > schema_version():
        raise SetupError(
            f"{file} was written by a newer Usher (schema {have}, this one knows {schema_version()}); "
            "install that version again"
        )


def reopen_writer(file: Path, *, incarnation: int, vfs: str | None = None) -> apsw.Connection:
    """Open the ledger that was open before, known by its `incarnation`; nothing is created or migrated.

    Raises SetupError for another ledger or none in its place (a mount that has gone), apsw.Error.
    """
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    try:
        # Before anything is set: an empty file would take it as its first write.
        if list(connection.execute("SELECT incarnation FROM node")) != [(incarnation,)]:
            raise SetupError(f"{file} is another ledger than before")
        _set_up_writer(connection)
    except BaseException:
        connection.close(True)
        raise
    return connection


def _set_up_writer(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("journal_mode", "wal")
    # Each commit syncs the WAL: an answer must survive a power cut, not only a crash.
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    # Not in a commit: see checkpoints.py.
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("journal_size_limit", _JOURNAL_BYTES_MAX)
    connection.pragma("cache_size", -_WRITER_CACHE_KIB)
    connection.pragma("temp_store", "MEMORY")


def renew_incarnation(file: Path) -> None:
    """Make the ledger at `file`, which was copied, another than the one it was copied from: what the two give names to
    from here on has different names. It is migrated to this version's schema. Raises SetupError.
    """
    connection = open_writer(file)
    try:
        ((old,),) = connection.execute("SELECT incarnation FROM node")
        with connection:
            connection.execute("UPDATE node SET incarnation = ?", (_drawn_incarnation(but=old),))
    except apsw.Error as error:
        raise SetupError(f"{file}: cannot be written: {error}") from error
    finally:
        # The last connection moves the WAL into the file and removes it.
        connection.close()


def _drawn_incarnation(*, but: int = 0) -> int:
    while (drawn := secrets.randbits(32)) in (0, but):
        pass
    return drawn


def open_reader(file: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Open the ledger for reading beside its writer."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_timeout(_BUSY_MS)
    return connection


def open_beside(file: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Open the ledger beside its writer, for checkpoints."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    connection.set_busy_timeout(_BUSY_MS)
    # A connection that has read nothing does not know of the WAL, and would have nothing to move.
    connection.pragma("schema_version")
    return connection


def wal_pages(connection: apsw.Connection) -> tuple[int, int]:
    """How many pages the WAL holds, and how many of them have been moved into the file."""
    return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)


def wal_bytes(file: Path) -> int:
    """The size on disk of the WAL of the ledger at `file`; 0 where there is none."""
    try:
        return file.with_name(f"{file.name}-wal").stat().st_size
    except OSError:
        return 0


def checkpoint(connection: apsw.Connection) -> None:
    """Move the WAL's pages into the file, as far as readers allow, holding up neither them nor the writer.

    Raises apsw.Error.
    """
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def restart_wal(connection: apsw.Connection) -> None:
    """Move the WAL's pages into the file and begin it anew. Raises apsw.BusyError at once while somebody reads."""
    connection.set_busy_timeout(0)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.set_busy_timeout(_BUSY_MS)


def schema_version() -> int:
    """The schema this version of Usher writes: the number of its last migration."""
    return len(_migrations())


def _migrations() -> list[tuple[str, str]]:
    folder = resources.files("openusher.ledger.sqlite").joinpath("migrations")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(entry.name, entry.read_text()) for entry in files]


def _migrate(connection: apsw.Connection, file: Path, *, demo: bool) -> None:
    have = int(connection.pragma("user_version"))
    migrations = _migrations()
    if 0 < have < len(migrations):
        _copy_beside(connection, file, have)
    for number, (_, statements) in enumerate(migrations[have:], start=have + 1):
        # One transaction each: a kill in between leaves the schema before or after, never half.
        with connection:
            connection.execute(statements)
            if number == 1:
                connection.pragma("application_id", APPLICATION_ID)
                connection.execute(
                    "INSERT INTO node VALUES (1, ?, ?, 0, 0, 0, 0, 0)", (_drawn_incarnation(), int(demo))
                )
            connection.pragma("user_version", number)


def _copy_beside(connection: apsw.Connection, file: Path, version: int) -> None:
    copy_whole(connection, file.with_name(f"{file.name}.before-schema-{version + 1}"))


def copy_whole(connection: apsw.Connection, copy: Path) -> None:
    """Write all of the ledger, as of one moment, into `copy`, made anew and synced. Raises apsw.Error.

    In one statement: the copy is as small as it can be, and needs the time of its rows, not of what was deleted.
    """
    copy.unlink(missing_ok=True)
    # Empty, which VACUUM takes for missing, so that nobody else can ever read it.
    copy.touch(mode=0o600)
    connection.execute("VACUUM INTO ?", (str(copy),))
    descriptor = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
