"""Does the attempt log hold exactly what the ledger says it must? Asked at each start of the log and by a check."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from openusher.attemptlog.base import AttemptLog, Held
from openusher.errors import LogDamaged
from openusher.ledger.base import Ledger, LedgerStats
from openusher.model.block import Block

# After so many the picture is clear, and a report of a million lines helps nobody.
_FAULTS_MAX = 50

REPAIR = "stop the node and run usher repair, or restore a backup"
_BLOCKS_NAMED = 5
_MADE_ANEW = "it was emptied, and is made anew of the other table while the node runs"
_NEWER = "the log is newer than the ledger: restore both from one backup"


class LogFault(msgspec.Struct, frozen=True):
    """What is wrong with a table of the log, in words that end a sentence, and the repair. `block` is the number of
    the block that the table does not hold as it must; 0 where none is meant that the ledger knows."""

    found: str
    repair: str
    block: int = 0

    def __str__(self) -> str:
        return f"{self.found}; {self.repair}"


async def find_log_faults(
    ledger: Ledger, attempt_log: AttemptLog, *, quick: bool, faults_max: int = _FAULTS_MAX
) -> list[LogFault]:
    """Compare every block with every table: rows, ids and digest; `quick` compares only how many rows there are.

    A node may ship meanwhile. Returns at most `faults_max`. Raises LogUnavailable, LogDamaged and the ledger's errors.
    """
    blocks, anonymised_upto = await _blocks_and_anonymised(ledger)
    if quick:
        return await find_row_faults(ledger, attempt_log, blocks)
    faults: list[LogFault] = []
    for table in await attempt_log.tables():
        held = await attempt_log.all_held(table=table, anonymised_upto=anonymised_upto)
        rows_by_block = {number: found.rows for number, found in held.items()}
        known = await _with_later(ledger, blocks, rows_by_block)
        stats = await ledger.stats()
        faults.extend(await asyncio.to_thread(_in_rows, table, known, rows_by_block, stats.released_block))
        compared = [block for block in known if _is_compared(block.number, stats, anonymised_upto)]
        faults.extend(await asyncio.to_thread(_in_content, table, compared, held))
    faults.extend(await _in_derived(ledger, attempt_log, anonymised_upto))
    return faults[:faults_max]


async def _in_derived(ledger: Ledger, attempt_log: AttemptLog, anonymised_upto: int) -> list[LogFault]:
    released = (await ledger.stats()).released_block
    wrong = await attempt_log.wrongly_derived(released=released, anonymised_upto=anonymised_upto)
    stats = await ledger.stats()
    found = [number for number in wrong if _is_compared(number, stats, anonymised_upto)]
    if not found:
        return []
    await attempt_log.derive_anew()
    some = ", ".join(f"{number}" for number in found[:_BLOCKS_NAMED])
    return [LogFault(f"the log's table by time holds other attempts of block {some}", _MADE_ANEW)]


def _is_compared(number: int, stats: LedgerStats, anonymised_upto: int) -> bool:
    """Whether a difference in this block means anything, by `stats` from after it was read. Of released ones any rows
    may be there, and those that were anonymised meanwhile may have been read in either form."""
    return number > stats.released_block and not anonymised_upto < number <= stats.anonymised_block


async def _blocks_and_anonymised(ledger: Ledger) -> tuple[list[Block], int]:
    """All blocks, and up to which of them their digests are of anonymised attempts, both as of one moment."""
    while True:
        anonymised_upto = (await ledger.stats()).anonymised_block
        blocks = await ledger.blocks()
        if (await ledger.stats()).anonymised_block == anonymised_upto:
            return blocks, anonymised_upto


async def check_log(ledger: Ledger, attempt_log: AttemptLog, *, quick: bool) -> list[str]:
    """What is wrong with the log, its files included unless `quick`, a sentence each with its repair. Raises
    LogUnavailable and the ledger's errors."""
    if not attempt_log.ships:
        return []
    faults: list[LogFault] = []
    try:
        if not quick:
            faults.extend(await find_broken_parts(attempt_log))
        faults.extend(await find_log_faults(ledger, attempt_log, quick=quick))
    except LogDamaged as error:
        faults.append(LogFault(f"the attempt log cannot be read: {error}", REPAIR))
    return [str(fault) for fault in faults]


async def find_broken_parts(attempt_log: AttemptLog) -> list[LogFault]:
    """What of the log's files is not as it was written, also where nothing reads it today. Raises LogUnavailable,
    LogDamaged."""
    return [
        LogFault(f"table {table} has files of part {name} that are not as they were written", REPAIR)
        for table in await attempt_log.tables()
        for name in await attempt_log.broken_parts(table=table)
    ]


async def find_row_faults(ledger: Ledger, attempt_log: AttemptLog, blocks: list[Block]) -> list[LogFault]:
    """Compare how many rows each table has of each of `blocks`, all that the ledger had a moment ago.

    Raises and returns as `find_log_faults`.
    """
    faults: list[LogFault] = []
    for table in await attempt_log.tables():
        rows_by_block = await attempt_log.rows_by_block(table=table)
        known = await _with_later(ledger, blocks, rows_by_block)
        # Read last: what was gone when the log was read, was released before.
        released = (await ledger.stats()).released_block
        # In a thread: a year of blocks is half a million, and decisions go on.
        faults.extend(await asyncio.to_thread(_in_rows, table, known, rows_by_block, released))
    return faults[:_FAULTS_MAX]


async def _with_later(ledger: Ledger, blocks: list[Block], held: Mapping[int, object]) -> list[Block]:
    """`blocks`, and those up to the last of `held` that were assigned since these were read: a node ships meanwhile."""
    last, last_held = blocks[-1].number if blocks else 0, max(held, default=0)
    if last_held <= last:
        return blocks
    # Not those behind it, which by now may be shipped too: when the log was read they were still to come.
    return [*blocks, *(block for block in await ledger.blocks() if last < block.number <= last_held)]


def _in_rows(table: str, blocks: Sequence[Block], rows_by_block: Mapping[int, int], released: int) -> list[LogFault]:
    """Block by block, since sums agree where one block is there twice and another, as large, is not. Of those up to
    `released` any rows may be there: no answer knows them."""
    faults: list[LogFault] = []
    for block in blocks:
        if block.number <= released:
            continue
        rows = rows_by_block.get(block.number, 0)
        # An unshipped block that is not there yet is how things are between two steps.
        if rows == block.rows or (rows == 0 and not block.shipped):
            continue
        found = (
            f"holds {rows} attempts of block {block.number}'s {block.rows}"
            if rows
            else f"does not hold block {block.number} ({block.rows} attempts)"
        )
        faults.append(LogFault(f"table {table} {found}", REPAIR, block.number))
    for number in sorted(rows_by_block.keys() - {block.number for block in blocks}):
        found = f"holds block {number} ({rows_by_block[number]} attempts), which the ledger never assigned"
        faults.append(LogFault(f"table {table} {found}", _NEWER))
    return faults


def _in_content(table: str, blocks: Sequence[Block], held_by_block: Mapping[int, Held]) -> list[LogFault]:
    """Blocks with as many rows as they must have, and other ones."""
    faults: list[LogFault] = []
    for block in blocks:
        held = held_by_block.get(block.number)
        if held is None or held.rows != block.rows:
            continue
        if (held.first_id, held.last_id, held.digest) != (block.first_id, block.last_id, block.digest):
            found = f"table {table} holds other attempts than were shipped as block {block.number}"
            faults.append(LogFault(found, REPAIR, block.number))
    return faults
