"""What the SQLite ledger takes for its own file when it opens it anew after an I/O error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openusher.errors import CommitUnknown, LedgerUnavailable, NotAuthorised
from openusher.ledger.base import Decide, Issue, Ledger
from openusher.model.account import ApiKey, Secret
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


async def _fail_once(bench: SqliteBench, ledger: Ledger) -> None:
    """Have a commit of unknown outcome, after which the file is to be opened anew."""
    bench.fault = Fault.SYNC
    with pytest.raises(CommitUnknown):
        await _write(ledger)
    bench.fault = Fault.NONE


async def test_a_ledger_that_was_opened_again_is_read_where_it_is_written(tmp_path: Path) -> None:
    """The file may be another one, with the same content: a folder that came back from a copy."""
    data = tmp_path / "data"
    data.mkdir()
    bench = SqliteBench(data)
    ledger = await _make(bench)
    await _write(ledger)
    # Each kind of reader has its connections.
    assert (await ledger.count_pending(1, AttemptFilter())).count == (await ledger.stats()).pending == 1
    await _fail_once(bench, ledger)
    shutil.copytree(data, tmp_path / "copy")
    data.rename(tmp_path / "away")
    (tmp_path / "copy").rename(data)
    await ledger.be_ready()
    before = (await ledger.stats()).pending
    await _write(ledger)

    assert before in (1, 2)
    assert (await ledger.count_pending(1, AttemptFilter())).count == (await ledger.stats()).pending == before + 1
    await ledger.close()
    bench.close()


async def _syncs_of_five_commits(bench: SqliteBench, ledger: Ledger) -> int:
    # The first of a new WAL syncs its head too.
    await _write(ledger)
    before = bench.syncs
    for _ in range(5):
        await _write(ledger)
    return bench.syncs - before


async def test_a_ledger_that_was_opened_again_is_as_durable_and_as_strict_as_before(tmp_path: Path) -> None:
    bench = SqliteBench(tmp_path)
    ledger = await _make(bench)
    of_nobody = ApiKey(api_key="KEY77", cdn=77, secret=Secret("secret"))
    syncs = [await _syncs_of_five_commits(bench, ledger)]
    await _fail_once(bench, ledger)
    await ledger.be_ready()
    syncs.append(await _syncs_of_five_commits(bench, ledger))
    with pytest.raises(NotAuthorised, match="no account"):
        await ledger.add_api_key(of_nobody)

    assert syncs == [5, 5]
    await ledger.close()
    bench.close()
