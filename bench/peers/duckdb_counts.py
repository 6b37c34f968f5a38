"""DuckDB for counts alone, over the same rows, given to it in one go: it is no store for single decisions.

`python -m bench.peers.duckdb_counts FILE` serves (service.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

from bench.peers.admission import Answer, Asked
from bench.peers.filters import Counted, Dialect, Parameters, count_query, counted, packed_address
from bench.peers.service import serve
from bench.peers.tables import Rows, packed

DIALECT = Dialect(parameter=lambda n: f"${n}", address=packed_address, truth=bool)


def fill_file(file: Path, rows: Rows) -> None:
    """Make the file with these attempts."""
    with duckdb.connect(str(file)) as connection:
        connection.register("exported", packed(rows.attempts))
        connection.execute("CREATE TABLE attempts AS SELECT * FROM exported")


class DuckdbCounts:
    """The store."""

    def __init__(self, file: Path) -> None:
        self._connection = duckdb.connect(str(file), read_only=True)

    def decide(self, asked: Asked) -> Answer:
        raise PermissionError("DuckDB is here to count")

    def count(self, parameters: Parameters) -> Counted:
        query = count_query(parameters, DIALECT)
        return counted(parameters, self._connection.execute(query.sql, query.values).fetchall())


if __name__ == "__main__":
    serve(DuckdbCounts(Path(sys.argv[1])))
