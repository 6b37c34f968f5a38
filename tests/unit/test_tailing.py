"""Those who listen hear each attempt once, as it was recorded, and are in nobody's way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.errors import Busy
from openusher.gate import Gate
from openusher.ledger.base import Issue, Start
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.attempt import Attempt
from openusher.model.search import AttemptFilter
from openusher.model.session import SessionWish
from openusher.shipper import Shipper
from openusher.tailing import ATTEMPTS_WAITING_MAX, Listener
from openusher.usher import Usher
from tests.conformance.asking import NASTY, NOON_MS, attempt_filter, new_account, request, ticket

pytestmark = pytest.mark.anyio
EVERYTHING = AttemptFilter()
WISH = SessionWish(id="s", base="cam1", resume_ms=10**7, idle_ms=10**7, hop_ms=10**7, hold_ms=0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Node:
    """A node and its gate. Its clock goes back now and then, as clocks do."""

    def __init__(self, ledger: SqliteLedger) -> None:
        clock = itertools.cycle([5, 9, 3, 11])
        self.gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS + next(clock))
        shipper = Shipper(ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
        self.usher = Usher(ledger, LedgerOnlyLog(), self.gate, shipper, wall_ms=lambda: NOON_MS)

    async def decide(self, *videos: str, cdn: int = 1, **asked: Any) -> None:
        await asyncio.gather(*(self.usher.authorize(request(cdn, video=video, **asked)) for video in videos))

    async def recorded(self, cdn: int, search: AttemptFilter = EVERYTHING) -> list[Attempt]:
        return (await self.usher.searching.newest(cdn, search, seek=0, limit=10_000))[::-1]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await ledger.create_account(new_account(1))
    opened = Node(ledger)
    await opened.usher.start()
    await opened.decide("before anybody listened")
    yield opened
    await opened.usher.close()


async def heard(listener: Listener) -> list[Attempt]:
    """What it has heard by now."""
    listener.end()
    found: list[Attempt] = []
    while (more := await listener.next()) is not None:
        assert more.lost == 0
        found += more.attempts
    return found


async def test_attempts_are_heard_as_they_were_recorded(node: Node) -> None:
    with node.usher.tailing.listening(1, EVERYTHING) as one, node.usher.tailing.listening(None, EVERYTHING) as every:
        for text in NASTY:
            await node.decide(text, cdn=1, key=text, password=f"{text}|x", ip="2001:db8::1", user_agent=text)
            await node.decide(text, text, cdn=2)

        assert (await node.recorded(1))[1:] == await heard(one)
        everything = [*(await node.recorded(1))[1:], *await node.recorded(2)]
        assert sorted(everything, key=lambda attempt: attempt.id) == await heard(every)


@pytest.mark.parametrize(
    "search",
    [{"accepted": False}, {"video": "a*"}, {"ip": "192.0.2.0/24"}, {"user": "a"}, {"reason": "Invalid Video"}],
    ids=str,
)
async def test_a_filter_means_what_it_means_to_a_count(node: Node, search: dict[str, Any]) -> None:
    await node.gate.issue(Issue(ticket=ticket(1, video="a*")))
    wanted = attempt_filter(search)
    with node.usher.tailing.listening(1, wanted) as listener:
        for ip, video in itertools.product(("192.0.2.9", "203.0.113.1"), ("abc", "b", "a%b_c")):
            await node.decide(video, ip=ip)
        found = await heard(listener)

    assert [attempt for attempt in await node.recorded(1, wanted) if attempt.id > 1] == found


async def test_a_repeat_is_no_attempt_and_neither_is_who_joins_a_session(node: Node) -> None:
    await node.gate.issue(Issue(ticket=ticket(1)))
    start = Start(request(1), WISH)
    with node.usher.tailing.listening(1, EVERYTHING) as listener:
        for _ in range(3):
            await node.decide("twice", "twice", attempt_id="one")
            await node.gate.start(start)
        found = await heard(listener)

    assert [attempt.video for attempt in found] == ["twice", "cam1"]


async def test_who_is_too_slow_loses_the_oldest_and_hears_how_many_and_nobody_waits(node: Node) -> None:
    with node.usher.tailing.listening(1, EVERYTHING) as listener:
        for first in range(0, ATTEMPTS_WAITING_MAX + 500, 500):
            await asyncio.wait_for(node.decide(*(f"v{n}" for n in range(first, first + 500))), 60)
        late = await listener.next()
        assert late is not None
        assert (late.lost, [attempt.video for attempt in late.attempts]) == (
            500,
            [f"v{n}" for n in range(500, ATTEMPTS_WAITING_MAX + 500)],
        )
        await node.decide("next")
        then = await listener.next()

    assert then is not None
    assert (then.lost, [attempt.video for attempt in then.attempts]) == (0, ["next"])


async def test_nothing_is_made_ready_when_nobody_listens(node: Node) -> None:
    assert node.gate.on_decided is None
    with node.usher.tailing.listening(1, EVERYTHING), node.usher.tailing.listening(2, EVERYTHING):
        assert node.gate.on_decided is not None

    assert node.gate.on_decided is None


async def test_there_is_room_for_a_few(node: Node) -> None:
    with pytest.raises(Busy, match="16 listen already"):
        _listen_deeply(node)

    assert node.gate.on_decided is None


def _listen_deeply(node: Node) -> None:
    with node.usher.tailing.listening(1, EVERYTHING):
        _listen_deeply(node)


async def test_a_node_that_stops_lets_its_listeners_go(node: Node) -> None:
    with node.usher.tailing.listening(1, EVERYTHING) as listener:
        waiting = asyncio.create_task(listener.next())
        await node.decide("last")
        assert (first := await waiting) is not None
        assert [attempt.video for attempt in first.attempts] == ["last"]
        waiting = asyncio.create_task(listener.next())
        node.usher.end_streams()

        assert await asyncio.wait_for(waiting, 10) is None
