"""What a node did in the last minute, and nothing from before it."""

from __future__ import annotations

import asyncio

import pytest

from openusher.gate import GateTally
from openusher.model.attempt import Decision, Reason
from openusher.model.session import SESSION_LIMITS
from openusher.pulse import Pulse
from openusher.sessionbook import Refusal, SessionBook

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Living:
    """A node's tallies, and a clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.tally = GateTally()
        self.book = SessionBook(SESSION_LIMITS)
        self.pulse = Pulse(self.tally, self.book, clock_s=lambda: self.now_s)

    def live(self, seconds: int, *, accepted: int = 0, refused: int = 0, follow_ups: int = 0) -> None:
        """So many in each of these seconds, with a look every five."""
        for second in range(seconds):
            for reason, count in ((Reason.NONE, accepted), (Reason.EXPIRED, refused)):
                for _ in range(count):
                    self.tally.add(1, Decision(reason=reason, attempt=self.tally.last_attempt + 1))
            self.book.follow_ups[next(iter(Refusal))] += follow_ups
            self.now_s += 1
            if second % 5 == 4:
                self.pulse.look()


async def test_rates_are_of_the_last_minute() -> None:
    node = Living()
    node.tally.add(1, Decision(reason=Reason.NONE, attempt=1))
    node.pulse.start()
    node.live(10, accepted=3, refused=1, follow_ups=7)
    first = node.pulse.rates()
    node.live(120, accepted=1)
    then = node.pulse.rates()
    await node.pulse.close()

    assert first is not None
    assert (first.over_s, first.decisions, first.accepted, first.follow_ups) == (10, 4, 3, 7)
    assert then is not None
    assert (then.over_s, then.decisions, then.accepted, then.follow_ups) == (60, 1, 1, 0)
    assert node.pulse.up_s == 130


async def test_a_repeated_question_is_no_decision() -> None:
    node = Living()
    node.pulse.start()
    for _ in range(3):
        node.tally.add(1, Decision(reason=Reason.NONE, attempt=1))
    node.now_s += 1
    rates = node.pulse.rates()
    await node.pulse.close()

    assert rates is not None
    assert rates.decisions == 1


async def test_a_node_that_was_never_up_has_no_pulse() -> None:
    node = Living()
    await asyncio.wait_for(node.pulse.close(), 5)

    assert (node.pulse.up_s, node.pulse.rates()) == (None, None)
