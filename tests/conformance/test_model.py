"""Usher beside a plain model of it: whatever is done, in whatever order, both say the same, shipped or not.

Attempts are counted while others are decided, while they move to the log, by the shipper itself or when told to, and
while older ones are forgotten.
"""

from __future__ import annotations

import pytest
from hypothesis.stateful import rule

from openusher.attemptlog.base import AttemptLog
from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable
from tests.conformance import drawn
from tests.conformance.asking import attempt_filter
from tests.conformance.besidemodel import UsherBesideModel
from tests.conformance.drawn import CDNS
from tests.conftest import Promise
from tests.machines import run_machine

# A loop that runs for milliseconds at a time would never see a shipper that looks once a second.
POLL_S = 0.005


class WithoutALog(UsherBesideModel):
    indexed = True

    def make_log(self) -> AttemptLog:
        return LedgerOnlyLog()


class WithAPlainList(UsherBesideModel):
    def __init__(self) -> None:
        super().__init__()
        self.log = PlainListLog()

    def make_log(self) -> AttemptLog:
        return self.log

    @rule(rows_min=drawn.ships_from)
    def start_with_an_empty_log(self, rows_min: int) -> None:
        """What was shipped is gone: no count is given until the log is back."""
        self.run(self.usher.close())
        self.run(self.start(PlainListLog(), ships=False))
        stats = self.run(self.usher.stats())
        if stats.shipped_block > stats.released_block:
            with pytest.raises(CountUnavailable):
                self.run(self.usher.searching.count(CDNS[0], attempt_filter({})))
        self.restart(rows_min)

    def end(self) -> None:
        self.run(self.usher.shipper.ship_all())
        self.start_with_an_empty_log(100_000)
        super().end()


class WithChdb(UsherBesideModel):
    restarts_max = 1

    def make_log(self) -> AttemptLog:
        return open_embedded_log(self.folder / "log", memory_bytes_max=1_500_000_000, count_s_max=30)


# A failure is shrunk to a short program, which takes its time.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("machine", "examples", "steps"), [(WithoutALog, 8, 30), (WithAPlainList, 20, 30), (WithChdb, 3, 25)]
)
def test_whatever_is_done_usher_says_what_the_model_says(
    machine: type[UsherBesideModel],
    examples: int,
    steps: int,
    promise: Promise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openusher.shipper._POLL_S", POLL_S)
    run_machine(machine, examples=examples, steps=steps)
    promise(
        "Counted exactly once",
        counts_compared_with_the_model=machine.compared,
        counts_while_attempts_come_or_move=machine.compared_beside,
        blocks_that_moved_by_themselves=machine.shipped_by_itself,
        counts_that_forgetting_changed=machine.forgot,
    )
