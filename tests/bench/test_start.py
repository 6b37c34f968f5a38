"""The bench of starts sees when a node that was killed has lost or made up an attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.bulk import DATA, fill_folder
from bench.bulktraffic import BulkTraffic
from bench.counting import WrongCount
from bench.process import node
from bench.start import Killing
from openusher.settings import LogKind

TRAFFIC = BulkTraffic(attempts=2_000, tickets=200, accounts=1)


def test_what_was_acknowledged_before_a_kill_is_counted_after_it(tmp_path: Path) -> None:
    fill_folder(tmp_path, TRAFFIC, ships=True, say=lambda text: None)
    killing = Killing(tmp_path, tickets=TRAFFIC.tickets, seconds=0.5)
    killing.kill()
    with node(tmp_path / DATA, LogKind.CHDB) as door:
        ready_s = door.await_ready()
        killing.check(door)

        assert ready_s >= door.start_s
        assert TRAFFIC.attempts < killing.at_least <= killing.at_most

        killing.at_least, killing.at_most = killing.at_most + 1, killing.at_most + 1
        with pytest.raises(WrongCount, match="after a kill"):
            killing.check(door)
        killing.at_least, killing.at_most = 0, TRAFFIC.attempts
        with pytest.raises(WrongCount, match="after a kill"):
            killing.check(door)
