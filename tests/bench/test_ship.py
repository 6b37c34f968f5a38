"""The bench of shipping waits for all that it has filled in, and counts it."""

from __future__ import annotations

from pathlib import Path

from bench.bulk import DATA
from bench.bulktraffic import BulkTraffic
from bench.process import usher
from bench.ship import Backlog

TRAFFIC = BulkTraffic(attempts=20_000, tickets=200, accounts=1)


def test_a_backlog_is_gone_when_the_log_holds_all_of_it(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path / "backlog", TRAFFIC, seconds=0.5)
    data = str(tmp_path / "backlog" / DATA)
    waiting = usher("status", "--data", data)
    with backlog.node() as door:
        shipped = backlog.await_shipped(door)
        backlog.check(door, [])
    left = usher("status", "--data", data)

    assert (TRAFFIC.attempts, 0) == (waiting["pending"], waiting["shipped_block"])
    assert (0, left["last_block"]) == (left["pending"], left["shipped_block"])
    assert shipped.seconds > 0 < shipped.cpu_s
