"""What the SQLite ledger takes for its own file when it opens it anew after an I/O error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openusher.errors import CommitUnknown, LedgerUnavailable
from openusher.ledger.base import Decide, Issue, Ledger
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import Fault, SqliteBench

pytestmark = pytest.mark.anyio


async def _write(ledger: Ledger) -> None:
    await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)


async def _make(bench: SqliteBench) -> Ledger:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    return ledger


async def test_only_the_same_ledger_with_all_that_was_answered_is_opened_again(tmp_path: Path) -> None:
    data, away, other, older = (tmp_path / name for name in ("data", "away", "other", "older"))
    for folder in (data, other):
        folder.mkdir()
    stranger = SqliteBench(other)
    await (await _make(stranger)).close()
    stranger.close()
    bench = SqliteBench(data)
    await (await _make(bench)).close()
    shutil.copytree(data, older)
    ledger = await bench.open()
    await _write(ledger)
    assert (await ledger.count_pending(1, AttemptFilter())).count == 1
    bench.fault = Fault.SYNC
    with pytest.raises(CommitUnknown):
        await _write(ledger)
    bench.fault = Fault.NONE
    data.rename(away)

    data.mkdir()
    with pytest.raises(LedgerUnavailable):
        await _write(ledger)
    assert list(data.iterdir()) == []
    (data / "ledger.db").touch()
    with pytest.raises(LedgerUnavailable):
        await ledger.be_ready()
    assert (data / "ledger.db").stat().st_size == 0
    for wrong in (other, older):
        shutil.rmtree(data)
        shutil.copytree(wrong, data)
        with pytest.raises(LedgerUnavailable):
            await _write(ledger)
    shutil.rmtree(data)
    away.rename(data)
    await ledger.be_ready()
    before = (await ledger.count_pending(1, AttemptFilter())).count
    await _write(ledger)

    assert before in (1, 2)
    assert (await ledger.count_pending(1, AttemptFilter())).count == before + 1
    assert await ledger.check(quick=False) == []
    await ledger.close()
    bench.close()
