"""What parts count of their own work: what falls where, and that decisions, repeats and searches are told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LogUnavailable
from openusher.gate import Gate, GateTally
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.attempt import Decision, Reason
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy
from openusher.searching import SearchKind
from openusher.shipper import Shipper
from openusher.tally import Distribution
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, request, ticket

pytestmark = pytest.mark.anyio
UUIDS = [f"0192e4a8-7c3f-7d52-9f0a-{n:012x}" for n in range(4)]
EVERYTHING = AttemptFilter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class AwayLog(PlainListLog):
    """Does not count while it is away."""

    is_away = False

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        if self.is_away:
            raise LogUnavailable("away")
        return await super().count(cdn, search, horizon)


@pytest.fixture
async def attempt_log() -> AwayLog:
    return AwayLog()


async def open_usher(folder: Path, attempt_log: AwayLog) -> Usher:
    ledger = await SqliteLedger.open(folder / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=60, wall_ms=lambda: NOON_MS)
    opened = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS, count_wait_s_max=0.1)
    await opened.start()
    return opened


@pytest.fixture
async def usher(tmp_path: Path, attempt_log: AwayLog) -> AsyncIterator[Usher]:
    opened = await open_usher(tmp_path, attempt_log)
    await opened.create_account("acme", cdn=1)
    yield opened
    await opened.close()


def test_a_value_falls_up_to_its_bound_and_what_is_above_all_of_them_is_kept_too() -> None:
    spread = Distribution.within((1, 2, 4))
    for value in (0.5, 1, 1.5, 4, 4.5, 100):
        spread.add(value)

    assert spread.counts == [2, 1, 1, 2]
    assert (spread.count, spread.total) == (6, 111.5)


async def test_each_attempt_is_counted_once_by_edge_and_reason_and_what_repeats_one_is_no_decision(
    usher: Usher,
) -> None:
    await usher.issue_ticket(ticket(1))
    asked = [
        request(1, attempt_id=UUIDS[0]),
        request(1, edge=2, password="wrong"),
        request(1, edge=2, password="wrong"),
        request(1, attempt_id=UUIDS[0]),
        request(1, edge=3, key="nobody's"),
    ]
    for question in asked:
        await usher.authorize(question)

    assert usher.tally.decisions == {(1, Reason.NONE): 1, (2, Reason.INVALID_TOKEN): 2, (3, Reason.INVALID_TOKEN): 1}
    assert usher.tally.repeats == 1
    assert await usher.searching.count(1, EVERYTHING) == 4


async def test_after_a_restart_a_repeat_of_what_was_decided_before_is_no_decision(
    tmp_path: Path, attempt_log: AwayLog
) -> None:
    before = await open_usher(tmp_path, attempt_log)
    await before.authorize(request(1, attempt_id=UUIDS[0]))
    await before.close()
    after = await open_usher(tmp_path, attempt_log)
    await after.authorize(request(1, attempt_id=UUIDS[0]))
    await after.authorize(request(1, attempt_id=UUIDS[1]))
    tally = after.tally
    await after.close()

    assert (tally.decisions, tally.repeats) == ({(1, Reason.INVALID_TOKEN): 1}, 1)


def test_an_attempt_whose_first_answer_was_lost_is_counted_when_it_is_asked_for_again() -> None:
    tally = GateTally(last_attempt=5)
    # The sixth was written by a commit of unknown outcome, and the seventh by the next.
    tally.add(1, Decision(reason=Reason.NONE, attempt=6))
    tally.add(1, Decision(reason=Reason.NONE, attempt=7))
    tally.add(1, Decision(reason=Reason.NONE, attempt=6))

    assert (tally.decisions, tally.repeats) == ({(1, Reason.NONE): 2}, 1)


async def test_searches_are_timed_by_what_is_asked_for_and_those_that_fail_are_counted_apart(
    usher: Usher, attempt_log: AwayLog
) -> None:
    await usher.authorize(request(1))
    await usher.shipper.ship_all()
    for _ in range(2):
        await usher.searching.count(1, EVERYTHING)
    await usher.searching.group(1, EVERYTHING, GroupBy.IP, limit=10)
    await usher.searching.newest(1, EVERYTHING, seek=0, limit=10)
    attempt_log.is_away = True
    with pytest.raises(CountUnavailable):
        # A question that was not asked before and names a key: it needs the log.
        await usher.searching.count(1, AttemptFilter(key="k"))

    took_s = {kind: spread.count for kind, spread in usher.searching.took_s.items()}
    assert took_s == {SearchKind.COUNT: 2, SearchKind.GROUP: 1, SearchKind.LIST: 1}
    assert usher.searching.failed == {SearchKind.COUNT: 1, SearchKind.GROUP: 0, SearchKind.LIST: 0}


async def test_a_shipped_block_is_counted_with_its_attempts(usher: Usher) -> None:
    for _ in range(3):
        await usher.authorize(request(1))
    await usher.shipper.ship_all()

    assert (usher.shipper.took_s.count, usher.shipper.shipped_attempts) == (1, 3)


@pytest.mark.parametrize(("age_ms", "lag_ms"), [(None, 0), (1_000, 0), (60_000, 0), (61_500, 1_500)])
async def test_shipping_lags_by_what_an_attempt_waits_beyond_its_time(
    usher: Usher, age_ms: int | None, lag_ms: int
) -> None:
    oldest_ms = None if age_ms is None else NOON_MS - age_ms

    assert usher.shipper.lag_ms(oldest_ms) == lag_ms
