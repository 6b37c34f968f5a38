"""A node that cannot start: whatever was opened for it is closed again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from openusher.errors import LedgerUnavailable, SetupError
from openusher.ledger.base import Directory, Ledger
from openusher.node import Seams, open_node
from openusher.settings import Settings
from tests.crash.openedlog import is_reaped, log_process


class UnreadableLedger:
    """The real one, but for the reading of accounts that a start begins with; remembers how it was closed."""

    def __init__(self, ledger: Ledger, data: Path) -> None:
        self._ledger = ledger
        self.log_pid = log_process(data)
        self.log_was_closed_first = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    async def directory(self) -> Directory:
        assert not is_reaped(self.log_pid)
        raise LedgerUnavailable("the disk does not answer")

    async def close(self) -> None:
        self.log_was_closed_first = is_reaped(self.log_pid)
        await self._ledger.close()


def test_a_demo_that_others_could_reach_is_refused_before_its_folder_is_made(tmp_path: Path) -> None:
    async def start() -> None:
        async with open_node(Settings(data=tmp_path / "data", demo=True, host="0.0.0.0")):
            pass

    with pytest.raises(SetupError, match=r"listens on 127\.0\.0\.1 only"):
        asyncio.run(start())

    assert not (tmp_path / "data").exists()


def test_a_node_that_cannot_start_leaves_no_log_process_no_open_ledger_and_no_lock(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    made: list[UnreadableLedger] = []

    def around_ledger(ledger: Ledger) -> Ledger:
        made.append(UnreadableLedger(ledger, settings.data))
        return cast(Ledger, made[0])

    async def start(seams: Seams) -> None:
        async with open_node(settings, seams=seams):
            pass

    async def fail_to_start() -> None:
        with pytest.raises(LedgerUnavailable, match="does not answer"):
            await start(Seams(around_ledger=around_ledger))

        # Here and not after the loop's end, with which the log's process would end too.
        assert is_reaped(made[0].log_pid)

    asyncio.run(fail_to_start())

    assert made[0].log_was_closed_first
    # SQLite removes its write-ahead log when the last connection is closed.
    assert not (settings.data / "ledger.db-wal").exists()
    asyncio.run(start(Seams()))
