"""What an answer costs, in calls of functions: it does not vary with the machine, and a change that doubles it shows.

How many statements a batch takes and how many syncs a commit is guarded beside the ledger (conformance/test_ledger.py,
crash/test_power_loss.py); how many questions a count puts to the log, in test_keptcounts.py and
test_kepttotals.py.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import urllib.parse
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Issue, Operation
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.attempt import Decision
from openusher.model.edge import EdgeKind
from openusher.settings import Settings
from openusher.web.metrics.requests import RequestTally
from openusher.web.observed import each_of
from openusher.web.requestlog import RequestLog
from openusher.web.server import http_config
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.doors.doornode import DoorNode
from tests.e2e import rawhttp
from tests.sevuclient import Account, signed_text
from tests.unit.test_connection import Wire

pytestmark = pytest.mark.anyio

# A tenth above what it is now. Whoever raises one says in the commit what it buys.
FOLLOW_UP_CALLS_MAX = 190
ISSUE_CALLS_MAX = 410
KEPT_COUNT_CALLS_MAX = 440
DECISION_CALLS_MAX = 60
BATCH_CALLS_MAX = 175
# Of 64 tickets.
ISSUE_PAGES_MAX = 140
PAGE_BYTES = 4_096


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


class Calls:
    """Of Python's and C's functions alike, in the threads that were begun meanwhile."""

    def __init__(self) -> None:
        self.count = 0

    def see(self, frame: FrameType, event: str, arg: Any) -> None:
        self.count += event in ("call", "c_call")


@contextmanager
def counted_here() -> Generator[Calls, None, None]:
    """Calls of this thread, while the context lasts."""
    calls = Calls()
    sys.setprofile(calls.see)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@contextmanager
def counted_in_new_threads() -> Generator[Calls, None, None]:
    calls = Calls()
    threading.setprofile(calls.see)
    try:
        yield calls
    finally:
        threading.setprofile(None)


def asked_by_nginx(token: str, file: str) -> bytes:
    return rawhttp.request(
        "GET",
        "/v1/edges/nginx",
        authorization=f"Bearer {token}",
        x_original_uri=f"/t/film/pass-of-film/live/cam1/{file}",
        x_original_path=f"/live/cam1/{file}",
        x_real_ip="192.0.2.1",
        user_agent="a player",
        accept="*/*",
    )


class Awaited(Wire):
    """A connection of which each answer is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers.put_nowait(bytes(data))


async def answered(connection: Any, wire: Awaited, asked: bytes) -> bytes:
    connection.data_received(asked)
    return await wire.answers.get()


def connected(node: DoorNode) -> tuple[Any, Awaited]:
    """A connection to a node as it is served."""
    seen = each_of(RequestTally().add, RequestLog())
    config: uvicorn.Config = http_config(node.app, Settings(), short_way=node.app.short_way, observe=seen)
    config.load()
    kind: Any = config.http_protocol_class
    connection, wire = kind(config=config, server_state=ServerState(), app_state={}), Awaited()
    connection.connection_made(wire)
    return connection, wire


async def test_a_follow_up_costs_no_more_than_it_did(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.NGINX)
    await node.start()
    await node.issue("film")
    connection, wire = connected(node)
    await answered(connection, wire, asked_by_nginx(node.token, "index.m3u8"))
    # The first of its kind makes what the others find.
    await answered(connection, wire, asked_by_nginx(node.token, "seg1.ts"))

    asked = asked_by_nginx(node.token, "seg2.ts")
    with counted_here() as calls:
        answer = await answered(connection, wire, asked)
    connection.connection_lost(None)
    await node.stop()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert calls.count <= FOLLOW_UP_CALLS_MAX
    # Else nothing was counted.
    assert calls.count > FOLLOW_UP_CALLS_MAX / 2


async def test_who_is_told_that_the_node_is_busy_leaves_nothing_for_the_collector_of_garbage(tmp_path: Path) -> None:
    """A circle for each of them stopped an overloaded door for more time than it had left to answer in."""
    node = DoorNode(tmp_path, EdgeKind.NGINX)
    await node.start()
    await node.issue("film")
    connection, wire = connected(node)
    asked = asked_by_nginx(node.token, "index.m3u8")
    node.usher.takes_starts = False
    # The first of its kind makes what the others find.
    await answered(connection, wire, asked)
    gc.collect()
    answers = [await answered(connection, wire, asked) for _ in range(20)]
    left = gc.collect()
    connection.connection_lost(None)
    await node.stop()

    assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
    assert left < len(answers)


