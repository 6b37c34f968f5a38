"""The few words of ASGI that the hot endpoints are written in: read a body within bounds, send an answer whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from openusher.web.observed import Learnt

# Far above any real question: the longest fields together, escaped, are under 40 KiB.
BODY_BYTES_MAX = 64 * 1024

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Status, body and headers of an answer, and what was learnt that it tells; and what takes them, once.
Answered = tuple[int, bytes, Headers, Learnt]
Respond = Callable[[int, bytes, Headers, Learnt], None]

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
CLOSE: tuple[bytes, bytes] = (b"connection", b"close")
# In the scope of a request whose body has come as a whole; set by our connection (connection.py).
BODY_CAME = "usher.body_came"
# In the scope of one whose headers came in pieces, and so does its body: until when, by the loop's clock, it may come.
BODY_DUE = "usher.body_due"


class BodyTooLarge(Exception):
    """The body is longer than BODY_BYTES_MAX."""


class BodyTooSlow(Exception):
    """The body did not arrive in time."""


class ClientGone(Exception):
    """The connection closed before the body was whole; nobody waits for an answer."""


def header(headers: Headers, name: bytes) -> bytes:
    """The value of the first header of that lower-case name; empty where there is none."""
    for found, value in headers:
        if found == name:
            return bytes(value)
    return b""


async def read_body(scope: Scope, receive: Receive, *, seconds_max: float) -> bytes:
    """The whole body, which has `seconds_max` from now where its headers did not take a part of that.

    Raises BodyTooLarge (before reading, where its length is announced), BodyTooSlow, ClientGone.
    """
    announced = header(scope["headers"], b"content-length")
    # More than ten digits is too large whatever they say; int() would take its time over thousands.
    if announced and (len(announced) > 10 or int(announced) > BODY_BYTES_MAX):
        raise BodyTooLarge
    if scope.get(BODY_CAME):
        # Nothing to wait for, and a timer would cost more than all else that the door does with a request.
        return await _whole_body(receive)
    due = scope.get(BODY_DUE)
    try:
        async with asyncio.timeout(seconds_max) if due is None else asyncio.timeout_at(due):
            return await _whole_body(receive)
    except TimeoutError:
        raise BodyTooSlow from None


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def after_too_large(scope: Scope) -> Headers:
    """Headers to answer BodyTooLarge with. The connection stays open, so that a client in the middle of sending gets to
    read the answer: what still comes is dropped, and bounded in time. One that waits to be asked for its body
    (`Expect`) sends none, and what it sends next must not be taken for it."""
    return [CLOSE] if header(scope["headers"], b"expect") else []


async def answer_of(ask: Callable[[Respond], None]) -> Answered:
    """What `ask` answers, now or later."""
    answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def settle(status: int, body: bytes, headers: Headers, learnt: Learnt) -> None:
        # Cancelled where the server gave up waiting for it at its end.
        if not answered.done():
            answered.set_result((status, body, headers, learnt))

    ask(settle)
    return await answered


async def send_answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send status, headers and body, with the body's length."""
    sent: Headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
