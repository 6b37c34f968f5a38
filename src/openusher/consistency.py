"""Does the attempt log hold exactly what the ledger says it must? The part of `usher check` between the two."""

from __future__ import annotations

from collections.abc import Sequence

from openusher.attemptlog.base import AttemptLog, Held
from openusher.ledger.base import Ledger
from openusher.model.block import Block, Horizon

# After so many the picture is clear, and a report of a million lines helps nobody.
_FAULTS_MAX = 50

_RESTORE = "restore the attempt log from a backup"


async def find_log_faults(ledger: Ledger, attempt_log: AttemptLog, *, quick: bool) -> list[str]:
    """Compare every block with every table: rows, ids and digest; `quick` compares only how many rows there are.

    Returns a sentence for each difference, with its repair. Raises LogUnavailable, LogDamaged.
    """
    blocks = await ledger.blocks()
    faults: list[str] = []
    for table in await attempt_log.tables():
        if quick:
            faults.extend(await _rows_differ(attempt_log, table, blocks))
        else:
            held = await attempt_log.all_held(table=table)
            faults.extend(_blocks_differ(table, await _with_later(ledger, blocks, held), held))
    return faults[:_FAULTS_MAX]


async def _with_later(ledger: Ledger, blocks: list[Block], held: dict[int, Held]) -> list[Block]:
    """`blocks`, and those among `held` that were assigned since these were read: a node ships while it is checked."""
    unknown = held.keys() - {block.number for block in blocks}
    if not unknown:
        return blocks
    return [*blocks, *(block for block in await ledger.blocks() if block.number in unknown)]


async def _rows_differ(attempt_log: AttemptLog, table: str, blocks: Sequence[Block]) -> list[str]:
    upto = max((block.number for block in blocks), default=0)
    but = tuple(block.number for block in blocks if not block.shipped)
    held = (await attempt_log.rows_by_table(Horizon(upto=upto, but=but)))[table]
    shipped = sum(block.rows for block in blocks if block.shipped)
    if held == shipped:
        return []
    return [f"table {table} holds {held} attempts of {shipped} shipped; run usher check without --quick to see which"]


def _blocks_differ(table: str, blocks: Sequence[Block], held_by_block: dict[int, Held]) -> list[str]:
    faults: list[str] = []
    for block in blocks:
        held = held_by_block.pop(block.number, None)
        if held is None:
            # An unshipped block that is not there yet is how things are between two steps.
            if block.shipped:
                faults.append(f"table {table} does not hold block {block.number} ({block.rows} attempts); {_RESTORE}")
        elif held.rows != block.rows:
            faults.append(
                f"table {table} holds {held.rows} attempts of block {block.number}'s {block.rows}; {_RESTORE}"
            )
        elif (held.first_id, held.last_id, held.digest) != (block.first_id, block.last_id, block.digest):
            faults.append(f"table {table} holds other attempts than were shipped as block {block.number}; {_RESTORE}")
    for number, held in sorted(held_by_block.items()):
        faults.append(
            f"table {table} holds block {number} ({held.rows} attempts), which the ledger never assigned; the log is "
            "newer than the ledger: restore both from one backup"
        )
    return faults
