"""What any ledger promises of a batch, of its clock and counters, of accounts, and of being opened again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from openusher.errors import AttemptIdReused, ReplayedCommand, UnknownTicket
from openusher.ledger.base import (
    ANSWER_KEPT_MS,
    BATCH_OPERATIONS_MAX,
    Decide,
    Issue,
    Ledger,
    Operation,
    Outcome,
    Revoke,
)
from openusher.model.attempt import Decision, Reason
from openusher.model.search import AttemptFilter
from openusher.model.ticket import Ticket
from tests.conformance.asking import NOON_MS, new_account, request, row, row_of, ticket
from tests.conformance.ledgers import LedgerBench

pytestmark = pytest.mark.anyio
ID_1 = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01"
ID_2 = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f02"
LONG_AGO_MS = NOON_MS - 10_000


def issue(cdn: int = 1, key: str = "k", *, digest: str = "", until_ms: int = 0, **rules: Any) -> Issue:
    api_key = f"KEY{cdn}" if digest else ""
    return Issue(ticket=ticket(cdn, key, **rules), api_key=api_key, replay_digest=digest, replay_until_ms=until_ms)


def ask(cdn: int = 1, **asked: Any) -> Decide:
    return Decide(request(cdn, **asked))


async def commit(ledger: Ledger, *operations: Operation, now_ms: int = NOON_MS) -> list[Outcome]:
    return await ledger.commit_batch(operations, now_ms=now_ms)


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """What each decision said; the name of its class where something else came."""
    return [outcome.reason.value if isinstance(outcome, Decision) else type(outcome).__name__ for outcome in outcomes]


async def held(ledger: Ledger, cdn: int = 1) -> int:
    return (await ledger.count_pending(cdn, AttemptFilter())).count


# --- order inside a batch -------------------------------------------------------------------------------------------


async def test_the_second_try_at_a_last_use_in_one_batch_is_refused(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=1))

    assert reasons(await commit(ledger, ask(), ask())) == ["", "Maximum uses exceeded"]


async def test_a_ticket_is_issued_used_and_revoked_in_one_batch(ledger: Ledger) -> None:
    outcomes = await commit(ledger, ask(), issue(), ask(), Revoke(cdn=1, key="k"), ask(), Revoke(cdn=1, key="k"))

    assert reasons(outcomes) == ["Invalid Auth Token", "Ticket", "", "Ticket", "Ticket Revoked", "Ticket"]
    kept = await ledger.ticket(1, "k")
    assert kept is not None
    assert (kept.active, kept.uses_taken, kept.used_s) == (False, 1, NOON_MS // 1000)
    assert kept == outcomes[3] == outcomes[5]


async def test_an_auto_slot_is_bound_by_the_first_of_a_batch(ledger: Ledger) -> None:
    addresses = ["192.0.2.9", "192.0.2.200", "198.51.100.7", "198.51.100.8", "203.0.113.1"]
    outcomes = await commit(ledger, issue(ip="auto/24|auto"), *[ask(ip=address) for address in addresses])

    assert reasons(outcomes) == ["Ticket", "", "", "", "Invalid IP Address", "Invalid IP Address"]
    kept = await ledger.ticket(1, "k")
    assert kept is not None
    assert kept.ip == "192.0.2.0/24|198.51.100.7"


async def test_an_auto_slot_stays_bound_in_the_next_batch_and_after_a_restart(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(ip="auto"))
    await commit(ledger, ask(ip="192.0.2.9"))
    asked = [ask(ip="198.51.100.7"), ask(ip="192.0.2.9")]
    next_batch = reasons(await commit(ledger, *asked))
    await ledger.close()
    ledger = await bench.open()
    reopened = reasons(await commit(ledger, *asked))
    kept = await ledger.ticket(1, "k")
    await ledger.close()

    assert next_batch == reopened == ["Invalid IP Address", ""]
    assert kept is not None
    assert kept.ip == "192.0.2.9"


async def test_decisions_count_up_and_tell_uses_left_and_expiry(ledger: Ledger) -> None:
    outcomes = await commit(ledger, issue(uses_limit=2, expires_s=4_000_000_000), ask(), ask(key="other"), ask(), ask())

    assert [
        Decision(reason=Reason.NONE, attempt=1, uses_left=1, expires_s=4_000_000_000),
        Decision(reason=Reason.INVALID_TOKEN, attempt=2),
        Decision(reason=Reason.NONE, attempt=3, uses_left=0, expires_s=4_000_000_000),
        Decision(reason=Reason.USES_EXCEEDED, attempt=4, uses_left=0, expires_s=4_000_000_000),
    ] == outcomes[1:]


async def test_a_wrong_pass_learns_nothing_of_the_ticket(ledger: Ledger) -> None:
    outcomes = await commit(ledger, issue(), ask(password="wrong"), ask(password=""), ask(key="nobody's"))

    assert [(d.uses_left, d.expires_s) for d in outcomes if isinstance(d, Decision)] == [(None, None)] * 3


async def test_every_decision_is_recorded_as_it_was_asked(ledger: Ledger) -> None:
    asked = request(
        1, video="a%b\\_'é😀", ip="2001:db8::1", server_ip="192.0.2.53", appinst="play", pageurl="p", refurl="r",
        user_agent="u", cut=128, edge=7,
    )  # fmt: skip
    await commit(ledger, issue(), Decide(asked), ask(key=""))

    found = (await ledger.newest_pending(1, AttemptFilter(), limit=10)).attempts
    assert [
        row_of(request(1, key=""), number=2, at_ms=NOON_MS, reason="Missing Auth Token"),
        row_of(asked, number=1, at_ms=NOON_MS, reason=""),
    ] == [row(attempt) for attempt in found]


async def test_the_largest_batch_is_taken_and_every_number_of_it_given_once(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=500))
    outcomes = await commit(ledger, *[ask()] * BATCH_OPERATIONS_MAX)

    assert reasons(outcomes).count("") == 500
    assert list(range(1, BATCH_OPERATIONS_MAX + 1)) == [d.attempt for d in outcomes if isinstance(d, Decision)]
    assert await held(ledger) == BATCH_OPERATIONS_MAX


async def test_a_batch_is_as_many_statements_whatever_its_size(bench: LedgerBench, ledger: Ledger) -> None:
    """Row by row, a batch would take as long as its parts, and a fsync be shared by nobody."""
    sent = []
    for size in (2, 64, BATCH_OPERATIONS_MAX // 4):
        operations: list[Operation] = []
        for n in range(size):
            name = f"{size}-{n}"
            operations += [
                issue(key=name, digest=name, until_ms=NOON_MS + 1),
                ask(key=name, attempt_id=f"{size:08x}-7c3f-7d52-9f0a-{n:012x}"),
                ask(key="nobody's"),
                Revoke(cdn=1, key=name),
            ]
        with bench.statements() as statements:
            await commit(ledger, *operations)
        sent.append(list(statements))

    assert bool(sent[0]) is bench.shows_statements
    assert sent[0] == sent[1] == sent[2]


# --- questions asked again ------------------------------------------------------------------------------------------


async def test_a_repeated_attempt_id_gets_its_first_answer_and_takes_no_use(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=2))
    first, twin = await commit(ledger, ask(attempt_id=ID_1), ask(attempt_id=ID_1))
    (later,) = await commit(ledger, ask(attempt_id=ID_1), now_ms=NOON_MS + ANSWER_KEPT_MS)

    assert first == twin == later
    assert await held(ledger) == 1


async def test_a_refusal_is_repeated_too(ledger: Ledger) -> None:
    outcomes = await commit(ledger, ask(attempt_id=ID_1), issue(), ask(attempt_id=ID_1))

    assert outcomes[0] == outcomes[2]
    assert await held(ledger) == 1


async def test_another_edge_of_the_account_may_repeat_the_question(ledger: Ledger) -> None:
    await commit(ledger, issue())
    first, second = await commit(ledger, ask(attempt_id=ID_1, edge=1), ask(attempt_id=ID_1, edge=2))

    assert first == second


@pytest.mark.parametrize(
    "changed",
    [{"key": "x"}, {"password": "x"}, {"app": "x"}, {"video": "x"}, {"ip": "192.0.2.2"}, {"appinst": "x"},
     {"pageurl": "x"}, {"refurl": "x"}, {"server_ip": "192.0.2.2"}, {"user_agent": "x"}, {"cut": 1}],
)  # fmt: skip
async def test_an_attempt_id_with_other_content_is_refused_and_not_recorded(
    ledger: Ledger, changed: dict[str, Any]
) -> None:
    await commit(ledger, issue(), ask(attempt_id=ID_1))
    (refused,) = await commit(ledger, ask(attempt_id=ID_1, **changed))

    assert isinstance(refused, AttemptIdReused)
    assert await held(ledger) == 1


async def test_a_first_yes_is_not_repeated_past_a_revocation_or_expiry(ledger: Ledger) -> None:
    later_ms = NOON_MS + 60_000
    await commit(ledger, issue(key="r"), issue(key="e", expires_s=later_ms // 1000))
    await commit(ledger, ask(key="r", attempt_id=ID_1), ask(key="e", attempt_id=ID_2), Revoke(cdn=1, key="r"))
    before = await commit(ledger, ask(key="e", attempt_id=ID_2), now_ms=later_ms - 1)
    after = await commit(ledger, ask(key="r", attempt_id=ID_1), ask(key="e", attempt_id=ID_2), now_ms=later_ms)

    assert reasons(before) == [""]
    assert reasons(after) == ["Ticket Revoked", "Expiration date surpassed"]
    # No number: the attempt that the first answer named stands in the log as accepted.
    assert [d.attempt for d in after if isinstance(d, Decision)] == [0, 0]
    assert await held(ledger) == 2


async def test_an_answer_is_kept_for_an_hour_and_no_longer(ledger: Ledger) -> None:
    await commit(ledger, issue(uses_limit=2), ask(attempt_id=ID_1))
    (again,) = await commit(ledger, ask(attempt_id=ID_1), now_ms=NOON_MS + ANSWER_KEPT_MS + 1)

    assert Decision(reason=Reason.NONE, attempt=2, uses_left=0, expires_s=4_000_000_000) == again


async def test_answers_outlive_a_restart(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    first = (await commit(ledger, issue(uses_limit=5), ask(attempt_id=ID_1)))[1]
    await ledger.close()
    ledger = await bench.open()
    (again,) = await commit(ledger, ask(attempt_id=ID_1), now_ms=NOON_MS + 1)
    await ledger.close()

    assert first == again


async def test_accounts_may_use_the_same_keys_and_attempt_ids(ledger: Ledger) -> None:
    await commit(ledger, issue(1, uses_limit=1), issue(2, uses_limit=1))
    outcomes = await commit(
        ledger, ask(1, attempt_id=ID_1), ask(2, attempt_id=ID_1, app="other"), Revoke(cdn=1, key="k")
    )
    after = await commit(ledger, ask(1), ask(2))

    assert reasons(outcomes) == ["", "", "Ticket"]
    assert reasons(after) == ["Ticket Revoked", "Maximum uses exceeded"]
    assert (await held(ledger, 1), await held(ledger, 2)) == (2, 2)


# --- tickets --------------------------------------------------------------------------------------------------------


async def test_a_ticket_is_kept_as_it_was_issued(ledger: Ledger) -> None:
    rules: dict[str, Any] = {
        "password": "a|b'\\%é😀",
        "app": "x-*|y",
        "video": "*",
        "ip": "192.0.2.0/24|auto",
        "uses_limit": 3,
    }
    (issued,) = await commit(ledger, issue(key="a.b'%", **rules, expires_s=1_900_000_000))

    assert isinstance(issued, Ticket)
    expected = {**rules, "cdn": 1, "key": "a.b'%", "active": True, "uses_taken": 0, "used_s": 0,
                "created_s": NOON_MS // 1000, "expires_s": 1_900_000_000}  # fmt: skip
    assert expected == {name: getattr(issued, name) for name in expected}
    assert issued == await ledger.ticket(1, "a.b'%")
    assert await ledger.ticket(2, "a.b'%") is None
    assert await ledger.ticket(1, "A.B'%") is None


async def test_a_key_is_issued_once_an_account(ledger: Ledger) -> None:
    outcomes = await commit(ledger, issue(), issue(video="other"), issue(2))
    again = await commit(ledger, issue(video="third"))

    assert reasons(outcomes) == ["Ticket", "AlreadyExists", "Ticket"]
    assert reasons(again) == ["AlreadyExists"]
    kept = await ledger.ticket(1, "k")
    assert kept is not None
    assert kept.video == "*"


async def test_only_an_unknown_ticket_cannot_be_revoked(ledger: Ledger) -> None:
    await commit(ledger, issue(2))
    outcomes = await commit(ledger, Revoke(cdn=1, key="k"), issue(), Revoke(cdn=1, key="k"), Revoke(cdn=1, key="k"))

    assert isinstance(outcomes[0], UnknownTicket)
    assert outcomes[2] == outcomes[3]
    other = await ledger.ticket(2, "k")
    assert other is not None
    assert other.active


async def test_a_signature_creates_once_until_its_time_has_passed_and_never_after(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    until_ms = NOON_MS + 300_000
    twins = [issue(key=f"k{n}", digest="d", until_ms=until_ms) for n in range(2)]
    assert reasons(await commit(ledger, *twins)) == ["Ticket", "ReplayedCommand"]
    await ledger.close()
    ledger = await bench.open()
    for now_ms in (NOON_MS, until_ms, until_ms + 1, until_ms + 10_000_000):
        (outcome,) = await commit(ledger, issue(key="k3", digest="d", until_ms=until_ms), now_ms=now_ms)

        assert isinstance(outcome, ReplayedCommand)
    # A clock set back does not bring the record's time back.
    (outcome,) = await commit(ledger, issue(key="k3", digest="d", until_ms=until_ms), now_ms=LONG_AGO_MS)
    assert isinstance(outcome, ReplayedCommand)
    await ledger.close()


async def test_a_signature_is_another_under_another_api_key(ledger: Ledger) -> None:
    twins = [issue(cdn, digest="d", until_ms=NOON_MS) for cdn in (1, 2)]

    assert reasons(await commit(ledger, *twins)) == ["Ticket", "Ticket"]


async def test_a_command_that_created_nothing_may_be_sent_again(ledger: Ledger) -> None:
    taken = issue(digest="d", until_ms=NOON_MS)
    outcomes = await commit(ledger, issue(), taken, taken, issue(key="other", digest="d", until_ms=NOON_MS))

    assert reasons(outcomes) == ["Ticket", "AlreadyExists", "AlreadyExists", "Ticket"]


# --- clock and counters ---------------------------------------------------------------------------------------------


async def test_the_clock_never_goes_back_not_even_across_a_restart(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, issue(expires_s=NOON_MS // 1000), now_ms=NOON_MS - 1)
    assert reasons(await commit(ledger, ask(), now_ms=NOON_MS - 1)) == [""]
    await commit(ledger, ask(), now_ms=NOON_MS)
    assert reasons(await commit(ledger, ask(), now_ms=LONG_AGO_MS)) == ["Expiration date surpassed"]
    await ledger.close()

    ledger = await bench.open()
    assert NOON_MS == ledger.clock_ms == (await ledger.stats()).clock_ms
    assert reasons(await commit(ledger, ask(), now_ms=0)) == ["Expiration date surpassed"]
    times = [attempt.at_ms for attempt in (await ledger.newest_pending(1, AttemptFilter(), limit=9)).attempts]
    assert times == [NOON_MS, NOON_MS, NOON_MS, NOON_MS - 1]
    await ledger.close()


async def test_numbers_are_never_given_again_when_their_rows_are_gone(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    await commit(ledger, *[ask()] * 3)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await ledger.mark_shipped(block)
    assert await ledger.delete_shipped(limit=10) == 3
    await ledger.close()

    ledger = await bench.open()
    (decision,) = await commit(ledger, ask())
    after = await ledger.next_block(now_ms=NOON_MS)
    assert after is not None
    assert isinstance(decision, Decision)
    assert (4, 2, block.incarnation) == (decision.attempt, after.number, after.incarnation)
    assert await ledger.check(quick=False) == []
    await ledger.close()


async def test_everything_answered_is_there_after_a_restart(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    outcomes = await commit(ledger, issue(uses_limit=3), ask(), ask(key="x"), Revoke(cdn=1, key="k"))
    stats, directory = await ledger.stats(), await ledger.directory()
    await ledger.close()

    ledger = await bench.open()
    assert (stats, directory) == (await ledger.stats(), await ledger.directory())
    assert outcomes[3] == await ledger.ticket(1, "k")
    assert await held(ledger) == 2
    await ledger.close()
