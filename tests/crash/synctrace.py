"""Ships one block and merges, step by step, for a test that traces the system calls: each step begins with a mark.

`--without NAME=VALUE` sets a setting of the table aside first, as if it had been left out of the schema.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from pathlib import Path

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.schema import DATABASE, TABLES
from openusher.model.block import Block
from tests.oracles import attempt_rows as oracle

MARK = "/nowhere/mark-"
_START_MS = 1_793_484_000_000


def mark(step: str) -> None:
    """Leave a line in the trace: a folder that cannot be made."""
    with contextlib.suppress(OSError):
        os.mkdir(MARK + step)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", default="")
    given = parser.parse_args()
    engine = EmbeddedEngine(given.folder, memory_bytes_max=1_500_000_000)
    log = ColumnarLog(engine, count_s_max=30)
    await log.start()
    table = f"{DATABASE}.{TABLES[0]}"

    async def run(text: str) -> None:
        await engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=60))

    if given.without:
        await run(f"ALTER TABLE {table} MODIFY SETTING {given.without}")
    await run(f"SYSTEM STOP MERGES {table}")
    for number in (1, 2):
        rows = [_row(number * 100 + n) for n in range(50)]
        mark(f"insert{number}")
        await log.insert(_block(number), oracle.block_bytes(rows), table=TABLES[0])
        mark("rest")
    await run(f"SYSTEM START MERGES {table}")
    mark("merge")
    await run(f"OPTIMIZE TABLE {table} FINAL")
    mark("rest")
    await log.close()


def _row(number: int) -> oracle.Row:
    texts = dict.fromkeys(
        ("key", "pass", "app", "appinst", "video", "pageurl", "refurl", "user_agent", "reason"), "text"
    )
    numbers = {"id": number, "cdn": 1, "at_ms": _START_MS, "edge": 1, "cut": 0}
    return {**texts, **numbers, "ip": "192.0.2.1", "server_ip": "192.0.2.2"}


def _block(number: int) -> Block:
    first = number * 100
    return Block(number=number, incarnation=7, first_id=first, last_id=first + 49, rows=50, digest="", shipped=False)


if __name__ == "__main__":
    asyncio.run(main())
