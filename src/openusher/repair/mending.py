"""Puts a log together that holds what the ledger says: sound parts of the damaged one, and blocks from elsewhere.

A block's rows are taken from the ledger, where they are still there; from the damaged log itself, where it holds them
more than once; else from a backup. Wherever they come from, they must have the digest that the ledger has of the block.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from openusher.attemptlog.base import Held
from openusher.attemptlog.embedded import open_mended_log
from openusher.attemptlog.embedded.mending import MendedLog, not_covered, parts_in, parts_loaded
from openusher.backup.files import sync_all_below
from openusher.backup.manifest import LOG, Backup
from openusher.consistency import find_log_faults
from openusher.ledger.base import Ledger
from openusher.ledger.folder import LOG_FOLDER, REPAIRING_FOLDER
from openusher.model.block import Block
from openusher.repair.exchange import exchange

# All of them: each is to be mended.
_FAULTS_MAX = 10**9
_BACKUP_FOLDER = "backup"


class Repair(msgspec.Struct, kw_only=True):
    """What was found and done, in sentences. `lost` is what no repair mends: with anything in it there is none."""

    unreadable: list[str] = []
    mended: list[str] = []
    lost: list[str] = []

    @property
    def is_needed(self) -> bool:
        return bool(self.unreadable or self.mended or self.lost)


class _Source(Protocol):
    """Where a block's rows may still be."""

    @property
    def name(self) -> str: ...

    async def rows(self, block: Block) -> bytes:
        """Its rows as a log takes them, or what there is of them."""
        ...


