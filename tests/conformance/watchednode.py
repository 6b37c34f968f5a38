"""A node for test_sessions_model.py, with a ledger and nothing else: asked, looked at, stopped, crashed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.gate import Gate
from openusher.ledger.sqlite import SqliteLedger
from openusher.livesession import Live
from openusher.model.account import Edge
from openusher.model.attempt import AttemptRequest
from openusher.model.edge import EdgeKind, path_map_of
from openusher.model.pathmap import Meaning
from openusher.model.search import AttemptFilter, GroupBy
from openusher.model.session import SESSION_LIMITS
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.watching import Asked, Verdict
from tests.oracles.session_model import Limits


class Standing(NamedTuple):
    """Of tickets by account and key how many uses are taken, their addresses, and whether they are active; attempts by
    account and reason; of ended sessions by number what ended them and how long they were watched."""

    tickets: dict[tuple[int, str], tuple[int, str, bool]]
    attempts: dict[tuple[int, str], int]
    ended: dict[int, tuple[str, int]]


class WatchedNode:
    """`start` before any. What a node does every few seconds is done when it is told to."""

    usher: Usher

    def __init__(self, file: Path, limits: Limits, *, wall_ms: Callable[[], int]) -> None:
        self._file = file
        self._limits = limits
        self._wall_ms = wall_ms

    async def start(self) -> None:
        log = LedgerOnlyLog()
        self._ledger = await SqliteLedger.open(self._file, indexed=True)
        self._gate = Gate(self._ledger, queue_wait_s_max=60, wall_ms=self._wall_ms)
        shipper = Shipper(self._ledger, log, rows_min=1, age_s_max=10**9, wall_ms=self._wall_ms)
        limits = replace(
            SESSION_LIMITS,
            idle_ms=self._limits["idle"],
            resume_ms=self._limits["resume"],
            addresses_max=self._limits["addresses"],
            hop_ms=self._limits["hop"],
            hold_ms=self._limits["hold"],
        )
        self.usher = Usher(self._ledger, log, self._gate, shipper, wall_ms=self._wall_ms, session_limits=limits)
        await self.usher.start()

    async def stop(self) -> None:
        await self.usher.close()

    async def crash(self) -> None:
        """What it has in memory only is never written."""
        await self._ledger.close()

    @property
    def clock_ms(self) -> int:
        """The largest that was ever written."""
        return self._ledger.clock_ms

    async def new_edges(self, cdn: int, number: int) -> list[Edge]:
        """An account with so many edges."""
        await self.usher.create_account(f"account {cdn}", cdn=cdn)
        names = [f"edge {each}" for each in range(number)]
        made = [await self.usher.create_edge(cdn, kind=EdgeKind.NGINX, name=name, options={}) for name in names]
        return [edge for edge, _ in made]

    async def verdict(self, asked: Asked) -> Verdict:
        answered: asyncio.Future[Verdict | Exception] = asyncio.get_running_loop().create_future()

        def question(meaning: Meaning) -> AttemptRequest:
            return _attempt(asked, meaning)

        self.usher.watching.ask(asked, question, answered.set_result)
        verdict = await answered
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def authorize(self, asked: Asked) -> str:
        """The reason, by the plain door."""
        meaning = path_map_of(asked.edge).read(asked.path)
        return (await self.usher.authorize(_attempt(asked, meaning))).reason.value

    def lives(self) -> Mapping[int, Live]:
        """The sessions that are not ended, by their numbers."""
        return {live.session.number: live for live in self.usher.watching.book.all()}

    async def write_seen(self) -> None:
        book = self.usher.watching.book
        while (seen := book.take_seen()) is not None:
            await self._gate.see_to(seen)
            book.wrote(seen)

    async def standing(self, cdns: Iterable[int], names: Iterable[tuple[int, str]]) -> Standing:
        found = Standing({}, {}, {})
        for name in names:
            ticket = await self.usher.ticket(*name)
            found.tickets[name] = ticket.uses_taken, ticket.ip, ticket.active
        for cdn in cdns:
            grouped = await self.usher.searching.group(cdn, AttemptFilter(), GroupBy.REASON, limit=100)
            found.attempts.update({(cdn, str(group.value)): group.count for group in grouped.groups})
            for each in await self.usher.ended_sessions(cdn, from_ms=0, limit=1_000):
                found.ended[each.session.number] = each.session.ended_by, each.watched_ms
        return found


def _attempt(asked: Asked, meaning: Meaning) -> AttemptRequest:
    """The question of a start, as an edge's door puts it."""
    return AttemptRequest(
        cdn=asked.edge.cdn,
        edge=asked.edge.number,
        key=asked.key,
        password=asked.password,
        app=meaning.app,
        appinst=meaning.appinst,
        video=meaning.video,
        ip=asked.ip,
        user_agent=asked.user_agent,
    )