def command(account: Account, name: str, **parameters: Any) -> bytes:
    """A signed command as a form, at the time that stands in the node."""
    text = signed_text(account, name, timestamp=NOON_MS // 1_000, **parameters)
    form = urllib.parse.urlencode({"json": text}).encode()
    return rawhttp.request("POST", "/stable/", form, content_type="application/x-www-form-urlencoded")


async def test_a_command_costs_the_door_no_more_than_it_did(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.NGINX)
    await node.start()
    made = await node.usher.create_account("shop", cdn=2)
    secrets = {"secret": made.secret.reveal(), "edge_token": made.edge_token.reveal()}
    account = Account(name="shop", cdn=2, api_key=made.api_key, **secrets)
    connection, wire = connected(node)
    rules = {"app": "acme-live", "video": "live/cam1|vod/*", "ip": "192.0.2.7", "uses": 99, "expire": "+24 hours"}
    # The first of its kind makes what the others find: here, the count that is kept.
    asked = {
        "sevu.request": [command(account, "sevu.request", **rules, **{"pass": each}) for each in ("first", "second")],
        "sevu.errorcount": [command(account, "sevu.errorcount", key="k")] * 2,
    }
    found: dict[str, int] = {}
    for name, (first, second) in asked.items():
        await answered(connection, wire, first)
        with counted_here() as calls:
            answer = await answered(connection, wire, second)
        assert b'"status":"success"' in answer
        found[name] = calls.count
    connection.connection_lost(None)
    await node.stop()

    assert found["sevu.request"] <= ISSUE_CALLS_MAX
    assert found["sevu.errorcount"] <= KEPT_COUNT_CALLS_MAX
    # Else nothing was counted.
    assert found["sevu.request"] > ISSUE_CALLS_MAX / 2
    assert found["sevu.errorcount"] > KEPT_COUNT_CALLS_MAX / 2


async def test_a_decision_costs_the_ledger_no_more_than_it_did(tmp_path: Path) -> None:
    with counted_in_new_threads() as calls:
        ledger = await SqliteLedger.open(tmp_path / "ledger.db", indexed=False)

        async def cost(decisions: int) -> int:
            """Of a batch, each decision of a ticket of its own."""
            before = calls.count
            asked: list[Operation] = [Decide(request(1, key=f"k{n}")) for n in range(decisions)]
            outcomes = await ledger.commit_batch(asked, now_ms=NOON_MS)
            assert [decision.reason for decision in outcomes if isinstance(decision, Decision)] == [""] * decisions
            return calls.count - before

        await ledger.create_account(new_account(1))
        await ledger.commit_batch([Issue(ticket=ticket(1, f"k{n}")) for n in range(65)], now_ms=NOON_MS)
        await cost(65)
        one, many = await cost(1), await cost(65)
        await ledger.close()

    assert (many - one) / 64 <= DECISION_CALLS_MAX
    assert one <= BATCH_CALLS_MAX
    # Else nothing was counted.
    assert one > BATCH_CALLS_MAX / 2


async def test_issued_tickets_write_no_more_pages_than_they_did(tmp_path: Path) -> None:
    """To write pages is half of what an issued ticket costs the ledger. All are signed in one second, as under load."""
    chance = random.Random(0)

    def issue() -> Operation:
        key, digest = f"{chance.getrandbits(56):014x}", f"{chance.getrandbits(256):064x}"
        until_ms = NOON_MS + 86_401_000
        return Issue(ticket=ticket(1, key), api_key="K" * 32, replay_digest=digest, replay_until_ms=until_ms)

    ledger = await SqliteLedger.open(tmp_path / "ledger.db", indexed=False)
    await ledger.create_account(new_account(1))
    for turn in range(20):
        await ledger.commit_batch([issue() for _ in range(BATCH_OPERATIONS_MAX)], now_ms=NOON_MS + turn)
    before = (await ledger.tally()).wal_bytes
    await ledger.commit_batch([issue() for _ in range(64)], now_ms=NOON_MS + 20)
    written = (await ledger.tally()).wal_bytes - before
    await ledger.close()

    assert 64 < written / PAGE_BYTES <= ISSUE_PAGES_MAX
