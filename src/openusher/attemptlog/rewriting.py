"""Takes old attempts away, and anonymises others, in every table that has them."""

from __future__ import annotations

from typing import Any

from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.attemptlog.query import Query
from openusher.attemptlog.schema import DATABASE, IS_PLAIN, anonymise_statement, remove_statement

# Looks at all attempts of the log.
_LOOK_S_MAX = 900.0
# Only says what is to be done.
_ALTER_S_MAX = 60.0

# Times rise with blocks, so of the first that has a later one none is meant, nor of any behind it.
_LAST_BLOCK_BEFORE = f"""
SELECT if(countIf(at_ms >= {{at_ms:Int64}}) = 0, max(block), minIf(block, at_ms >= {{at_ms:Int64}}) - 1)
FROM {DATABASE}.{{table}}"""

_PARTITIONS = f"""
SELECT _partition_id, max(block), countIf(block <= {{upto:UInt64}}) AS rows FROM {DATABASE}.{{table}}
GROUP BY _partition_id HAVING rows > 0"""

_REWRITING = f"""
SELECT 1 FROM system.mutations
WHERE database = '{DATABASE}' AND table = {{table:String}} AND NOT is_done
  AND startsWith(command, concat('(', {{how:String}})) LIMIT 1"""

_PLAIN = f"""
SELECT _partition_id, count() FROM {DATABASE}.{{table}} WHERE block <= {{upto:UInt64}} AND ({{is_plain}})
GROUP BY _partition_id"""


class Rewriting:
    """What is old in the tables of `engine`, as `AttemptLog.remove` and `anonymise` mean it, a table at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def last_block_before(self, at_ms: int, table: str) -> int:
        """As `AttemptLog.last_block_before`."""
        text = _LAST_BLOCK_BEFORE.replace("{table}", table)
        return int((await self._rows(Query(text, {"at_ms": f"{at_ms:d}"})))[0][0])

    async def remove(self, upto: int, table: str) -> int:
        """Take away the blocks up to `upto`; returns how many rows it found."""
        is_rewriting = await self._is_rewriting(table, "DELETE")
        found = await self._rows(Query(_PARTITIONS.replace("{table}", table), {"upto": f"{upto:d}"}))
        for partition, last_block, _ in found:
            is_whole = last_block <= upto
            # One that cannot be done, for want of disk, waits until it can; more of them would not help.
            if is_whole or not is_rewriting:
                await self._alter(remove_statement(upto, table=table, partition=partition, is_whole=is_whole))
        return sum(int(rows) for _, _, rows in found)

    async def anonymise(self, upto: int, table: str) -> int:
        """Write the blocks up to `upto` as they are shown; returns how many rows it found that were not yet."""
        text = _PLAIN.replace("{table}", table).replace("{is_plain}", IS_PLAIN[table])
        found = await self._rows(Query(text, {"upto": f"{upto:d}"}))
        if not await self._is_rewriting(table, "UPDATE"):
            for partition, _ in found:
                await self._alter(anonymise_statement(upto, table=table, partition=partition))
        return sum(int(rows) for _, rows in found)

    async def _is_rewriting(self, table: str, how: str) -> bool:
        """Whether parts are still to be written anew as an earlier statement has said."""
        return bool(await self._rows(Query(_REWRITING, {"table": table, "how": how})))

    async def _rows(self, query: Query) -> list[list[Any]]:
        return await self._engine.execute(query.statement(lane=Lane.CHECK, seconds_max=_LOOK_S_MAX))

    async def _alter(self, text: str) -> None:
        await self._engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=_ALTER_S_MAX))
