"""What the columnar attempt log needs of the database under it: to carry a statement there and rows back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from openusher.errors import LogDamaged, LogUnavailable, StoreError


class Lane(StrEnum):
    """Kinds of work that must not wait for each other: `count` is what an index answers, `scan` what reads all that an
    account has, `export` what goes to a file."""

    INSERT = "insert"
    COUNT = "count"
    SCAN = "scan"
    EXPORT = "export"
    CHECK = "check"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement, which may run for `seconds_max`.

    `params` are bound to its `{name:Type}`, already in the text form of query parameters (query.py, `bound_text`).
    `data`: the rows of an INSERT, JSON arrays one a line, which its text names as `input('their names and types')`; or
    the file that they stand in.
    `cdn` is the account it is for, so that accounts get their turns; 0: none.
    """

    text: str
    lane: Lane
    seconds_max: float
    params: dict[str, str] = {}
    data: bytes | Path | None = None
    cdn: int = 0

    def __repr__(self) -> str:
        # Parameters hold passes.
        return f"Statement({self.lane.value}, {self.text[:60]!r})"


class Engine(Protocol):
    """A ClickHouse engine, wherever it runs."""

    @property
    def starts(self) -> int:
        """How often it has been opened; what was true of its data before a rise must be looked at again."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that has it open beside this one; None while there is none."""
        ...

    async def start(self, first: Sequence[Statement] = ()) -> None:
        """Open it; each time it is opened, `first` is run before anything else.

        Raises SetupError when it cannot run on this machine, LogDamaged and LogUnavailable when it cannot be opened
        now; after these two it opens by itself as soon as it can.
        """
        ...

    async def execute(self, statement: Statement) -> list[list[Any]]:
        """Run it within its time and return its rows, each a list of JSON values.

        Raises LogUnavailable: no answer, it may or may not have been done. Raises LogDamaged: the engine found its
        data broken. Neither text holds a value of a parameter or a row.
        """
        ...

    async def text_of(self, statement: Statement) -> bytes:
        """As `execute`, and return its rows as they travel: JSON, one a line, each ended by a line feed."""
        ...

    async def close(self) -> None: ...


# `Code: 241. DB::Exception: … (MEMORY_LIMIT_EXCEEDED)`: the last name is the engine's own, whatever stands before it.
ERROR_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")

# What the engine calls files that are not as it wrote them.
DAMAGE = frozenset(
    {
        "ASYNC_LOAD_WAIT_FAILED",
        "ATTEMPT_TO_READ_AFTER_EOF",
        "BAD_SIZE_OF_FILE_IN_DATA_PART",
        "CANNOT_DECOMPRESS",
        "CANNOT_OPEN_FILE",
        "CANNOT_READ_ALL_DATA",
        "CHECKSUM_DOESNT_MATCH",
        "CORRUPTED_DATA",
        "EXPECTED_END_OF_FILE",
        "FILE_DOESNT_EXIST",
        "INCORRECT_FILE_NAME",
        "NO_FILE_IN_DATA_PART",
        "NO_SUCH_DATA_PART",
        "POTENTIALLY_BROKEN_DATA_PART",
        "SIZES_OF_COLUMNS_DOESNT_MATCH",
        "SIZES_OF_MARKS_FILES_ARE_INCONSISTENT",
        "TOO_LARGE_SIZE_COMPRESSED",
        "TOO_MANY_UNEXPECTED_DATA_PARTS",
        "UNEXPECTED_END_OF_FILE",
        "UNEXPECTED_FILE_IN_DATA_PART",
        "UNKNOWN_CODEC",
        "UNKNOWN_COMPRESSION_METHOD",
        "UNKNOWN_FORMAT_VERSION",
        "UNKNOWN_PART_TYPE",
        "UNKNOWN_TABLE",
    }
)


def error_of(name: str) -> StoreError:
    """The error of ours for one that the engine calls `name` (its text may show a pass, and stays where it is)."""
    if name in DAMAGE:
        return LogDamaged(f"the attempt log's engine found its data damaged ({name})")
    return LogUnavailable(f"the attempt log's engine failed ({name})")
