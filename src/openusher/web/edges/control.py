"""Tells media servers to drop the connections of sessions that were ended here: revoked, expired, kicked, replaced.

What is owed are rows in the ledger until the server has done it, so that no restart forgets one. Servers are called
from a loop of their own: one that hangs must not keep a decision waiting.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

import httpx
import msgspec

from openusher.connecting import server_name_of
from openusher.errors import StoreError
from openusher.model.account import Edge
from openusher.model.session import Session
from openusher.usher import Usher

_CALL_S_MAX = 2.0
_ANSWER_BYTES_MAX = 64 * 1024
_AT_ONCE = 8
_PAGE_ROWS = 500
_LOOK_S, _RETRY_S_MAX = 1.0, 60.0
# A server that did not answer for so long has lost its connections.
_GIVE_UP_S = 3_600.0
# Whatever a server or a viewer has put into a name, nothing else gets into a URL.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class ControlCall(NamedTuple):
    """A request to a server's control API; `path`, with its query, stands behind the edge's control URL. Where one of
    several workers answers for itself alone, so many answers with status 200 are enough, a second apart: then the
    connection is gone, whatever they say. 0: the call is made until the server says that it is gone."""

    method: str
    path: str
    answers_max: int = 0


@runtime_checkable
class Control(Protocol):
    """The control API of one kind of server."""

    def drop(self, client: str) -> ControlCall | None:
        """What has it drop a connection, by the name that its door has given the session's client; None where that
        cannot be asked for. Every part of a name that goes into the path must match `ID`."""
        ...

    def has_dropped(self, status: int, body: bytes) -> bool:
        """Whether the connection is gone by this answer; else the call is made again."""
        ...


class _Owed(msgspec.Struct):
    """Since when a kick is owed, how often the server was called and answered, and when it is next; by the monotonic
    clock."""

    since_s: float
    next_s: float
    calls: int = 0
    answers: int = 0


class Controller:
    """Pays what is owed. `start` before any, `close` after all."""

    def __init__(self, usher: Usher, controls: Mapping[str, Control]) -> None:
        self._usher = usher
        self._controls = controls
        self._caller = _Caller()
        self._owed: dict[int, _Owed] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._caller.start()
        # What an earlier run has left.
        self._usher.watching.owes.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="control")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._caller.close)

    async def _run(self) -> None:
        owes = self._usher.watching.owes
        while True:
            with suppress(TimeoutError):
                # Also where nothing new is owed, what could not be paid is tried again.
                async with asyncio.timeout(_LOOK_S if self._owed else None):
                    await owes.wait()
            owes.clear()
            try:
                await self._pay_all()
            except StoreError as error:
                log.warning("control.not_read: %s", error)
                await asyncio.sleep(_LOOK_S)
                owes.set()
            except Exception:
                log.exception("control.failed")
                await asyncio.sleep(_LOOK_S)
                owes.set()

    async def _pay_all(self) -> None:
        edges = {edge.number: edge for edge in self._usher.edges()}
        after, still_owed = 0, set()
        while page := await self._usher.owed_kicks(after=after, limit=_PAGE_ROWS):
            paid = await asyncio.gather(*(self._pay(session, edges.get(session.edge)) for session in page))
            await self._usher.pay_kicks([session.number for session, done in zip(page, paid, strict=True) if done])
            still_owed |= {session.number for session, done in zip(page, paid, strict=True) if not done}
            after = page[-1].number
        self._owed = {number: owed for number, owed in self._owed.items() if number in still_owed}

    async def _pay(self, session: Session, edge: Edge | None) -> bool:
        """Whether nothing is owed any more."""
        url = edge.options.get("control", "") if edge is not None else ""
        control = self._controls.get(edge.kind) if edge is not None else None
        call = control.drop(server_name_of(session.client)) if control is not None else None
        if control is None or call is None or not url:
            return True
        now_s = time.monotonic()
        owed = self._owed.setdefault(session.number, _Owed(now_s, now_s))
        if owed.next_s > now_s:
            return False
        answer = await self._caller.call(call.method, url.rstrip("/") + call.path)
        if answer is not None and control.has_dropped(*answer):
            return True
        owed.calls += 1
        if call.answers_max and answer is not None and answer[0] == 200:
            owed.answers += 1
            owed.next_s = now_s + _LOOK_S
            return owed.answers >= call.answers_max
        owed.next_s = time.monotonic() + min(_RETRY_S_MAX, 2.0 ** (owed.calls - 1))
        said = "no answer" if answer is None else f"status {answer[0]}"
        if now_s - owed.since_s > _GIVE_UP_S:
            log.warning("control.gave_up: edge %d did not drop session %d: %s", session.edge, session.number, said)
            return True
        if owed.calls == 1:
            log.warning("control.not_dropped: session %d of edge %d: %s", session.number, session.edge, said)
        return False


class _Caller:
    """Calls servers from a thread with a loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="control", daemon=True)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        # A new connection each time: of several workers, another may have the viewer. No proxy of the environment.
        self._client = httpx.AsyncClient(
            timeout=_CALL_S_MAX,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def call(self, method: str, url: str) -> tuple[int, bytes] | None:
        """Status and body; None where there was no answer within two seconds, or one that is too long."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(method, url), self._loop))

    async def _call(self, method: str, url: str) -> tuple[int, bytes] | None:
        async with self._turns:
            try:
                async with asyncio.timeout(_CALL_S_MAX):
                    return await self._answer(method, url)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
                return None

    async def _answer(self, method: str, url: str) -> tuple[int, bytes] | None:
        async with self._client.stream(method, url) as response:
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _ANSWER_BYTES_MAX:
                    return None
            return response.status_code, body
