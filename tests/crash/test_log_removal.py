"""The log process killed while it takes blocks away: those kept are whole, and the others go when it is told again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.openedlog import CDN, Opened, held_of, rows_of
from tests.oracles.attempt_rows import Row

pytestmark = [pytest.mark.crash]

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
BLOCKS, UPTO, ROWS = 10, 7, 2_000
_MONTH_MS = 31 * 86_400_000


def _rows(number: int) -> list[Row]:
    """Blocks 1 to 5 are of one month, and go with it; 6 and 7 are taken out of the next."""
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


def test_a_kill_while_blocks_are_taken_away_harms_none_that_is_kept(
    filled: Path, tmp_path: Path, promise: Promise
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kept = {number: held_of(number, _rows(number)) for number in range(UPTO + 1, BLOCKS + 1)}
    horizon = Horizon(upto=BLOCKS, but=tuple(range(1, UPTO + 1)))
    before: list[int] = []

    async def kill_once(folder: Path) -> None:
        async with Opened(folder) as opened:
            starts = opened.engine.starts
            removing = asyncio.create_task(opened.log.remove(upto=UPTO, table="attempts"))
            await asyncio.wait([removing], timeout=rng.uniform(0, 0.25))
            opened.signal(signal.SIGKILL)
            await asyncio.wait([removing])
            assert removing.exception() is None or isinstance(removing.exception(), LogUnavailable)
            await opened.restarted(starts)
            held = await opened.log.all_held(table="attempts")
            before.append(len(held.keys() - kept.keys()))

            assert kept == {number: held[number] for number in kept}
            assert await opened.log.count(CDN, AttemptFilter(), horizon) == ROWS * len(kept)
            async with asyncio.timeout(60):
                while True:
                    await opened.log.remove(upto=UPTO, table="attempts")
                    if (await opened.log.rows_by_block(table="attempts")).keys() == kept.keys():
                        break
                    await asyncio.sleep(0.1)
            assert kept == await opened.log.all_held(table="attempts")

    for number in range(ROUNDS):
        folder = tmp_path / f"log{number}"
        shutil.copytree(filled, folder, symlinks=True)
        asyncio.run(kill_once(folder))
        shutil.rmtree(folder)
    # Some at their beginning, some later; else nothing was tried.
    assert len(set(before)) > 1

    promise("Counted exactly once", kills_while_blocks_are_taken_away=ROUNDS)
