"""Any ledger when the disk fails, an operation cannot be stored, an asker goes away, or rows were tampered with."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from openusher.errors import CommitUnknown, InvalidParameter, LedgerUnavailable
from openusher.ledger.base import Decide, Issue, Ledger, Operation, Revoke
from openusher.model.attempt import Decision
from openusher.model.search import AttemptFilter
from openusher.model.ticket import Ticket
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import Fault, LedgerBench

pytestmark = pytest.mark.anyio
IDS = [f"0192e4a8-7c3f-7d52-9f0a-{n:012x}" for n in range(8)]


def asked(n: int = 0) -> Decide:
    return Decide(request(1, attempt_id=IDS[n]))


async def held(ledger: Ledger) -> int:
    return (await ledger.count_pending(1, AttemptFilter())).count


async def uses_taken(ledger: Ledger) -> int:
    kept = await ledger.ticket(1, "k")
    assert kept is not None
    return kept.uses_taken


# --- the disk -------------------------------------------------------------------------------------------------------


async def test_on_a_full_disk_nothing_is_written_and_the_same_may_be_sent_again(
    bench: LedgerBench, ledger: Ledger
) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1)), asked(0)], now_ms=NOON_MS)
    stats = await ledger.stats()
    bench.fault = Fault.FULL
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            await ledger.commit_batch([asked(1), Revoke(cdn=1, key="k")], now_ms=NOON_MS + 1)
        with pytest.raises(LedgerUnavailable):
            await ledger.create_account(new_account(3))
    assert (await ledger.stats(), await uses_taken(ledger), ledger.clock_ms) == (stats, 1, NOON_MS)
    bench.fault = Fault.NONE
    (decision,) = await ledger.commit_batch([asked(1)], now_ms=NOON_MS)

    assert isinstance(decision, Decision)
    assert (decision.attempt, decision.accepted, await held(ledger)) == (2, True, 2)
    assert (await ledger.create_account(new_account(3))).cdn == 3
    assert await ledger.check(quick=False) == []


@pytest.mark.parametrize("was_read", [True, False], ids=["with readers", "without"])
@pytest.mark.parametrize("reopens", [True, False], ids=["restarted", "goes on"])
async def test_a_commit_of_unknown_outcome_is_looked_up_once_the_disk_works_again(
    bench: LedgerBench, was_read: bool, reopens: bool
) -> None:
    """Either is allowed, there or not there; but all of it or nothing, and once when it is asked again."""
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    if was_read:
        assert await held(ledger) == 0
    bench.fault = Fault.SYNC
    batch = [asked(n) for n in range(4)]
    with pytest.raises(CommitUnknown):
        await ledger.commit_batch(batch, now_ms=NOON_MS)
    # What comes now is surely not written, and is told so; the node is not ready.
    with pytest.raises(LedgerUnavailable):
        await ledger.be_ready()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await ledger.commit_batch([asked(5)], now_ms=NOON_MS)
        with pytest.raises(LedgerUnavailable):
            await ledger.create_account(new_account(3))
    bench.fault = Fault.NONE
    if not reopens:
        await ledger.be_ready()
    if reopens:
        await ledger.close()
        ledger = await bench.open()
    (other,) = await ledger.commit_batch([asked(6)], now_ms=NOON_MS)
    written = await held(ledger) - 1
    assert (written, await uses_taken(ledger)) in ((0, 1), (4, 5))
    again = await ledger.commit_batch(batch, now_ms=NOON_MS)

    numbers = sorted(outcome.attempt for outcome in [other, *again] if isinstance(outcome, Decision))
    assert numbers == [1, 2, 3, 4, 5]
    assert (await held(ledger), await uses_taken(ledger)) == (5, 5)
    assert set((await ledger.directory()).accounts) == {1}
    assert await ledger.check(quick=False) == []
    await ledger.close()


async def test_a_sync_that_fails_once_is_looked_up_at_once(bench: LedgerBench, ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    bench.fault = Fault.SYNC_ONCE
    try:
        await ledger.commit_batch([asked(0)], now_ms=NOON_MS)
        assert await held(ledger) == 1
    except LedgerUnavailable:
        assert await held(ledger) == 0
    (decision,) = await ledger.commit_batch([asked(0)], now_ms=NOON_MS)

    assert isinstance(decision, Decision)
    assert (decision.attempt, await held(ledger), await uses_taken(ledger)) == (1, 1, 1)
    assert await ledger.check(quick=False) == []


async def test_a_ledger_that_cannot_be_written_is_not_ready_until_it_can(bench: LedgerBench, ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    await ledger.be_ready()
    bench.fault = Fault.FULL
    with pytest.raises(LedgerUnavailable):
        await ledger.commit_batch([asked(0)], now_ms=NOON_MS)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await ledger.be_ready()
    bench.fault = Fault.NONE
    await ledger.be_ready()

    assert await held(ledger) == 0


async def test_a_commit_that_ends_in_any_error_leaves_a_ledger_that_goes_on(bench: LedgerBench, ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    bench.fault = Fault.MEMORY
    with pytest.raises((CommitUnknown, LedgerUnavailable)):
        await ledger.commit_batch([asked(0)], now_ms=NOON_MS)
    bench.fault = Fault.NONE
    (decision,) = await ledger.commit_batch([asked(0)], now_ms=NOON_MS)

    assert isinstance(decision, Decision)
    assert (decision.attempt, await held(ledger), await uses_taken(ledger)) == (1, 1, 1)


async def test_shipping_steps_survive_a_disk_that_fails(bench: LedgerBench, ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1)), asked(0), asked(1)], now_ms=NOON_MS)
    for fault, error in ((Fault.FULL, LedgerUnavailable), (Fault.SYNC, CommitUnknown)):
        bench.fault = fault
        with pytest.raises(error):
            await ledger.next_block(now_ms=NOON_MS)
        bench.fault = Fault.NONE
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    assert (block.number, block.rows) == (1, 2)
    for fault in (Fault.FULL, Fault.SYNC):
        bench.fault = fault
        with pytest.raises((LedgerUnavailable, CommitUnknown)):
            await ledger.mark_shipped(block)
        bench.fault = Fault.NONE
        await ledger.mark_shipped(block)
    bench.fault = Fault.FULL
    with pytest.raises(LedgerUnavailable):
        await ledger.delete_shipped(limit=10)
    bench.fault = Fault.NONE

    assert await ledger.delete_shipped(limit=10) == 2
    assert await held(ledger) == 0
    assert await ledger.check(quick=False) == []


# --- what one operation does to the others --------------------------------------------------------------------------

UNSTORABLE: dict[str, Operation] = {
    "half a surrogate in a key": Decide(request(1, key="\ud800")),
    "half a surrogate in a text": Decide(request(1, video="\udfff", attempt_id=IDS[7])),
    "a number past 63 bits": Decide(request(1, edge=2**63)),
    "an address past 128 bits": Decide(msgspec.structs.replace(request(1), ip=2**128)),
    "no text at all": Decide(request(1, video=None)),
    "a ticket for nobody": Issue(ticket=ticket(77, "other")),
    "a ticket with uses past 63 bits": Issue(ticket=ticket(1, "other", uses_limit=2**63)),
    "a revocation of half a surrogate": Revoke(cdn=1, key="\ud800"),
    "a ticket that nobody can read": Decide(request(1, key="unreadable")),
}


@pytest.mark.parametrize("bad", UNSTORABLE.values(), ids=UNSTORABLE.keys())
async def test_one_bad_operation_is_refused_alone(ledger: Ledger, bad: Operation) -> None:
    wanted = [ticket(1, uses_limit=40), ticket(1, "unreadable", ip="nonsense")]
    await ledger.commit_batch([Issue(ticket=one) for one in wanted], now_ms=NOON_MS)
    good: list[Operation] = [Decide(request(1, video=f"v{n}")) for n in range(63)]
    outcomes = await ledger.commit_batch([*good[:20], bad, *good[20:]], now_ms=NOON_MS)
    refused = outcomes.pop(20)

    assert isinstance(refused, InvalidParameter)
    decisions = [outcome for outcome in outcomes if isinstance(outcome, Decision)]
    assert [decision.attempt for decision in decisions] == list(range(1, 64))
    assert [decision.accepted for decision in decisions] == [True] * 40 + [False] * 23
    assert (await held(ledger), await uses_taken(ledger)) == (63, 40)
    assert await ledger.ticket(1, "other") is None
    assert await ledger.check(quick=False) == []


async def test_an_answer_that_nobody_can_read_is_refused_alone(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Issue(ticket=ticket(1)), asked(0)], now_ms=NOON_MS)
    await ledger.close()
    bench.tamper("UPDATE answers SET reason = 'nonsense'")
    ledger = await bench.open()
    refused, decision = await ledger.commit_batch([asked(0), asked(1)], now_ms=NOON_MS)
    await ledger.close()

    assert isinstance(refused, InvalidParameter)
    assert isinstance(decision, Decision)


async def test_a_batch_goes_through_although_its_asker_has_gone(ledger: Ledger) -> None:
    """Cancelled at each of its waits, it is carried out or not; what follows never meets it half done."""
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    for turns in range(6):
        task = asyncio.ensure_future(ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (decision,) = await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
        await asyncio.wait([task])

        assert isinstance(decision, Decision)
        assert decision.attempt == (await ledger.stats()).last_attempt_id == await held(ledger)
    assert await uses_taken(ledger) == await held(ledger)
    assert await ledger.check(quick=False) == []


# --- check ----------------------------------------------------------------------------------------------------------

CHANGED_TEXTS = {
    "UPDATE attempts SET video = 'other' WHERE id = 4": "block 2",
    "UPDATE attempts SET ip = zeroblob(16) WHERE id = 4": "block 2",
}
TAMPERED = {
    "UPDATE tickets SET uses_taken = 3 WHERE key = 'k'": "ticket k",
    "UPDATE tickets SET cdn = 99 WHERE key = 'k'": "ticket k",
    "DELETE FROM attempts WHERE id = 4": "block 2",
    "DELETE FROM attempts WHERE id = 3": "attempts 3 to 6",
    "DELETE FROM attempts WHERE id = 5": "attempts 3 to 6",
    "DELETE FROM attempts WHERE id = 6": "attempts 3 to 6",
    "DELETE FROM attempts": "attempts 3 to 6",
    "DELETE FROM attempts WHERE id = 3; UPDATE blocks SET first_id = 4, rows = 1 WHERE number = 2": "block 2 begins at",
    "DELETE FROM attempts WHERE id = 4; UPDATE blocks SET rows = 1 WHERE number = 2": "block 2 has 1 rows",
    "UPDATE attempts SET id = 99 WHERE id = 6": "attempt 99",
    "UPDATE attempts SET at_ms = at_ms - 1 WHERE id = 6": "attempt 6",
    "DELETE FROM blocks WHERE number = 1": "block 1",
    "UPDATE blocks SET first_id = 2 WHERE number = 2": "block 2 begins at",
    "UPDATE blocks SET first_id = 4 WHERE number = 2": "block 2 begins at",
    "UPDATE blocks SET first_id = 2 WHERE number = 1": "block 1 begins at",
    "UPDATE blocks SET rows = 3 WHERE number = 1": "block 1 has 3 rows",
    "UPDATE blocks SET shipped = 1 WHERE number = 2; UPDATE blocks SET shipped = 0 WHERE number = 1": "block 2",
    "UPDATE blocks SET shipped = 0 WHERE number = 1": "block",
    "UPDATE node SET shipped_attempt = 1": "attempt 2",
}


@pytest.mark.parametrize(
    ("statements", "named", "quick"),
    [
        *((*changed, quick) for changed in TAMPERED.items() for quick in (True, False)),
        *((*changed, False) for changed in CHANGED_TEXTS.items()),
    ],
)
async def test_check_names_what_was_tampered_with_and_the_repair(
    bench: LedgerBench, statements: str, named: str, quick: bool
) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Issue(ticket=ticket(1, uses_limit=2)), asked(0), asked(1)], now_ms=NOON_MS)
    first = await ledger.next_block(now_ms=NOON_MS)
    assert first is not None
    await ledger.mark_shipped(first)
    await ledger.delete_shipped(limit=10)
    await ledger.commit_batch([asked(2), asked(3)], now_ms=NOON_MS)
    await ledger.next_block(now_ms=NOON_MS)
    await ledger.commit_batch([asked(4), asked(5)], now_ms=NOON_MS)
    assert await ledger.check(quick=False) == []
    await ledger.close()
    bench.tamper(statements)

    ledger = await bench.open()
    found = await ledger.check(quick=quick)
    await ledger.close()
    assert any(named in sentence for sentence in found), found
    assert all("; restore" in sentence for sentence in found), found


async def test_a_ticket_is_issued_after_every_fault(bench: LedgerBench, ledger: Ledger) -> None:
    """No fault may leave a number behind that the next ticket trips over."""
    for n, fault in enumerate((Fault.FULL, Fault.SYNC, Fault.SYNC_ONCE, Fault.NONE)):
        bench.fault = fault
        try:
            await ledger.commit_batch([Issue(ticket=ticket(1, f"k{n}"))], now_ms=NOON_MS)
        except (LedgerUnavailable, CommitUnknown):
            bench.fault = Fault.NONE
        (issued,) = await ledger.commit_batch([Issue(ticket=ticket(1, f"after{n}"))], now_ms=NOON_MS)

        assert isinstance(issued, Ticket)
        assert issued == await ledger.ticket(1, f"after{n}")
