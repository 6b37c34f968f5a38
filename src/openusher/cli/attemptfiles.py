"""Files of attempts: CSV, NDJSON and Parquet, written row by row, that are there when they are whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from openusher.cli.attemptrows import CsvRows, fields, shown
from openusher.cli.output import json_line
from openusher.cli.sigterm import ended_by_sigterm
from openusher.model.attempt import Attempt
from openusher.sevu.attempts import attempt_members

# Of a row group of Parquet, which is what readers skip by and what is held in memory.
_GROUP_ROWS = 32_768


class Format(StrEnum):
    """What a file of attempts may be."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


_BY_SUFFIX = {".csv": Format.CSV, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".parquet": Format.PARQUET}


def format_of(path: Path) -> Format | None:
    """What the name of a file says that it is."""
    return _BY_SUFFIX.get(path.suffix.lower())


class AttemptFile(Protocol):
    """Takes attempts in their order; whole once it is closed, and of no use once it is dropped."""

    def write(self, attempts: Sequence[Attempt]) -> None: ...

    def close(self) -> None: ...

    def drop(self) -> None: ...


def attempt_file(into: BinaryIO, format_: Format, *, show_pass: bool) -> AttemptFile:
    """A file of this format, written to `into`, which stays open."""
    match format_:
        case Format.CSV:
            return _Csv(into, show_pass=show_pass)
        case Format.NDJSON:
            return _Ndjson(into, show_pass=show_pass)
        case Format.PARQUET:
            return _Parquet(into, show_pass=show_pass)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file, for its owner only, that stands at `path` once the context has ended well and it is synced; otherwise
    nothing does, or what stood there before; also where SIGTERM ends the program meanwhile. Raises OSError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with ended_by_sigterm():
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def open_for(output: Path | None, stdout: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Where an export goes: to a file that becomes whole, or to `stdout` for None."""
    return nullcontext(stdout) if output is None else whole_file(output)


class _Csv:
    def __init__(self, into: BinaryIO, *, show_pass: bool) -> None:
        self._into = into
        self._show_pass = show_pass
        self._text = io.StringIO()
        self._rows = CsvRows(self._text, fields(show_pass=show_pass))

    def write(self, attempts: Sequence[Attempt]) -> None:
        self._rows.write(shown(attempt_members(each), show_pass=self._show_pass).values() for each in attempts)
        self._into.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()

    def close(self) -> None:
        self._into.write(self._text.getvalue().encode())
        self._into.flush()

    def drop(self) -> None: ...


class _Ndjson:
    def __init__(self, into: BinaryIO, *, show_pass: bool) -> None:
        self._into = into
        self._show_pass = show_pass

    def write(self, attempts: Sequence[Attempt]) -> None:
        rows = (shown(attempt_members(each), show_pass=self._show_pass) for each in attempts)
        self._into.write("".join(f"{json_line(row)}\n" for row in rows).encode())

    def close(self) -> None:
        self._into.flush()

    def drop(self) -> None: ...


class _Parquet:
    """Texts as they are: nothing takes a value in here for a formula or a command."""

    def __init__(self, into: BinaryIO, *, show_pass: bool) -> None:
        # Late: it takes a third of a second, and fifty megabytes.
        import pyarrow
        from pyarrow import parquet

        self._arrow = pyarrow
        self._show_pass = show_pass
        kinds = {
            "id": pyarrow.int64(),
            "datetime": pyarrow.timestamp("ms", tz="UTC"),
            "success": pyarrow.bool_(),
        }
        names = fields(show_pass=show_pass)
        self._schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
        self._writer = parquet.ParquetWriter(into, self._schema, compression="zstd")
        self._columns: dict[str, list[Any]] = {name: [] for name in names}

    def write(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            row = shown(attempt_members(attempt), show_pass=self._show_pass)
            row |= {"datetime": attempt.at_ms, "success": bool(row["success"])}
            for name, value in row.items():
                self._columns[name].append(value)
        if len(self._columns["id"]) >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        self._writer.write_batch(self._arrow.record_batch(self._columns, schema=self._schema))
        for values in self._columns.values():
            values.clear()

    def close(self) -> None:
        if self._columns["id"]:
            self._write_group()
        self._writer.close()

    def drop(self) -> None:
        # Else it writes its end once it is collected, into a file that is closed, and says so on stderr.
        with suppress(Exception):
            self._writer.close()
        self._writer.is_open = False
