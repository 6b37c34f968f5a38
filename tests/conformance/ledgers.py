"""The ledgers that the suite runs on. A new one joins with a bench of its own and one line in `LEDGERS`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest

from openusher.ledger.apart import LedgerApart
from openusher.ledger.base import Ledger
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger

_numbers = itertools.count(1)
# Where the process of an `ApartBench` reads what its disk does.
FAULT_FILE = "fault"
# By name: a disk that is the default would stand on itself.
_BASE = "unix"


class Fault(StrEnum):
    """What the disk does to writes from now on."""

    NONE = "works"
    FULL = "refuses writes"
    SYNC = "takes writes and fails to sync them"
    SYNC_ONCE = "fails one sync and then works"
    SYNC_HANGS = "takes writes and does not come back from a sync until it is told another fault"
    MEMORY = "has the process run out of memory at a sync"


class LedgerBench(Protocol):
    """A ledger's place, with hands in it: it can be opened again and again, broken, and looked at."""

    fault: Fault
    # How many batches it draws before it can begin on them.
    batches_ahead: int
    # Whether `statements` shows any.
    shows_statements: bool

    def __init__(self, folder: Path) -> None: ...

    async def open(self) -> Ledger:
        """Open the ledger of this place, made where it is missing."""
        ...

    def tamper(self, statements: str) -> None:
        """Change the rows of the closed ledger, past every constraint."""
        ...

    def statements(self) -> Any:
        """A context manager: the list of statements that are sent while it lasts. One sent for many rows at once
        (executemany) is there once."""
        ...

    def close(self) -> None: ...


@contextmanager
def each_connection(prepare: Callable[[apsw.Connection], None]) -> Iterator[None]:
    """Every connection of SQLite that is opened meanwhile is given to `prepare` first."""
    apsw.connection_hooks.append(prepare)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(prepare)


class WriterSteps:
    """Counts what the connections do that may write, in thousands of the engine's steps: decisions wait meanwhile.
    `watch` is for `each_connection`."""

    thousands = 0

    def watch(self, connection: apsw.Connection) -> None:
        if not connection.readonly("main"):
            connection.set_progress_handler(self._count, 1_000)

    def _count(self) -> bool:
        self.thousands += 1
        return False


class SqliteBench:
    """SQLite beside a log, on a file system that fails on command."""

    batches_ahead = 0
    shows_statements = True
    _indexed = False

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.db"
        self._name = f"bench-{next(_numbers)}"
        self._disk = Disk(self._name)
        self._connections: list[apsw.Connection] = []

    @property
    def vfs(self) -> str:
        """The name of that file system, for who opens the ledger himself."""
        return self._name

    @property
    def syncs(self) -> int:
        """How often a file was synced."""
        return self._disk.syncs

    @property
    def fault(self) -> Fault:
        return self._disk.fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._disk.fault = fault

    async def open(self) -> Ledger:
        with each_connection(self._connections.append):
            return await SqliteLedger.open(self._file, indexed=self._indexed, vfs=self._name)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        sent: list[str] = []

        def on_statement(cursor: apsw.Cursor, statement: str, values: object) -> bool:
            if sent[-1:] != [statement]:
                sent.append(statement)
            return True

        for connection in self._connections:
            connection.exec_trace = on_statement
        try:
            yield sent
        finally:
            for connection in self._connections:
                connection.exec_trace = None

    def tamper(self, statements: str) -> None:
        tamper(self._file, statements)

    def close(self) -> None:
        self._disk.unregister()


class IndexedSqliteBench(SqliteBench):
    """SQLite that is its own log."""

    _indexed = True


class ApartBench:
    """SQLite in a process of its own, as a node runs it. What the disk does is told it in a file beside the ledger."""

    batches_ahead = 1
    shows_statements = False

    def __init__(self, folder: Path) -> None:
        self._folder = hold_folder(folder / "data")
        self._fault = folder / "data" / FAULT_FILE
        self.fault = Fault.NONE

    @property
    def fault(self) -> Fault:
        return Fault(self._fault.read_text())

    @fault.setter
    def fault(self, fault: Fault) -> None:
        told = self._fault.with_suffix(".new")
        told.write_text(fault)
        told.replace(self._fault)

    async def open(self) -> Ledger:
        with pytest.MonkeyPatch.context() as environment:
            root = Path(__file__).parents[2]
            # The code beside these tests, whichever is installed.
            environment.setenv("PYTHONPATH", f"{root}:{root / 'src'}")
            return await LedgerApart.open(
                self._folder,
                demo=False,
                read_s_max=10.0,
                on_end=lambda: None,
                module="tests.conformance.faultyprocess",
            )

    def tamper(self, statements: str) -> None:
        tamper(self._folder.ledger_file, statements)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Of another process: none are seen."""
        yield []

    def close(self) -> None:
        self._folder.release()


def tamper(file: Path, statements: str) -> None:
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off;")
    connection.execute(statements)
    connection.close()


class Disk(apsw.VFS):
    """A file system that fails on command."""

    fault: Fault = Fault.NONE
    syncs = 0

    def __init__(self, name: str, *, is_default: bool = False) -> None:
        super().__init__(name, base=_BASE, makedefault=is_default)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(_BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.fault is Fault.FULL:
            raise apsw.FullError("no space")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.fault is Fault.MEMORY:
            raise MemoryError
        while self._disk.fault is Fault.SYNC_HANGS:
            time.sleep(0.001)
        if self._disk.fault in (Fault.SYNC, Fault.SYNC_ONCE):
            if self._disk.fault is Fault.SYNC_ONCE:
                self._disk.fault = Fault.NONE
            raise apsw.IOError("input/output error")
        self._disk.syncs += 1
        super().xSync(flags)


LEDGERS: list[type[LedgerBench]] = [SqliteBench, IndexedSqliteBench, ApartBench]
