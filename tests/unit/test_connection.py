"""What a connection makes of its bytes, in whatever pieces they come: each request is answered as if it came whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from openusher.settings import Settings
from openusher.web.asgi import Headers, Receive, Respond, Scope, Send, read_body, send_answer
from openusher.web.observed import Observed
from openusher.web.server import http_config
from tests.e2e.rawhttp import chunked, request

SHORT = "/short"
QUESTIONS = [
    request("POST", SHORT, b"one"),
    request("POST", SHORT, b""),
    request("POST", SHORT, transfer_encoding="chunked") + chunked(b"two and three", size=4),
    request("POST", SHORT, b"four", expect="100-continue"),
    request("POST", SHORT, b"five", connection="Upgrade, HTTP2-Settings", upgrade="h2c"),
    request("POST", SHORT, b"six").replace(b"host:", b"Upgrade: h2c\r\nConnection: Upgrade\r\nHost:"),
    request("POST", "/%73hort", b"seven"),
    request("POST", SHORT + "?eight", b"eight"),
    request("GET", SHORT),
    b"\r\n" + request("POST", SHORT, b"nine"),
    request("POST", "/long", b"ten"),
]


class Echo:
    """Answers with what was asked, by both ways alike but for a mark."""

    method = "POST"

    def __init__(self) -> None:
        self.unanswered: list[Callable[[], None]] = []

    def ask(self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed) -> None:
        length = dict(headers).get(b"content-length", b"")
        self.unanswered.append(lambda: answer(200, b"%b %b" % (body, length), [(b"way", b"short")], None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, seconds_max=1)
        length = dict(scope["headers"]).get(b"content-length", b"")
        await send_answer(send, 200, b"%b %b" % (body, length), (b"way", b"usual"))


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answers(pieces: list[bytes]) -> bytes:
    """All that a connection writes when it receives `pieces`, each after all that came of the last."""
    echo = Echo()
    config = http_config(echo, Settings(), short_way={SHORT.encode(): echo}.get)
    config.load()
    wire = Wire()
    connection = made(config)
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
        await settled(echo)
    assert wire.closed == (b"connection: close" in wire.written)
    # Else its timers go on.
    connection.connection_lost(None)
    return wire.written


def made(config: uvicorn.Config) -> asyncio.Protocol:
    kind = config.http_protocol_class
    return kind(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]


async def settled(echo: Echo) -> None:
    for _ in range(8):
        while echo.unanswered:
            echo.unanswered.pop(0)()
        await asyncio.sleep(0)


def run(answering: Awaitable[bytes]) -> bytes:
    async def awaited() -> bytes:
        return await answering

    return asyncio.run(awaited())


def way_less(written: bytes) -> bytes:
    """Without the way that an answer came, and without what asks for the body."""
    return written.replace(b"way: short\r\n", b"").replace(b"way: usual\r\n", b"").replace(CONTINUE, b"")


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("asked", QUESTIONS)
def test_a_request_is_understood_wherever_it_is_cut(asked: bytes) -> None:
    async def every_cut() -> None:
        whole = way_less(await answers([asked]))
        assert whole.count(b"HTTP/1.1 200") == 1
        for cut in range(1, len(asked)):
            assert way_less(await answers([asked[:cut], asked[cut:]])) == whole, asked[:cut]

    asyncio.run(every_cut())


def test_only_a_post_to_its_path_goes_the_short_way() -> None:
    ways = [b"way: short" in run(answers([asked])) for asked in QUESTIONS]
    assert ways == [True, True, True, True, True, True, False, False, False, True, False]


@given(
    asked=st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=12),
)
def test_requests_sent_ahead_are_answered_in_order(asked: list[bytes], cuts: list[float]) -> None:
    alone = b"".join(way_less(run(answers([each]))) for each in asked)
    stream = b"".join(asked)
    places = sorted({int(cut * len(stream)) for cut in cuts} - {0})
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]

    assert way_less(run(answers(pieces))) == alone


def test_a_request_that_ends_the_connection_is_answered_and_the_connection_closed() -> None:
    for asked in (
        request("POST", SHORT, b"x", connection="close"),
        request("POST", SHORT, b"x").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("POST", SHORT, b"x", connection="keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        written = run(answers([asked]))
        assert b"way: short" in written
        assert b"connection: close" in written


class AtOnce(Echo):
    """Answers as soon as it is asked."""

    def ask(self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed) -> None:
        answer(200, body, [], None)


def connected(count: int) -> list[tuple[asyncio.Protocol, Wire]]:
    """Connections of one server that answers at once."""
    config = http_config(AtOnce(), Settings(), short_way={SHORT.encode(): AtOnce()}.get)
    config.load()
    made_now = [(made(config), Wire()) for _ in range(count)]
    for connection, wire in made_now:
        connection.connection_made(wire)
    return made_now


def test_the_answers_of_one_turn_are_sent_when_all_of_it_is_read() -> None:
    async def turn() -> list[list[bytes]]:
        wires = connected(3)
        found = []
        for connection, _ in wires:
            connection.data_received(request("POST", SHORT, b"one"))
        found.append([wire.written[-3:] for _, wire in wires])
        await asyncio.sleep(0)
        found.append([wire.written[-3:] for _, wire in wires])
        for connection, _ in wires:
            connection.connection_lost(None)
        return found

    assert asyncio.run(turn()) == [[b""] * 3, [b"one"] * 3]


def test_nothing_is_sent_to_a_client_that_goes_within_the_turn_and_the_others_have_their_answers() -> None:
    async def turn() -> list[bytes]:
        wires = connected(3)
        for connection, _ in wires:
            connection.data_received(request("POST", SHORT, b"one"))
        (leaving, gone), *_ = wires
        gone.closed = True
        leaving.connection_lost(None)
        await asyncio.sleep(0)
        for connection, _ in wires[1:]:
            connection.connection_lost(None)
        return [wire.written[-3:] for _, wire in wires]

    assert asyncio.run(turn()) == [b"", b"one", b"one"]


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (b"no request\r\n\r\n", b"HTTP/1.1 400 "),
        (request("POST", SHORT, b"two", connection="close"), b"HTTP/1.1 200 "),
        (request("POST", "/long", b"two", expect="100-continue"), CONTINUE),
    ],
)
def test_an_answer_that_waits_for_the_turns_end_goes_before_whatever_comes_after_it(
    behind: bytes, expected: bytes
) -> None:
    async def turn() -> bytes:
        ((connection, wire),) = connected(1)
        connection.data_received(request("POST", SHORT, b"one") + behind)
        for _ in range(8):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return wire.written

    head, _, rest = asyncio.run(turn()).partition(b"\r\n\r\none")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert rest.startswith(expected)
