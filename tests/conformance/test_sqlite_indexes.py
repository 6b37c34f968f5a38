"""The indexes for searches come and go with the way a ledger is opened; the answers stay."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from openusher.ledger.base import Decide, Issue
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.asking import NOON_MS, new_account, request, ticket

pytestmark = pytest.mark.anyio


def _indexes(file: Path) -> int:
    with apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'attempts!_%' ESCAPE '!'")
    return int(count)


async def test_indexes_follow_how_the_ledger_is_opened_and_the_counts_do_not(tmp_path: Path) -> None:
    """A folder changes from the small mode to a log, and an admin command in between leaves it as it is."""
    file = tmp_path / "ledger.db"
    found = []
    for opening, indexed in enumerate([None, True, None, False, None, True]):
        ledger = await SqliteLedger.open(file, indexed=indexed)
        if not opening:
            await ledger.create_account(new_account(1))
            await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
        await ledger.commit_batch([Decide(request(1)), Decide(request(1, key="other"))], now_ms=NOON_MS)
        by_key = await ledger.count_pending(1, AttemptFilter(key="k"))
        refused = await ledger.count_pending(1, AttemptFilter(accepted=False))
        groups = await ledger.group_pending(1, AttemptFilter(), GroupBy.KEY, top=None)
        found.append((_indexes(file), by_key.count, refused.count, [group.count for group in groups.groups]))
        await ledger.close()

    counts = [(n, n, [n, n]) for n in range(1, 7)]
    assert found == [(have, *count) for have, count in zip([0, 3, 3, 0, 0, 3], counts, strict=True)]
