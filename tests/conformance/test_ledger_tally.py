"""Any ledger counts its own work: batches by size, commits that are on disk, commits that failed."""

from __future__ import annotations

import pytest

from openusher.errors import CommitUnknown, LedgerUnavailable
from openusher.ledger.base import Decide, Issue, Ledger
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import Fault, LedgerBench

pytestmark = pytest.mark.anyio


async def test_each_batch_is_counted_by_its_size_and_each_commit_by_how_long_its_sync_took(ledger: Ledger) -> None:
    before = await ledger.tally()
    commits_before, batches_before = before.sync_s.count, before.batch.count
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    await ledger.commit_batch([Decide(request(1)) for _ in range(100)], now_ms=NOON_MS)
    await ledger.create_account(new_account(3))
    tally = await ledger.tally()

    assert batches_before == 0
    # An account is a commit of its own, and no batch.
    assert tally.sync_s.count - commits_before == 3
    assert dict(zip(tally.batch.bounds, tally.batch.counts, strict=False)) == {
        bound: {1: 1, 128: 1}.get(int(bound), 0) for bound in tally.batch.bounds
    }
    assert (tally.batch.total, tally.commit_s.count) == (101, 2)
    assert tally.sync_s.total > 0
    assert tally.commit_s.total > 0
    assert tally.wal_bytes > 0
    assert (tally.not_written, tally.unknown) == (0, 0)


async def test_a_commit_that_was_not_written_and_one_of_unknown_outcome_are_two_things(
    bench: LedgerBench, ledger: Ledger
) -> None:
    bench.fault = Fault.FULL
    with pytest.raises(LedgerUnavailable):
        await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    full = await ledger.tally()
    after_full = full.not_written, full.unknown
    bench.fault = Fault.NONE
    await ledger.be_ready()
    bench.fault = Fault.SYNC
    with pytest.raises(CommitUnknown):
        await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    bench.fault = Fault.NONE
    await ledger.be_ready()
    after_sync = await ledger.tally()

    assert after_full == (1, 0)
    assert (after_sync.not_written, after_sync.unknown) == (1, 1)
    assert after_sync.commit_s.count == 0
