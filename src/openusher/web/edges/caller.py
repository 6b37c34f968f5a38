"""Calls to the control APIs of media servers: bounded, and never in the loop that decides."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property

import httpx

_CALL_S_MAX = 2.0
_ANSWER_BYTES_MAX = 64 * 1024
# To one server at a time.
CALLS_AT_ONCE = 8


class Calling(ABC):
    """Work that calls servers of its own accord while a node runs. `start` before any, `close` after all."""

    def __init__(self) -> None:
        self._caller = Caller()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._caller.start()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=type(self).__name__)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._caller.close)

    @abstractmethod
    async def _run(self) -> None:
        """Until it is cancelled."""


class Caller:
    """Calls servers from a thread with a loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="caller", daemon=True)

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """Made at the first call: it takes longer than all else at a node's start, and most nodes call nobody."""
        # A new connection each time: of several workers, another may have the viewer. No proxy of the environment.
        return httpx.AsyncClient(
            timeout=_CALL_S_MAX,
            follow_redirects=False,
            trust_env=False,
            # What is bounded must not grow after.
            headers={"accept-encoding": "identity"},
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            if "_client" in self.__dict__:
                asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def call_each(self, method: str, url: str, paths: Iterable[str]) -> list[tuple[int, bytes]] | None:
        """Status and body for each path behind a server's `url`, one after the other; None where one had no answer
        within two seconds, or one that is too long."""
        answers: list[tuple[int, bytes]] = []
        for path in paths:
            answer = await self._call_in_thread(method, url.rstrip("/") + path)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _call_in_thread(self, method: str, url: str) -> tuple[int, bytes] | None:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(method, url), self._loop))

    async def _call(self, method: str, url: str) -> tuple[int, bytes] | None:
        try:
            async with asyncio.timeout(_CALL_S_MAX):
                return await self._answer(method, url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None

    async def _answer(self, method: str, url: str) -> tuple[int, bytes] | None:
        whole = httpx.URL(url)
        # Not in what is asked for, which the library names in logs and errors.
        auth = httpx.BasicAuth(whole.username, whole.password) if whole.userinfo else None
        async with self._client.stream(method, whole.copy_with(userinfo=b""), auth=auth) as response:
            body = b""
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _ANSWER_BYTES_MAX:
                    return None
            return response.status_code, body
