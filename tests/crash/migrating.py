"""Migrates copies of a ledger in processes that are killed at one statement after the other, and then once more each.

`python -m tests.crash.migrating LEDGER FOLDER` prints a JSON object a line: for each statement what the ledger holds
when it was opened again after a kill right before that; and first, with statement 0, after a migration that nobody
killed. Each opening is a process of its own, forked from this one, which opens none.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from openusher.ledger.sqlite import store

_STATEMENTS_MAX = 1_000


def main(ledger: Path, folder: Path) -> None:
    for statement in count():
        assert statement < _STATEMENTS_MAX
        place = folder / str(statement)
        shutil.copytree(ledger.parent, place)
        was_killed = in_process(migrate, place / ledger.name, statement)
        if statement and not was_killed:
            # There are no more statements.
            return
        if was_killed:
            assert not in_process(migrate, place / ledger.name, 0)
        assert not in_process(tell, place / ledger.name, statement)
        shutil.rmtree(place)


def in_process(work: Callable[[Path, int], None], file: Path, statement: int) -> bool:
    """Whether a process was killed by kill -9 at this work; it may not fail otherwise."""
    pid = os.fork()
    if not pid:
        try:
            work(file, statement)
            sys.stdout.flush()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, status
    return False


def migrate(file: Path, die_at: int) -> None:
    """Die before that statement; before none where it is 0."""
    numbers = count(1)

    def trace(cursor: Any, sql: str, bindings: Any) -> bool:
        if next(numbers) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(hook)
    store.open_writer(file).close()


def tell(file: Path, statement: int) -> None:
    """What the ledger holds, whatever wrote it."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    schema = sorted(connection.execute("SELECT type, name, sql FROM sqlite_schema"), key=repr)
    tables = [name for kind, name, _ in schema if kind == "table"]
    rows = {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}
    found = {
        "statement": statement,
        "version": connection.pragma("user_version"),
        "sound": connection.pragma("integrity_check"),
        "schema": sha256(repr(schema).encode()).hexdigest(),
        "rows": {table: len(found) for table, found in rows.items()},
        "content": sha256(repr(rows).encode()).hexdigest(),
        "copies": sorted(path.name for path in file.parent.glob(f"{file.name}.before-*")),
    }
    connection.close()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
