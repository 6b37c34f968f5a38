"""Group commit: what shares a batch and in which order, who is refused when, and that nobody is left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from openusher.errors import AlreadyExists, Busy, CommitUnknown, LedgerUnavailable, UnknownTicket
from openusher.gate import Gate
from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Drawn, Issue, Ledger, Operation, Outcome, Revoke
from openusher.model.attempt import Decision, Reason
from openusher.model.ticket import Ticket
from tests.conformance.asking import request, ticket

pytestmark = pytest.mark.anyio
WAIT_S_MAX = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SlowLedger:
    """Commits a batch when it is told to, and answers each operation with a number or what stands in `answers`."""

    def __init__(self) -> None:
        self.batches: list[list[Operation]] = []
        self.times: list[int] = []
        self.answers: dict[str, Outcome] = {}
        self.error: BaseException | None = None
        self.broken: Exception | None = None
        self.may_commit = asyncio.Event()
        self.began = asyncio.Event()
        self._writing = asyncio.Lock()

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        if self.broken is not None:
            raise self.broken
        async with self._writing:
            drawn = draw()
            self.batches.append(list(drawn.operations))
            self.times.append(drawn.now_ms)
            self.began.set()
            await self.may_commit.wait()
            if self.error is not None:
                raise self.error
            return [self.answers.get(name(operation)) or decision(operation) for operation in drawn.operations]

    async def has_begun(self, batches: int) -> None:
        """Wait until that many batches were sent."""
        while len(self.batches) < batches:
            self.began.clear()
            await asyncio.wait_for(self.began.wait(), WAIT_S_MAX)


def name(operation: Operation) -> str:
    match operation:
        case Decide(asked):
            return asked.video
        case Issue():
            return operation.ticket.key
        case Revoke():
            return operation.key
        case _:
            raise AssertionError("no operation of these tests")


def decision(operation: Operation) -> Decision:
    return Decision(reason=Reason.NONE, attempt=int(name(operation)))


def a_ticket(key: str) -> Ticket:
    return Ticket(number=1, cdn=1, key=key, password="p", app="*", video="*", ip="0.0.0.0/0", uses_limit=0,
                  uses_taken=0, active=True, created_s=0, expires_s=1, used_s=0)  # fmt: skip


@pytest.fixture
async def ledger() -> SlowLedger:
    return SlowLedger()


@pytest.fixture
async def gate(ledger: SlowLedger) -> AsyncIterator[Gate]:
    opened = make_gate(ledger)
    yield opened
    ledger.may_commit.set()
    await opened.close()


def make_gate(ledger: SlowLedger, *, queue_wait_s_max: float = WAIT_S_MAX) -> Gate:
    clock = iter(range(1_000, 2_000))
    return Gate(cast(Ledger, ledger), queue_wait_s_max=queue_wait_s_max, wall_ms=lambda: next(clock))


def ask(gate: Gate, number: int) -> asyncio.Task[Decision]:
    return asyncio.ensure_future(gate.decide(request(1, video=str(number))))


async def all_wait(*tasks: asyncio.Task[Decision]) -> None:
    """Let tasks run until they wait; none may be done."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_a_lone_request_waits_for_nobody(gate: Gate, ledger: SlowLedger) -> None:
    ledger.may_commit.set()

    assert (await ask(gate, 7)).attempt == 7
    assert [len(batch) for batch in ledger.batches] == [1]


async def test_what_arrives_during_a_commit_is_the_next_batch_in_order_of_arrival(
    gate: Gate, ledger: SlowLedger
) -> None:
    first = ask(gate, 0)
    await ledger.has_begun(1)
    ledger.answers["k"] = a_ticket("k")
    others = [ask(gate, n) for n in range(1, 20)]
    await all_wait(first, *others)
    revoked = asyncio.ensure_future(gate.revoke(Revoke(cdn=1, key="k")))
    issued = asyncio.ensure_future(gate.issue(Issue(ticket=ticket(1, "k"))))
    await all_wait(first, *others)
    assert len(ledger.batches) == 1
    ledger.may_commit.set()

    assert [(await task).attempt for task in (first, *others)] == list(range(20))
    assert (await revoked, await issued) == (a_ticket("k"), a_ticket("k"))
    assert [[name(operation) for operation in batch] for batch in ledger.batches] == [
        ["0"],
        [*map(str, range(1, 20)), "k", "k"],
    ]
    # One instant a batch, read when it begins.
    assert ledger.times == [1_000, 1_001]


async def test_a_batch_is_never_larger_than_the_ledger_takes(gate: Gate, ledger: SlowLedger) -> None:
    tasks = [ask(gate, n) for n in range(2 * BATCH_OPERATIONS_MAX + 3)]
    ledger.may_commit.set()

    assert [(await task).attempt for task in tasks] == list(range(len(tasks)))
    assert [len(batch) for batch in ledger.batches] == [BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX, 3]


