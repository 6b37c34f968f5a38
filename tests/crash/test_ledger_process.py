"""The ledger's process: what is answered when it ends, and who holds the data folder."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from openusher.errors import CommitUnknown, LedgerUnavailable, SetupError
from openusher.ledger.apart import LedgerApart
from openusher.ledger.folder import FolderInUse, hold_folder
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, new_account
from tests.conformance.ledgers import ApartBench, Fault
from tests.conformance.test_ledger import ask, issue
from tests.crash.openedlog import is_running, until
from tests.nodes import Node

pytestmark = pytest.mark.crash


def test_what_waits_for_a_ledger_that_is_killed_is_told_whether_it_may_be_written(tmp_path: Path) -> None:
    async def kill() -> None:
        bench = ApartBench(tmp_path)
        ledger = await bench.open()
        assert isinstance(ledger, LedgerApart)
        await ledger.create_account(new_account(1))
        await ledger.commit_batch([issue(), ask()], now_ms=NOON_MS)
        bench.fault = Fault.SYNC_HANGS
        commits = [asyncio.ensure_future(ledger.commit_batch([ask()], now_ms=NOON_MS)) for _ in range(3)]
        reading = asyncio.ensure_future(ledger.check(quick=False))
        # Whatever they send, they have sent by then.
        for _ in range(100):
            await asyncio.sleep(0)
        os.kill(ledger.pid, signal.SIGKILL)
        ended = await asyncio.gather(*commits, return_exceptions=True)

        # The third was never sent: two are all that a ledger is given.
        assert [type(error) for error in ended] == [CommitUnknown, CommitUnknown, LedgerUnavailable]
        with pytest.raises(LedgerUnavailable):
            await reading
        with pytest.raises(LedgerUnavailable):
            await ledger.stats()
        await ledger.close()
        bench.fault = Fault.NONE
        again = await bench.open()
        assert (await again.count_pending(1, AttemptFilter())).count in (1, 2)
        await again.close()
        bench.close()

    asyncio.run(kill())


def test_a_node_whose_ledger_is_killed_ends_and_says_why(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    ledger = node.child("ledger")
    assert ledger is not None
    os.kill(ledger, signal.SIGKILL)

    assert node.process.wait(30) == 1
    said = node.log_file.read_text()
    assert "ledger.ended" in said
    assert "start the node again" in said
    node.kill()


def test_the_ledger_dies_with_the_door_and_lets_go_of_the_folder(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    ledger = node.child("ledger")
    assert ledger is not None
    node.kill()
    asyncio.run(until(lambda: not is_running(ledger), seconds_max=5))

    hold_folder(tmp_path / "data").release()


def test_a_folder_stays_held_as_long_as_its_ledger_runs(tmp_path: Path) -> None:
    """Two that write it would take each other's numbers."""

    async def hold() -> None:
        bench = ApartBench(tmp_path)
        ledger = await bench.open()
        # The door's own hold is gone; its ledger's is not.
        bench.close()
        with pytest.raises(FolderInUse):
            hold_folder(tmp_path / "data")
        await ledger.close()
        hold_folder(tmp_path / "data").release()

    asyncio.run(hold())


def test_a_ledger_that_cannot_be_opened_is_refused_in_its_own_words(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("no database " * 1000)

    async def start() -> None:
        folder = hold_folder(data)
        with pytest.raises(SetupError, match="is not a ledger of Usher"):
            await LedgerApart.open(folder, demo=False, read_s_max=1, on_end=lambda: None)
        folder.release()

    asyncio.run(start())
