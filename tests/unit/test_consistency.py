"""A log that holds as many attempts as it must, and not those that it must: found at its start and by every check."""

from __future__ import annotations

from pathlib import Path

import pytest

from openusher.attemptlog.base import Held
from openusher.attemptlog.plainlist import PlainListLog
from openusher.consistency import find_log_faults
from openusher.errors import CountUnavailable
from openusher.ledger.base import Decide
from openusher.ledger.sqlite import SqliteLedger
from openusher.shipper import Shipper
from tests.conformance.asking import NOON_MS, request

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def make_shipper(ledger: SqliteLedger, attempt_log: PlainListLog) -> Shipper:
    return Shipper(ledger, attempt_log, rows_min=1, age_s_max=60, wall_ms=lambda: NOON_MS)


async def test_a_block_that_is_there_twice_does_not_make_up_for_an_equal_one_that_is_missing(tmp_path: Path) -> None:
    ledger, attempt_log = await SqliteLedger.open(tmp_path / "ledger.db"), PlainListLog()
    for video in ("a", "b", "c"):
        await ledger.commit_batch([Decide(request(1, video=video))] * 3, now_ms=NOON_MS)
        await make_shipper(ledger, attempt_log).ship_all()
    attempt_log._blocks[1] += attempt_log._blocks[1]
    del attempt_log._blocks[2]
    with pytest.raises(CountUnavailable, match="holds 6 attempts of block 1's 3; run usher check"):
        await make_shipper(ledger, attempt_log).be_verified()
    found = [[str(fault) for fault in await find_log_faults(ledger, attempt_log, quick=q)] for q in (True, False)]
    await ledger.close()

    expected = [
        "table attempts holds 6 attempts of block 1's 3; stop the node and run usher repair, or restore a backup",
        "table attempts does not hold block 2 (3 attempts); stop the node and run usher repair, or restore a backup",
    ]
    assert found == [expected, expected]


class ReadLate(PlainListLog):
    """Shows what it held some blocks ago: to read all of a large log takes minutes."""

    def __init__(self, ledger: SqliteLedger) -> None:
        super().__init__()
        self._ledger = ledger

    async def _ship(self, videos: str) -> None:
        for video in videos:
            await self._ledger.commit_batch([Decide(request(1, video=video))], now_ms=NOON_MS)
            await make_shipper(self._ledger, self).ship_next()

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        await self._ship("b")
        held = await super().all_held(table=table, anonymised_upto=anonymised_upto)
        await self._ship("cd")
        return held

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        return {number: held.rows for number, held in (await self.all_held(table=table)).items()}


@pytest.mark.parametrize("quick", [True, False])
async def test_blocks_that_are_shipped_while_a_log_is_checked_are_not_missing(tmp_path: Path, quick: bool) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    attempt_log = ReadLate(ledger)
    await attempt_log._ship("a")
    found = await find_log_faults(ledger, attempt_log, quick=quick)
    shipped = (await ledger.stats()).shipped_block
    await ledger.close()

    assert (found, shipped) == ([], 4)


async def test_a_block_of_other_attempts_is_found_by_the_check_that_reads_them(tmp_path: Path) -> None:
    ledger, attempt_log = await SqliteLedger.open(tmp_path / "ledger.db"), PlainListLog()
    for video in ("a", "b"):
        await ledger.commit_batch([Decide(request(1, video=video))] * 3, now_ms=NOON_MS)
        await make_shipper(ledger, attempt_log).ship_all()
    attempt_log._blocks[1], attempt_log._blocks[2] = attempt_log._blocks[2], attempt_log._blocks[1]
    found = [str(fault) for fault in await find_log_faults(ledger, attempt_log, quick=False)]
    await ledger.close()

    what = "table attempts holds other attempts than were shipped as block"
    assert found == [f"{what} {number}; stop the node and run usher repair, or restore a backup" for number in (1, 2)]