async def test_a_refused_operation_concerns_its_asker_alone(gate: Gate, ledger: SlowLedger) -> None:
    ledger.answers = {"1": AlreadyExists("taken"), "k": UnknownTicket("none")}
    tasks = [ask(gate, n) for n in range(3)]
    revoked = asyncio.ensure_future(gate.revoke(Revoke(cdn=1, key="k")))
    ledger.may_commit.set()

    assert ((await tasks[0]).attempt, (await tasks[2]).attempt) == (0, 2)
    with pytest.raises(AlreadyExists):
        await tasks[1]
    with pytest.raises(UnknownTicket):
        await revoked


@pytest.mark.parametrize(
    "error", [LedgerUnavailable("full"), CommitUnknown("perhaps"), ValueError("broken")], ids=lambda e: type(e).__name__
)
async def test_a_failed_commit_answers_all_of_its_batch_and_the_gate_goes_on(
    gate: Gate, ledger: SlowLedger, error: Exception
) -> None:
    ledger.error = error
    ledger.may_commit.set()
    tasks = [ask(gate, n) for n in range(3)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    ledger.error = None

    assert answers == [error] * 3
    assert (await ask(gate, 9)).attempt == 9


async def test_who_waits_for_a_ledger_that_never_draws_is_answered(gate: Gate, ledger: SlowLedger) -> None:
    """As one does whose thread is gone."""
    ledger.broken = RuntimeError("no thread")
    asked = asyncio.gather(*(ask(gate, n) for n in range(3)), return_exceptions=True)
    answers = await asyncio.wait_for(asked, WAIT_S_MAX)
    ledger.broken = None
    ledger.may_commit.set()

    assert [type(answer) for answer in answers] == [RuntimeError] * 3
    assert (await ask(gate, 9)).attempt == 9


async def test_a_ledger_that_is_too_slow_is_answered_busy_at_once() -> None:
    """While a commit hangs nobody else waits longer than the queue may."""
    ledger = SlowLedger()
    gate = make_gate(ledger, queue_wait_s_max=0.05)
    hanging = ask(gate, 0)
    await ledger.has_begun(1)
    let_in = ask(gate, 1)
    await asyncio.wait([hanging, let_in], timeout=0.1)
    with pytest.raises(Busy) as busy:
        await gate.decide(request(1, video="2"))
    with pytest.raises(Busy):
        await gate.revoke(Revoke(cdn=1, key="k"))

    assert busy.value.retry_after_s >= 1
    assert not hanging.done()
    ledger.may_commit.set()
    # Whoever was let in is answered all the same.
    assert ((await hanging).attempt, (await let_in).attempt) == (0, 1)
    await gate.close()


async def test_a_gate_takes_requests_again_once_commits_are_fast_however_long_one_hung() -> None:
    """The commit that hung for ten times what may be waited must not be what every later request is judged by."""
    ledger = SlowLedger()
    gate = make_gate(ledger, queue_wait_s_max=0.03)
    hanging = ask(gate, 0)
    await ledger.has_begun(1)
    await asyncio.wait([hanging], timeout=0.4)
    with pytest.raises(Busy):
        await gate.decide(request(1, video="1"))
    ledger.may_commit.set()
    await hanging

    assert [(await ask(gate, n)).attempt for n in range(2, 30)] == list(range(2, 30))
    await gate.close()


async def test_closing_answers_what_waits_and_refuses_what_comes(gate: Gate, ledger: SlowLedger) -> None:
    tasks = [ask(gate, n) for n in range(BATCH_OPERATIONS_MAX + 2)]
    await ledger.has_begun(1)
    closing = asyncio.ensure_future(gate.close())
    await all_wait(*tasks)
    with pytest.raises(Busy):
        await gate.decide(request(1, video="9"))
    assert not closing.done()
    ledger.may_commit.set()
    await closing

    assert [(await task).attempt for task in tasks] == list(range(len(tasks)))


async def test_an_idle_gate_closes(gate: Gate) -> None:
    await asyncio.wait_for(gate.close(), WAIT_S_MAX)
    with pytest.raises(Busy):
        await gate.decide(request(1, video="1"))


async def test_an_asker_that_goes_away_keeps_nobody_from_an_answer(gate: Gate, ledger: SlowLedger) -> None:
    committing = [ask(gate, n) for n in range(3)]
    await ledger.has_begun(1)
    queued = [ask(gate, n) for n in range(3, 6)]
    await all_wait(*committing, *queued)
    committing[1].cancel()
    queued[1].cancel()
    await all_wait(committing[0], committing[2], queued[0], queued[2])
    ledger.may_commit.set()

    assert [(await task).attempt for task in (committing[0], committing[2], queued[0], queued[2])] == [0, 2, 3, 5]
    assert (await ask(gate, 6)).attempt == 6


async def test_a_nearly_full_disk_refuses_what_grows_and_lets_revocations_through(
    gate: Gate, ledger: SlowLedger
) -> None:
    ledger.answers["k"] = a_ticket("k")
    ledger.may_commit.set()
    gate.takes_starts = False
    with pytest.raises(Busy) as busy:
        await gate.decide(request(1, video="1"))
    with pytest.raises(Busy):
        await gate.issue(Issue(ticket=ticket(1, "k")))
    assert busy.value.retry_after_s > 1
    assert await gate.revoke(Revoke(cdn=1, key="k")) == a_ticket("k")
    gate.takes_starts = True

    assert (await ask(gate, 1)).attempt == 1
