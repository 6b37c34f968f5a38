"""Requests to an app in this process: one whose asker goes away ends, whatever the app then does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from openusher.cli.inprocess import AppTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_request_that_is_cancelled_ends_although_the_app_still_answers(anyio_backend: str) -> None:
    has_begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            has_begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # As a node does that is told to stop.
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b"stopping"})

    async with httpx.AsyncClient(transport=AppTransport(app), base_url="http://admin") as client:
        asking = asyncio.get_running_loop().create_task(client.get("/"))
        await has_begun.wait()
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=5)

    assert done == {asking}
    assert asking.cancelled()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task for task in others if task.get_name() == "answer in this process"] == []


async def test_what_is_sent_in_pieces_is_handed_over_one_by_one(anyio_backend: str) -> None:
    """A file of tickets may be larger than memory."""
    read: list[bytes] = []
    handed: list[tuple[bytes, int]] = []

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            read.append(piece)
            yield piece

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            handed.append((message["body"], len(read)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})

    async with httpx.AsyncClient(transport=AppTransport(app), base_url="http://admin") as client:
        answer = await client.post("/", content=pieces())

    assert (answer.status_code, answer.content) == (200, b"read")
    assert handed == [(b"one", 1), (b"two", 2), (b"three", 3), (b"", 3)]
