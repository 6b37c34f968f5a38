"""Connections after a commit of which nobody knows whether it was written, and which was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from openusher.errors import CommitUnknown
from openusher.ledger.base import Drawn, Ledger, Outcome
from tests.conformance.doors import Node, Play, Says, SrsDoor
from tests.conformance.ledgers import SqliteBench

pytestmark = pytest.mark.anyio
MINUTE_MS = 60_000


class Forgetful:
    """A ledger that writes, and cannot say so when it is told to `forget`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.forgets = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        outcomes = await self._ledger.commit_next(draw)
        if self.forgets:
            raise CommitUnknown("may or may not be written")
        return outcomes


class ForgetfulBench(SqliteBench):
    ledger: Forgetful

    async def open(self) -> Ledger:
        self.ledger = Forgetful(await super().open())
        forgetful: Any = self.ledger
        return forgetful  # type: ignore[no-any-return]


@asynccontextmanager
async def forgetful_node(folder: Path) -> AsyncIterator[tuple[Node, Forgetful]]:
    bench = ForgetfulBench(folder)
    node = Node(bench, SrsDoor())
    await node.open()
    try:
        yield node, bench.ledger
    finally:
        await node.usher.close()
        bench.close()


async def test_a_kick_that_may_have_been_written_is_owed_to_the_server(tmp_path: Path) -> None:
    async with forgetful_node(tmp_path) as (node, ledger):
        await node.issue()
        assert await node.starts(Play()) is Says.YES
        node.usher.watching.owes.clear()
        ledger.forgets = True
        with pytest.raises(CommitUnknown):
            await node.usher.revoke_ticket(node.cdn, "k")
        ledger.forgets = False

        async with asyncio.timeout(5):
            await node.usher.watching.owes.wait()
        assert (len(await node.usher.owed_kicks(after=0, limit=9)), node.sessions()) == (1, 0)


async def test_a_start_that_may_have_been_written_keeps_nobody_out_for_ever(tmp_path: Path) -> None:
    """Its server was told that nobody knows, and has let nobody in: it tells no end."""
    async with forgetful_node(tmp_path) as (node, ledger):
        await node.issue(max_sessions=1)
        ledger.forgets = True
        assert await node.starts(Play(client="1")) is Says.BUSY
        ledger.forgets = False
        await node.usher.watching.sweep()
        # The same question joins it, and is no second use.
        assert await node.starts(Play(client="1")) is Says.YES
        await node.usher.watching.sweep()
        assert (node.sessions(), await node.uses()) == (1, 1)
        await node.ends(Play(client="1"))

        ledger.forgets = True
        assert await node.starts(Play(client="2")) is Says.BUSY
        ledger.forgets = False
        node.now_ms += MINUTE_MS
        await node.usher.watching.sweep()
        assert await node.starts(Play(client="2")) is Says.YES
        await node.ends(Play(client="2"))

        ledger.forgets = True
        assert await node.starts(Play(client="3")) is Says.BUSY
        ledger.forgets = False
        node.now_ms += 3 * MINUTE_MS
        await node.usher.watching.sweep()
        assert await node.starts(Play(client="4")) is Says.YES
        assert node.sessions() == 1
