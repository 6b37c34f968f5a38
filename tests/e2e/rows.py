"""Every row of a running node's ledger, read beside it, to see that nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

Rows = dict[str, list[tuple[Any, ...]]]


def ledger_rows(data: Path) -> Rows:
    """All rows by table, as one transaction sees them."""
    connection = apsw.Connection(str(data / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    rows: Rows = {}
    with connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for name in names:
            rows[name] = connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
    connection.close()
    return rows
