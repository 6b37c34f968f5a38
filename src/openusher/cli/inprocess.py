"""Requests to an ASGI app in this process: the way of a command that opens the data folder itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx

from openusher.web.asgi import App, Headers, Message


class AppTransport(httpx.AsyncBaseTransport):
    """Unlike httpx's own, it hands on piece by piece what is asked and answered: a file of tickets, and an export, may
    be larger than memory."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "root_path": "",
            "client": None,
            "server": None,
        }
        assert isinstance(request.stream, httpx.AsyncByteStream)
        answer = _Answer(self._app, scope, aiter(request.stream))
        try:
            status, headers = await answer.head()
        except BaseException:
            # Whoever asked has gone: nobody will read it, and it would wait for that for ever.
            await answer.aclose()
            raise
        return httpx.Response(status, headers=headers, stream=answer)


class _Answer(httpx.AsyncByteStream):
    """An answer that the app goes on making while it is read; it waits for its reader."""

    def __init__(self, app: App, scope: dict[str, Any], body: AsyncIterator[bytes]) -> None:
        self._app = app
        self._scope = scope
        # None: all of it was handed over.
        self._body: AsyncIterator[bytes] | None = body
        # None: the app has returned.
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=1)
        self._closed = asyncio.Event()
        self._making = asyncio.get_running_loop().create_task(self._make(), name="answer in this process")

    async def head(self) -> tuple[int, Headers]:
        """Status and headers. Raises what the app does."""
        message = await self._messages.get()
        if message is None:
            await self._making
            raise httpx.RemoteProtocolError("no answer came")
        return message["status"], message["headers"]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            if piece := message.get("body", b""):
                yield piece
        await self._making

    async def aclose(self) -> None:
        self._closed.set()
        self._making.cancel()
        with suppress(asyncio.CancelledError):
            await self._making

    async def _make(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._put)
        finally:
            await self._put(None)

    async def _put(self, message: Message | None) -> None:
        # Once its reader has gone, the app may still answer that it was broken off: to nobody.
        if not self._closed.is_set():
            await self._messages.put(message)

    async def _receive(self) -> Message:
        if self._body is None:
            await self._closed.wait()
            return {"type": "http.disconnect"}
        if (piece := await anext(self._body, None)) is not None:
            return {"type": "http.request", "body": piece, "more_body": True}
        self._body = None
        return {"type": "http.request", "body": b"", "more_body": False}
