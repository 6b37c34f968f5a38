"""Ends the sessions of connections that are gone without a word: a server tells an end once, and it may be lost.

Only where nothing else would end them: of servers that never ask again, and that can be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from openusher.errors import StoreError
from openusher.livesession import Live
from openusher.logs import event_log
from openusher.model.account import Edge
from openusher.model.edge import CONTROL
from openusher.model.session import EndedBy
from openusher.usher import Usher
from openusher.web.edges.caller import CALLS_AT_ONCE, Calling

_LOOK_S = 60.0
# Each is asked about in one of so many rounds.
_SHARES = 5
# A connection that has just been let in may not be in its server's list yet.
_SETTLED_MS = 30_000

log = event_log()


@runtime_checkable
class Shows(Protocol):
    """A server that can be asked whether a connection is still there."""

    def look(self, client: str) -> tuple[str, ...]:
        """The paths, behind the edge's control URL, that show a connection by the name that its door has given the
        session's client; empty where it cannot be asked about."""
        ...

    def is_gone(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """Whether these answers, a status and a body for each path, say that it is not there; not where they may come
        from anything else than the API."""
        ...


class Reconciler(Calling):
    """Looks every minute."""

    def __init__(self, usher: Usher, servers: Mapping[str, Shows], *, look_s: float = _LOOK_S) -> None:
        super().__init__()
        self._usher = usher
        self._servers = servers
        self._look_s = look_s
        self._round = 0
        # How many sessions were ended by this.
        self.ended = 0

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            try:
                await self.look(share=self._round % _SHARES)
            except StoreError as error:
                log.warning("reconcile.not_ended", error=error)
            except Exception:
                # Whatever it was, the next round is due.
                log.exception("reconcile.failed")
            self._round += 1

    async def look(self, *, share: int | None = None) -> None:
        """Ask about the connections of one share, or all, and end those that are gone. Raises StoreError."""
        edges = {edge.number: edge for edge in self._usher.edges() if self._can_ask(edge)}
        settled_ms = self._usher.clock_ms - _SETTLED_MS
        of_edges: dict[int, list[Live]] = {}
        for live in self._usher.watching.book.all():
            session = live.session
            is_due = share is None or session.number % _SHARES == share
            if is_due and session.edge in edges and live.is_held_open and session.started_ms <= settled_ms:
                of_edges.setdefault(session.edge, []).append(live)
        gone = await asyncio.gather(*(self._gone_of(edges[number], some) for number, some in of_edges.items()))
        for lives in gone:
            if lives:
                await self._usher.watching.end(lives, EndedBy.STOPPED)
                self.ended += len(lives)

    def _can_ask(self, edge: Edge) -> bool:
        return edge.kind in self._servers and edge.options.get(CONTROL, "") != ""

    async def _gone_of(self, edge: Edge, lives: list[Live]) -> list[Live]:
        server, url = self._servers[edge.kind], edge.options[CONTROL]
        turns, is_silent = asyncio.Semaphore(CALLS_AT_ONCE), False
        gone: list[Live] = []

        async def ask(live: Live) -> None:
            nonlocal is_silent
            paths = server.look(live.session.client_name)
            async with turns:
                # Of a server that does not answer, not each connection is waited for.
                answers = None if is_silent else await self._caller.call_each("GET", url, paths)
            if answers is None:
                is_silent = True
            elif answers and server.is_gone(answers):
                gone.append(live)

        await asyncio.gather(*map(ask, lives))
        return gone
