"""A log that is put together anew of another one's parts: what of them the engine can read, and blocks refilled.

The files are shared by hard links; the engine never writes to those of a part, so the other log stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from openusher.attemptlog.base import Rows
from openusher.attemptlog.embedded.log import EmbeddedLog
from openusher.attemptlog.embedded.wire import DATA_FOLDER
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.query import block_rows_query
from openusher.attemptlog.schema import (
    DATABASE,
    attach_statement,
    drop_part_statement,
    merging_statement,
    remove_block_statement,
)
from openusher.errors import LogUnavailable, StoreError
from openusher.model.block import Block

# Deleting a block writes each part anew in which any of it lies.
_REWRITE_S_MAX = 3_600.0
_TABLE_ID = re.compile(r"^ATTACH TABLE \S+ UUID '([0-9a-f-]{36})'", re.MULTILINE)
_PART_NAME = re.compile(r"(\d{6})_(\d+)_(\d+)_(\d+)(?:_(\d+))?")


class Part(msgspec.Struct, frozen=True):
    """A part's folder, and what its name says: it holds what was inserted as `first` to `last`, merged `level` times
    and rewritten as of `mutation`."""

    folder: Path
    partition: str
    first: int
    last: int
    level: int
    mutation: int

    @property
    def name(self) -> str:
        return self.folder.name

    def covers(self, other: Part) -> bool:
        """Whether this one was made of `other`, which then is of no use."""
        return (
            self != other
            and self.partition == other.partition
            and self.first <= other.first
            and other.last <= self.last
            and self.level >= other.level
            and self.mutation >= other.mutation
        )


def parts_in(log_folder: Path) -> list[Part]:
    """All parts that lie in a log's folder, whether its engine would take them or not."""
    found = []
    for folder in sorted((log_folder / DATA_FOLDER).glob("store/*/*/*")):
        named = _PART_NAME.fullmatch(folder.name)
        if named is not None and folder.is_dir():
            first, last, level, mutation = (int(number or 0) for number in named.groups()[1:])
            found.append(Part(folder, named[1], first, last, level, mutation))
    return found


def parts_loaded(log_folder: Path, *, table: str) -> list[Part]:
    """Those of `parts_in` that the engine would find, since they lie where the table's definition says."""
    engine_folder = log_folder / DATA_FOLDER
    for definition in engine_folder.glob(f"metadata/{DATABASE}/{table}.sql"):
        if named := _TABLE_ID.search(definition.read_text(errors="replace")):
            return [part for part in parts_in(log_folder) if part.folder.parent.name == named[1]]
    return []


def not_covered(parts: Sequence[Part]) -> list[Part]:
    """Those that none of the others was made of."""
    return [part for part in parts if not any(other.covers(part) for other in parts)]


class MendedLog(EmbeddedLog):
    """An `EmbeddedLog` that takes parts from elsewhere. It has one table."""

    async def take_parts(self, parts: Sequence[Part], *, table: str) -> list[Part]:
        """Take over what can be read of `parts`; returns those that cannot. In the place of one of these, the parts
        are taken that it was made of, as far as they are still there.

        Raises LogUnavailable when the engine fails; the log is then of no use.
        """
        starts = self.starts
        # Else a part is merged away between being checked and being dropped, and what is wrong with it stays.
        await self._alter(merging_statement(table, may_merge=False))
        unreadable: list[Part] = []
        wanted = not_covered(parts)
        while wanted:
            taken: dict[str, Part] = {}
            failed = [part for part in wanted if not await self._attach(part, taken, table=table)]
            for name in await self.broken_parts(table=table):
                await self._alter(drop_part_statement(name, table=table))
                failed.append(taken[name])
            unreadable.extend(failed)
            wanted = not_covered([part for part in parts if any(lost.covers(part) for lost in failed)])
        if self.starts != starts:
            # Its next process has merged what it liked.
            raise LogUnavailable("the attempt log's process ended while it took parts over")
        await self._alter(merging_statement(table, may_merge=True))
        return unreadable

    async def _attach(self, part: Part, taken: dict[str, Part], *, table: str) -> bool:
        starts = self.starts
        detached = await asyncio.to_thread(_link_detached, part, self._table_folder(table))
        try:
            rows = await self._alter(attach_statement(part.name, table=table))
        except StoreError as error:
            if self.starts != starts or self.pid is None:
                raise LogUnavailable("the attempt log's process ended at a part of the log") from error
            return False
        finally:
            await asyncio.to_thread(shutil.rmtree, detached, ignore_errors=True)
        taken.update((str(row[2]), part) for row in rows)
        return True

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        # Another try with other rows is none that the engine has seen.
        self._drawn = secrets.token_hex(4)
        await super().insert(block, rows, table=table)

    async def block_rows(self, number: int, *, table: str) -> bytes:
        """The rows of block `number`, as often as they are there, in order of id and as `insert` takes them."""
        query = block_rows_query(number, table=table)
        return await self._engine.text_of(query.statement(lane=Lane.CHECK, seconds_max=_REWRITE_S_MAX))

    async def remove_block(self, number: int, *, table: str) -> None:
        """Take away all rows of block `number`; other parts than they lie in are left alone."""
        await self._alter(remove_block_statement(number, table=table))

    async def _alter(self, text: str) -> list[list[object]]:
        return await self._engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=_REWRITE_S_MAX))

    def _table_folder(self, table: str) -> Path:
        return (self._folder / DATA_FOLDER / "data" / DATABASE / table).resolve()


def _link_detached(part: Part, table_folder: Path) -> Path:
    """Put the part where the engine looks for those that it is told to take; where links cannot be, as a copy."""
    folder = table_folder / "detached" / part.name
    shutil.copytree(part.folder, folder, copy_function=_link_or_copy)
    return folder


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
