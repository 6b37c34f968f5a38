"""Which pending attempts make up the next block, and a block's rows and digest as text (see attemptlog/base.py)."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import apsw
import msgspec

from openusher.model.block import BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, COLUMNS, Block


def _canonical(column: str, kind: str) -> str:
    match kind:
        case "number":
            return f"{column}, ','"
        case "address":
            return f"lower(hex({column})), ','"
        case _:
            return f"octet_length({column}), ':', {column}, ','"


# One call: each `||` would write anew what stands before it.
_CANONICAL_ROW = f"concat({', '.join(_canonical(column, kind) for column, kind in COLUMNS)})"
JSON_ROW = ", ".join(f"lower(hex({column}))" if kind == "address" else column for column, kind in COLUMNS)

# Rows read at a time for a block to be.
_STEP_ROWS = 2_048
# One month a block: it then lies in one partition of the log, and its insert is one part, all or nothing.
_MONTH_END = """
SELECT unixepoch(at_ms / 1000, 'unixepoch', 'start of month', '+1 month') * 1000
FROM attempts WHERE id > ? ORDER BY id LIMIT 1
"""
# Rows in order of id, as they lie in the table: an aggregate keeps to the order of a subquery, and one that sorts by
# itself takes twice as long. Bytes, which Python takes as they are: a text would be looked through while nothing else
# runs.
_STEP = f"""
SELECT count(*), min(id), max(id), CAST(group_concat({_CANONICAL_ROW}, '') AS BLOB)
FROM (SELECT * FROM attempts WHERE id > ? ORDER BY id LIMIT ?) WHERE at_ms < ?
"""
_CANONICAL_TEXT = f"""
SELECT CAST(group_concat({_CANONICAL_ROW}, '') AS BLOB)
FROM (SELECT * FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id)
"""
_ROWS = f"""
SELECT CAST(group_concat(json_array({JSON_ROW}), char(10)) AS BLOB)
FROM (SELECT * FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id)
"""
_OLDEST_UNSHIPPED = """
SELECT number, incarnation, first_id, last_id, rows, digest, shipped FROM blocks
WHERE NOT shipped ORDER BY number LIMIT 1
"""
# A page of them as one row: a thread that steps row by row waits for the other threads' GIL at each, and a year of
# blocks is half a million.
_PAGE_BLOCKS = 2_000
_PAGE = f"""
SELECT json_group_array(json_object(
    'number', number, 'incarnation', incarnation, 'first_id', first_id, 'last_id', last_id, 'rows', rows,
    'digest', digest, 'shipped', json(iif(shipped, 'true', 'false'))) ORDER BY number)
FROM (SELECT * FROM blocks WHERE number > ? ORDER BY number LIMIT {_PAGE_BLOCKS})
"""
_LAST_ASSIGNED = "SELECT last_id FROM blocks ORDER BY number DESC LIMIT 1"


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A block to be: ids, number of rows and digest."""

    first_id: int
    last_id: int
    rows: int
    digest: str


def oldest_unshipped(connection: apsw.Connection) -> Block | None:
    for row in connection.execute(_OLDEST_UNSHIPPED):
        return _block(row)
    return None


def next_range(connection: apsw.Connection, *, after_id: int) -> Range | None:
    """The oldest attempts behind `after_id` that fit a block; None if there are none."""
    digest = sha256()
    first_id, last_id, rows, room, step = 0, after_id, 0, BLOCK_BYTES_MAX, _STEP_ROWS
    with connection:
        ends = [end_ms for (end_ms,) in connection.execute(_MONTH_END, (after_id,))]
        while ends and step and rows < BLOCK_ROWS_MAX:
            asked = min(step, BLOCK_ROWS_MAX - rows)
            ((found, first, last, canonical),) = connection.execute(_STEP, (last_id, asked, ends[0]))
            if not found:
                break
            if len(canonical) > room:
                # So many of them fit if they are alike.
                step = asked * room // len(canonical)
                continue
            digest.update(canonical)
            first_id, last_id, rows, room = first_id or first, last, rows + found, room - len(canonical)
    return Range(first_id=first_id, last_id=last_id, rows=rows, digest=digest.hexdigest()) if rows else None


def digest_of(connection: apsw.Connection, first_id: int, last_id: int) -> str:
    ((canonical,),) = connection.execute(_CANONICAL_TEXT, (first_id, last_id))
    return sha256(canonical or b"").hexdigest()


def rows_of(connection: apsw.Connection, block: Block) -> bytes:
    ((rows,),) = connection.execute(_ROWS, (block.first_id, block.last_id))
    return rows or b""


def write_rows(connection: apsw.Connection, block: Block, file: Path) -> None:
    """Write them to `file`, which is its owner's only. Raises OSError."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
        # A step at a time: while Python takes over what it reads, nothing else runs.
        for first_id in range(block.first_id, block.last_id + 1, _STEP_ROWS):
            last_id = min(first_id + _STEP_ROWS - 1, block.last_id)
            for (rows,) in connection.execute(_ROWS, (first_id, last_id)):
                if rows is not None:
                    written.write(rows)
                    written.write(b"\n")


def all_blocks(connection: apsw.Connection) -> list[Block]:
    found: list[Block] = []
    with connection:
        while page := _page(connection, after=found[-1].number if found else 0):
            found.extend(page)
    return found


def _page(connection: apsw.Connection, *, after: int) -> list[Block]:
    ((text,),) = connection.execute(_PAGE, (after,))
    return msgspec.json.decode(text, type=list[Block])


def _block(row: tuple[object, ...]) -> Block:
    fields = dict(zip(Block.__struct_fields__, row, strict=True))
    return msgspec.convert({**fields, "shipped": bool(fields["shipped"])}, Block)


def last_assigned(connection: apsw.Connection) -> int:
    """The last attempt that belongs to a block, shipped or not."""
    for (last_id,) in connection.execute(_LAST_ASSIGNED):
        return int(last_id)
    return 0


def assign(connection: apsw.Connection, found: Range) -> Block:
    ((number, incarnation),) = connection.execute(
        "UPDATE node SET last_block = last_block + 1 RETURNING last_block, incarnation"
    )
    block = Block(
        number=number,
        incarnation=incarnation,
        first_id=found.first_id,
        last_id=found.last_id,
        rows=found.rows,
        digest=found.digest,
        shipped=False,
    )
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, 0)",
        (number, incarnation, block.first_id, block.last_id, block.rows, block.digest),
    )
    return block


def mark_shipped(connection: apsw.Connection, block: Block) -> None:
    connection.execute("UPDATE blocks SET shipped = 1 WHERE number = ?", (block.number,))
    connection.execute("UPDATE node SET shipped_attempt = max(shipped_attempt, ?)", (block.last_id,))


def has_shipped_rows(connection: apsw.Connection, *, upto: int) -> bool:
    ((found,),) = connection.execute(
        "SELECT exists (SELECT 1 FROM attempts, node WHERE id <= min(shipped_attempt, ?) LIMIT 1)", (upto,)
    )
    return bool(found)


def delete_shipped(connection: apsw.Connection, *, limit: int, upto: int) -> int:
    connection.execute(
        """
        DELETE FROM attempts WHERE id <= (
          SELECT max(id) FROM (
            SELECT id FROM attempts WHERE id <= (SELECT min(shipped_attempt, ?) FROM node) ORDER BY id LIMIT ?))
        """,
        (upto, limit),
    )
    return connection.changes()
