"""The ledgers that the suite runs on. A new one joins with a bench of its own and one line in `LEDGERS`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import apsw

from openusher.ledger.base import Ledger
from openusher.ledger.sqlite import SqliteLedger

_numbers = itertools.count(1)


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


class SqliteBench:
    """SQLite beside a log, on a file system that fails on command."""

    _indexed = False

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.db"
        self._name = f"bench-{next(_numbers)}"
        self._disk = _Disk(self._name)
        self._connections: list[apsw.Connection] = []

    @property
    def fault(self) -> Fault:
        return self._disk.fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._disk.fault = fault

    async def open(self) -> Ledger:
        apsw.connection_hooks.append(self._connections.append)
        try:
            return await SqliteLedger.open(self._file, indexed=self._indexed, vfs=self._name)
        finally:
            apsw.connection_hooks.remove(self._connections.append)

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
        connection = apsw.Connection(str(self._file))
        connection.execute("PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off;")
        connection.execute(statements)
        connection.close()

    def close(self) -> None:
        self._disk.unregister()


class IndexedSqliteBench(SqliteBench):
    """SQLite that is its own log."""

    _indexed = True


class _Disk(apsw.VFS):
    def __init__(self, name: str) -> None:
        self.fault = Fault.NONE
        super().__init__(name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: _Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

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
        super().xSync(flags)


LEDGERS: list[type[LedgerBench]] = [SqliteBench, IndexedSqliteBench]