class Mending:
    """A log that is to take the place of that in `data`, whose folder the caller holds and whose node does not run.

    `tell` hears what is being done.
    """

    def __init__(
        self,
        data: Path,
        ledger: Ledger,
        backups: Sequence[Backup],
        *,
        memory_bytes_max: int,
        tell: Callable[[str], None],
    ) -> None:
        self._data = data
        self._ledger = ledger
        self._backups = backups
        self._memory_bytes_max = memory_bytes_max
        self._tell = tell
        self._place = data / REPAIRING_FOLDER
        self._repair = Repair()

    async def prepare(self) -> Repair:
        """Put the new log together beside the damaged one, which stays as it is. Raises the log's and ledger's errors.

        What was not put in its place with `apply` is to be thrown away with `discard`, also after an error.
        """
        self.discard()
        self._tell("Checking the ledger …")
        self._repair.lost.extend(await self._ledger.check(quick=False))
        has_log = (self._data / LOG_FOLDER).exists() or (await self._ledger.stats()).shipped_block
        if has_log and not self._repair.lost:
            self._place.mkdir(mode=0o700)
            async with self._opened(LOG_FOLDER) as log:
                (table,) = await log.tables()
                await self._put_together(log, table)
        return self._repair

    def apply(self) -> Path | None:
        """Put the new log in the place of the damaged one; returns what that is called now. Raises OSError."""
        kept_as = self._data / time.strftime(f"{LOG_FOLDER}.damaged-%Y%m%dT%H%M%SZ", time.gmtime())
        sync_all_below(self._place)
        exchange(self._place / LOG_FOLDER, self._data / LOG_FOLDER, kept_as=kept_as)
        sync_all_below(self._place)
        self.discard()
        return kept_as if kept_as.exists() else None

    def discard(self) -> None:
        if self._place.exists():
            shutil.rmtree(self._place)

    @asynccontextmanager
    async def _opened(self, name: str) -> AsyncIterator[MendedLog]:
        log = open_mended_log(self._place / name, memory_bytes_max=self._memory_bytes_max)
        try:
            await log.start()
            yield log
        finally:
            await log.close()

    async def _put_together(self, log: MendedLog, table: str) -> None:
        self._tell("Reading every part of the log …")
        parts = parts_in(self._data / LOG_FOLDER)
        if {*not_covered(parts)} != {*not_covered(parts_loaded(self._data / LOG_FOLDER, table=table))}:
            self._repair.mended.append("the log's table: made anew of its parts, of which it did not know all")
        unreadable = await log.take_parts(parts, table=table)
        self._repair.unreadable.extend(f"part {part.name} of the log cannot be read: left out" for part in unreadable)
        if not await log.rows_by_block(table=table) and self._backups:
            # By files: row by row would take hours for a log of which nothing is left.
            self._tell(f"Taking the log of backup {self._backups[0].name} …")
            await log.take_parts(parts_in(self._backups[0].folder / LOG), table=table)
        self._tell("Comparing every block with the ledger …")
        wrong = await self._wrong_blocks(log)
        await self._take_out_unshipped(log, wrong, table=table)
        await self._refill(log, wrong, _LedgerRows(self._ledger), table=table)
        await self._refill(log, wrong, _OwnRows(log, table), table=table)
        for backup in self._backups:
            if wrong:
                await self._refill_from_backup(log, wrong, backup, table=table)
        self._repair.lost.extend(f"block {block.number} ({block.rows} attempts) is lost" for block in wrong.values())

    async def _wrong_blocks(self, log: MendedLog) -> dict[int, Block]:
        faults = await find_log_faults(self._ledger, log, quick=False, faults_max=_FAULTS_MAX)
        self._repair.lost.extend(str(fault) for fault in faults if not fault.block)
        numbers = {fault.block for fault in faults}
        return {block.number: block for block in await self._ledger.blocks() if block.number in numbers}

    async def _take_out_unshipped(self, log: MendedLog, wrong: dict[int, Block], *, table: str) -> None:
        for block in [block for block in wrong.values() if not block.shipped]:
            await log.remove_block(block.number, table=table)
            self._mended(wrong, block, "taken out; the node ships it anew")

    async def _refill_from_backup(self, log: MendedLog, wrong: dict[int, Block], backup: Backup, *, table: str) -> None:
        self._tell(f"Looking into backup {backup.name} …")
        async with self._opened(_BACKUP_FOLDER) as stored:
            await stored.take_parts(parts_in(backup.folder / LOG), table=table)
            await self._refill(log, wrong, _BackupRows(stored, table, backup.name), table=table)
        shutil.rmtree(self._place / _BACKUP_FOLDER)

    async def _refill(self, log: MendedLog, wrong: dict[int, Block], source: _Source, *, table: str) -> None:
        """Put the blocks right that `source` has whole."""
        for block in list(wrong.values()):
            rows = await source.rows(block)
            if len(rows.splitlines()) != block.rows:
                continue
            await log.remove_block(block.number, table=table)
            await log.insert(block, rows, table=table)
            if await self._held(log, block, table=table) == _expected(block):
                self._mended(wrong, block, f"put back from {source.name}")

    async def _held(self, log: MendedLog, block: Block, *, table: str) -> Held | None:
        """What the log has of it, in the form of which the ledger has the digest. A backup may have another."""
        anonymised_upto = (await self._ledger.stats()).anonymised_block
        held = await log.held_between(block.number, block.number, table=table, anonymised_upto=anonymised_upto)
        return held.get(block.number)

    def _mended(self, wrong: dict[int, Block], block: Block, how: str) -> None:
        del wrong[block.number]
        self._repair.mended.append(f"block {block.number} ({block.rows} attempts): {how}")


class _LedgerRows:
    """Rows go from the ledger some time after their block was shipped."""

    name = "the ledger"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def rows(self, block: Block) -> bytes:
        return await self._ledger.block_rows(block)


class _OwnRows:
    """Of a block that the log holds more than once, each row once; nothing of any other."""

    name = "the log itself, which held it more than once"

    def __init__(self, log: MendedLog, table: str) -> None:
        self._log = log
        self._table = table

    async def rows(self, block: Block) -> bytes:
        held = (await self._log.block_rows(block.number, table=self._table)).splitlines(keepends=True)
        return b"".join(dict.fromkeys(held)) if len(held) > block.rows else b""


class _BackupRows:
    def __init__(self, stored: MendedLog, table: str, backup: str) -> None:
        self._stored = stored
        self._table = table
        self.name = f"backup {backup}"

    async def rows(self, block: Block) -> bytes:
        return await self._stored.block_rows(block.number, table=self._table)


def _expected(block: Block) -> Held:
    return Held(rows=block.rows, first_id=block.first_id, last_id=block.last_id, digest=block.digest)
