"""The log process killed while it takes blocks away and anonymises others: those kept are whole, and it goes on when it
is told again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from openusher.attemptlog.columnar import ColumnarLog
from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.openedlog import CDN, Opened, held_of, rows_of
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Row

pytestmark = [pytest.mark.crash]

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
BLOCKS, UPTO, ANONYMISED, ROWS = 10, 7, 9, 2_000
_MONTH_MS = 31 * 86_400_000


def _rows(number: int) -> list[Row]:
    """Blocks 1 to 5 are of one month, and go with it; 6 and 7 go out of the next, 8 and 9 are anonymised there."""
    rows = rows_of(number, ROWS)
    return [{**row, "at_ms": row["at_ms"] + (_MONTH_MS if number > 5 else 0)} for row in rows]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "log"

    async def fill() -> None:
        async with Opened(folder) as opened:
            for number in range(1, BLOCKS + 1):
                await opened.insert(number, _rows(number))

    asyncio.run(fill())
    return folder


def test_a_kill_while_blocks_are_taken_away_or_anonymised_harms_none_that_is_kept(
    filled: Path, tmp_path: Path, promise: Promise
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kept = {}
    for number in range(UPTO + 1, BLOCKS + 1):
        rows = _rows(number)
        kept[number] = held_of(number, [oracle.anonymised(row) for row in rows] if number <= ANONYMISED else rows)
    horizon = Horizon(upto=BLOCKS, but=tuple(range(1, UPTO + 1)))
    before: list[tuple[int, bool]] = []

    async def write_anew(log: ColumnarLog) -> None:
        await log.remove(upto=UPTO, table="attempts")
        await log.anonymise(upto=ANONYMISED, table="attempts")

    async def kill_once(folder: Path, moment: float) -> None:
        async with Opened(folder) as opened:
            starts = opened.engine.starts
            removing = asyncio.create_task(write_anew(opened.log))
            await asyncio.wait([removing], timeout=moment)
            opened.signal(signal.SIGKILL)
            await asyncio.wait([removing])
            assert removing.exception() is None or isinstance(removing.exception(), LogUnavailable)
            await opened.restarted(starts)
            held = await opened.log.all_held(table="attempts", anonymised_upto=ANONYMISED)
            written = await opened.log.all_held(table="attempts")
            before.append((len(held.keys() - kept.keys()), written == held))

            assert kept == {number: held[number] for number in kept}
            assert await opened.log.count(CDN, AttemptFilter(), horizon) == ROWS * len(kept)
            async with asyncio.timeout(60):
                while True:
                    await write_anew(opened.log)
                    if await opened.log.all_held(table="attempts") == kept:
                        break
                    await asyncio.sleep(0.1)
            assert await opened.log.count(CDN, AttemptFilter(), horizon) == ROWS * len(kept)

    for number in range(ROUNDS):
        folder = tmp_path / f"log{number}"
        shutil.copytree(filled, folder, symlinks=True)
        asyncio.run(kill_once(folder, rng.uniform(0, 0.5) * number / ROUNDS))
        shutil.rmtree(folder)
    # At different moments of the work; else nothing was tried.
    assert len(set(before)) > 1, before

    promise("Counted exactly once", kills_while_blocks_are_written_anew=ROUNDS)
