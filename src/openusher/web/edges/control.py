"""Tells media servers to drop the connections of sessions that were ended here: revoked, expired, kicked, replaced.

What is owed are rows in the ledger until the server has done it, so that no restart forgets one. Servers are called
from a loop of their own: one that hangs must not keep a decision waiting.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from openusher.errors import StoreError
from openusher.logs import event_log
from openusher.model.account import Edge
from openusher.model.edge import CONTROL
from openusher.usher import Usher
from openusher.web.edges.caller import CALLS_AT_ONCE, Calling

_PAGE_ROWS = 500
_RETRY_S, _RETRY_S_MAX = 1.0, 60.0
# A server that did not answer for so long has lost its connections.
_GIVE_UP_S = 3_600.0
# Whatever a server or a viewer has put into a name, nothing else gets into a URL.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_SILENT, _ANSWERED = "no answer", "status 200"

log = event_log()


class ControlCall(NamedTuple):
    """A request to a server's control API; `path`, with its query, stands behind the edge's control URL.

    Where the server may know the connection in one of several places, it is made to the paths `also` too. Where one of
    several workers answers for itself alone, so many answers with status 200 are enough, a second apart: then the
    connection is gone, whatever they say. 0: the call is made until the server says that it is gone."""

    method: str
    path: str
    answers_max: int = 0
    also: tuple[str, ...] = ()


@runtime_checkable
class Control(Protocol):
    """The control API of one kind of server."""

    def drop(self, client: str) -> ControlCall | None:
        """What has it drop a connection, by the name that its door has given the session's client; None where that
        cannot be asked for. Every part of a name that goes into the path must match `ID`."""
        ...

    def has_dropped(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """Whether the connection is gone by these answers, a status and a body for each path; else the call is made
        again. Not where they may come from anything else than the API: a wrong control URL must be told of."""
        ...


# A session's number, or edge and client of a connection without one.
_Name = int | tuple[int, str]


class _Owed(msgspec.Struct):
    """Since when a kick is owed, how often the server was called and answered, and when it is next; by the monotonic
    clock."""

    since_s: float
    next_s: float
    calls: int = 0
    answers: int = 0


class _Kick(NamedTuple):
    """A connection that its server is to drop."""

    name: _Name
    edge: int
    client: str


class Controller(Calling):
    """Pays what is owed. What a server has not done it is asked for again after
    `retry_s`, later and later, and no more after `give_up_s`."""

    def __init__(
        self,
        usher: Usher,
        controls: Mapping[str, Control],
        *,
        retry_s: float = _RETRY_S,
        give_up_s: float = _GIVE_UP_S,
    ) -> None:
        super().__init__()
        self._usher = usher
        self._controls = controls
        self._retry_s = retry_s
        self._give_up_s = give_up_s
        self._owed: dict[_Name, _Owed] = {}
        # Of how many kicks the server has done its part, and of how many no more is asked.
        self.paid = 0
        self.given_up = 0
        # Edges whose server has not answered in this round.
        self._silent: set[int] = set()

    @property
    def owed(self) -> int:
        """How many connections servers have been asked to drop, and have not dropped yet."""
        return len(self._owed)

    async def _run(self) -> None:
        owes, took_s = self._usher.watching.owes, 0.0
        # What an earlier run has left.
        owes.set()
        while True:
            with suppress(TimeoutError):
                # Also where nothing new is owed, what could not be paid is tried again; all of it is read for that.
                async with asyncio.timeout(max(self._retry_s, took_s) if self._owed else None):
                    await owes.wait()
            owes.clear()
            began_s = time.monotonic()
            try:
                await self._pay_all()
                took_s = time.monotonic() - began_s
            except StoreError as error:
                log.warning("control.not_read", error=error)
                await asyncio.sleep(self._retry_s)
                owes.set()
            except Exception:
                log.exception("control.failed")
                await asyncio.sleep(self._retry_s)
                owes.set()

    async def _pay_all(self) -> None:
        self._silent.clear()
        strays = self._usher.watching.strays
        kicks = [_Kick(stray, *stray) for stray in strays]
        paid = await self._pay(kicks)
        strays -= {(kick.edge, kick.client) for kick in kicks if kick.name in paid}
        still_owed: set[_Name] = {kick.name for kick in kicks} - paid
        after = 0
        while page := await self._usher.owed_kicks(after=after, limit=_PAGE_ROWS):
            kicks = [_Kick(session.number, session.edge, session.client_name) for session in page]
            paid = await self._pay(kicks)
            await self._usher.pay_kicks([session.number for session in page if session.number in paid])
            still_owed |= {kick.name for kick in kicks} - paid
            after = page[-1].number
        self._owed = {name: owed for name, owed in self._owed.items() if name in still_owed}

    async def _pay(self, kicks: list[_Kick]) -> set[_Name]:
        """Those of which nothing is owed any more. Servers are called side by side."""
        edges = {edge.number: edge for edge in self._usher.edges()}
        of_edges: dict[int, list[_Kick]] = {}
        for kick in kicks:
            of_edges.setdefault(kick.edge, []).append(kick)
        paid = await asyncio.gather(*(self._pay_edge(edges.get(number), some) for number, some in of_edges.items()))
        return {name for names in paid for name in names}

    async def _pay_edge(self, edge: Edge | None, kicks: list[_Kick]) -> set[_Name]:
        url = edge.options.get(CONTROL, "") if edge is not None else ""
        control = self._controls.get(edge.kind) if edge is not None else None
        if edge is None or control is None or not url:
            return {kick.name for kick in kicks}
        turns = asyncio.Semaphore(CALLS_AT_ONCE)
        paid: set[_Name] = set()
        # What the server said the first time that it did not do it, and the last.
        first: list[str] = []
        last: list[str] = []

        async def pay(kick: _Kick) -> None:
            call = control.drop(kick.client)
            if call is None:
                paid.add(kick.name)
                return
            async with turns:
                # Of a server that does not answer, not each connection is waited for: others' turn comes the later.
                if self._is_early(kick.name) or edge.number in self._silent:
                    return
                said = await self._call(control, call, url)
            if not said:
                self.paid += 1
                paid.add(kick.name)
                return
            if said == _SILENT:
                self._silent.add(edge.number)
            if call.answers_max and said == _ANSWERED:
                if self._ask_another(kick.name) >= call.answers_max:
                    self.paid += 1
                    paid.add(kick.name)
                return
            owed = self._ask_later(kick.name)
            if time.monotonic() - owed.since_s > self._give_up_s:
                self.given_up += 1
                paid.add(kick.name)
                last.append(said)
            elif owed.calls == 1:
                first.append(said)

        await asyncio.gather(*map(pay, kicks))
        # Nothing of a viewer's, which may have chosen a name.
        if first:
            log.warning("control.not_dropped", edge=edge.number, connections=len(first), said=first[-1])
        if last:
            log.warning("control.gave_up", edge=edge.number, connections=len(last), said=last[-1])
        return paid

    async def _call(self, control: Control, call: ControlCall, url: str) -> str:
        """What the server said instead of having dropped the connection; empty where it has."""
        answers = await self._caller.call_each(call.method, url, (call.path, *call.also))
        if answers is None:
            return _SILENT
        # Of several it is the last that is told.
        return "" if control.has_dropped(answers) else f"status {answers[-1][0]}"

    def _is_early(self, name: _Name) -> bool:
        now_s = time.monotonic()
        return self._owed.setdefault(name, _Owed(now_s, now_s)).next_s > now_s

    def _ask_another(self, name: _Name) -> int:
        """How often one of the server's workers has answered."""
        owed = self._owed[name]
        owed.answers += 1
        owed.next_s = time.monotonic() + self._retry_s
        return owed.answers

    def _ask_later(self, name: _Name) -> _Owed:
        owed = self._owed[name]
        owed.calls += 1
        owed.next_s = time.monotonic() + min(_RETRY_S_MAX, self._retry_s * 2.0 ** (owed.calls - 1))
        return owed
