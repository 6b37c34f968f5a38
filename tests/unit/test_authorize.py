"""The door in this process: what it says when the ledger cannot, and when nobody knows."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.gate import Gate
from openusher.model.search import AttemptFilter
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.web.edges.authorize import PATH, AuthorizeEndpoint
from tests.conformance.asking import NOON_MS
from tests.conformance.ledgers import Fault, SqliteBench
from tests.golden.bad_questions import bad_questions

pytestmark = pytest.mark.anyio
QUESTION = {"key": "k", "pass": "p", "app": "live", "video": "cam1", "ip": "192.0.2.1"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Door:
    """An account's door, on a disk that fails when it is told to."""

    def __init__(self, usher: Usher, bench: SqliteBench) -> None:
        self.usher = usher
        self.bench = bench
        self.cdn = 0
        self._token = ""
        # httpx's types and ours are two spellings of ASGI's.
        app: Any = AuthorizeEndpoint(usher, request_s_max=10)
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://door")

    async def open(self) -> None:
        await self.usher.start()
        made = await self.usher.create_account("site")
        self.cdn, self._token = made.account.cdn, made.edge_token.reveal()

    async def ask(self, **question: Any) -> httpx.Response:
        """Ask the usual question with these changes; a member that is Ellipsis is left out."""
        asked = {name: value for name, value in {**QUESTION, **question}.items() if value is not ...}
        return await self.post(json.dumps(asked).encode())

    async def post(self, body: bytes) -> httpx.Response:
        return await self._client.post(PATH, content=body, headers={"authorization": f"Bearer {self._token}"})

    async def counted(self) -> int:
        return await self.usher.searching.count(self.cdn, AttemptFilter())


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    bench = SqliteBench(tmp_path)
    ledger = await bench.open()
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(ledger, LedgerOnlyLog(), gate, shipper, wall_ms=lambda: NOON_MS)
    opened = Door(usher, bench)
    await opened.open()
    yield opened
    bench.fault = Fault.NONE
    await usher.close()
    bench.close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.FULL, "busy; ask again"),
        (Fault.SYNC, "the attempt may have been recorded; ask again with the same attempt_id"),
    ],
)
async def test_the_door_says_whether_an_attempt_may_have_been_recorded(door: Door, fault: Fault, said: str) -> None:
    attempt_id = str(uuid.uuid4())
    door.bench.fault = fault
    refused = await door.ask(attempt_id=attempt_id)
    door.bench.fault = Fault.NONE
    answered = await door.ask(attempt_id=attempt_id)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {"error": {"field": "", "message": said}}
    assert (answered.status_code, answered.json()["reason"]) == (200, "Invalid Auth Token")
    assert await door.counted() == 1


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        (b'{"app":5,"video":"v","ip":"192.0.2.1"}', "app", "not a text; give one"),
        (b'{"app":"a","video":null,"ip":"192.0.2.1"}', "video", "is missing; give a text"),
        (b'{"key":["k"],"app":"a","video":"v","ip":"192.0.2.1"}', "key", "not a text; give one"),
        (b'{"app":"a","ip":"192.0.2.1"}', "video", "is missing; give a text"),
        (
            b'{"app":"a","video":"v","ip":"192.0.2.1","vidoe":"v"}',
            "vidoe",
            "is no member of a question; is it mistyped?",
        ),
        (b'[{"app":"a"}]', "", "the body is no JSON object; give one"),
        (b'{"app":"a"', "", "the body is not JSON in UTF-8"),
    ],
)
async def test_a_question_of_the_wrong_shape_is_told_what_to_give(
    door: Door, body: bytes, field: str, said: str
) -> None:
    answer = await door.post(body)

    assert (answer.status_code, answer.json()) == (400, {"error": {"field": field, "message": said}})


async def test_no_refusal_speaks_in_the_words_of_python(door: Door) -> None:
    said = {(await door.post(row.body)).json()["error"]["message"] for row in bad_questions()}

    assert [message for message in said if re.search(r"`|Expected|\b(str|int|null|array|field)\b", message)] == []
