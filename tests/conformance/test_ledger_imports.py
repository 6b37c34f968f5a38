"""Any ledger's tickets that were sold elsewhere: there all at once or not at all, and found again by what they are."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from openusher.errors import AlreadyExists, LedgerUnavailable, NotAuthorised
from openusher.ledger.base import Decide, Issue, Ledger, Revoke
from openusher.model.attempt import Decision, Reason
from openusher.model.ticket import Ticket, TicketFilter, TicketState
from tests.conformance.asking import NOON_MS, new_account, request, ticket
from tests.conformance.ledgers import LedgerBench

pytestmark = pytest.mark.anyio
_NOON_S = NOON_MS // 1_000
_LAST = 2**63 - 1


def sold(key: str, *, cdn: int = 1, **members: Any) -> Ticket:
    """A ticket of elsewhere that opens everything unless told otherwise."""
    usual = {"password": f"user|{key}", "app": "*", "video": "*", "ip": "0.0.0.0/0", "uses_limit": 5, "uses_taken": 2}
    times = {"created_s": 1_000, "expires_s": 4_000_000_000, "used_s": 2_000, "active": True}
    return Ticket(**{"number": 0, "cdn": cdn, "key": key, **usual, **times, **members})


async def play(ledger: Ledger, key: str) -> str:
    (decision,) = await ledger.commit_batch([Decide(request(1, key=key, password=f"user|{key}"))], now_ms=NOON_MS)
    assert isinstance(decision, Decision)
    return decision.reason


async def keys(ledger: Ledger, cdn: int = 1, *, before: int = _LAST, limit: int = 1_000, **search: Any) -> list[str]:
    found = await ledger.find_tickets(cdn, TicketFilter(**search), before=before, limit=limit, now_s=_NOON_S)
    return [each.key for each in found]


async def test_what_is_taken_over_is_there_all_at_once_as_it_was_sold(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    wanted = [sold("a"), sold("Straße %_'\"\\ 😀", uses_limit=0, uses_taken=0, max_sessions=3, newest_wins=True)]
    wanted += [sold("5", password="7", app="007", active=False), sold("used up", uses_taken=5)]
    number = await ledger.begin_import(1)
    for each in wanted:
        await ledger.import_tickets(number, [each])
    assert [await ledger.ticket(1, each.key) for each in wanted] == [None] * 4
    assert (await ledger.count_tickets(1), await keys(ledger), await play(ledger, "a")) == (0, [], Reason.INVALID_TOKEN)
    await ledger.finish_import(number)
    await ledger.close()
    ledger = await bench.open()
    found = [await ledger.ticket(1, each.key) for each in wanted]

    assert [each and replace(each, number=0) for each in found] == wanted
    assert await ledger.count_tickets(1) == 4
    assert [await play(ledger, key) for key in ("a", "5", "used up")] == [
        "",
        Reason.INVALID_TOKEN,
        Reason.USES_EXCEEDED,
    ]
    assert await ledger.drop_imports(limit=9) == 0
    await ledger.close()


async def test_a_key_that_is_taken_is_told_with_whose_it_is_and_leaves_the_others(ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1, "issued")), Issue(ticket=ticket(2, "b"))], now_ms=NOON_MS)
    issued = await ledger.ticket(1, "issued")
    assert issued is not None
    number = await ledger.begin_import(1)
    one = await ledger.import_tickets(number, [sold("a"), sold("issued"), sold("b"), sold("a", password="other")])
    two = await ledger.import_tickets(number, [sold("c"), sold("b")])

    assert one.held == [one.first, issued.number, one.first + 2, one.first]
    assert two.held == [two.first, one.first + 2]
    assert two.first > one.first + 3
    await ledger.finish_import(number)
    assert sorted(await keys(ledger)) == ["a", "b", "c", "issued"]
    assert [(await ledger.ticket(1, key) or issued).password for key in ("a", "issued")] == ["user|a", issued.password]


async def test_what_was_broken_off_is_not_there_and_goes_without_a_trace(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.create_account(new_account(1))
    done = await ledger.begin_import(1)
    await ledger.import_tickets(done, [sold("done")])
    await ledger.finish_import(done)
    broken = await ledger.begin_import(1)
    await ledger.import_tickets(broken, [sold(f"k{n}") for n in range(5)])
    # One that is issued meanwhile has a number among theirs.
    await ledger.commit_batch([Issue(ticket=ticket(1, "issued"))], now_ms=NOON_MS)
    await ledger.import_tickets(broken, [sold("k5")])
    await ledger.close()
    ledger = await bench.open()
    assert (await keys(ledger), await ledger.count_tickets(1)) == (["issued", "done"], 2)
    dropped = [await ledger.drop_imports(limit=4) for _ in range(3)]
    with pytest.raises(LedgerUnavailable):
        await ledger.finish_import(broken)
    # Its keys are free, and its number is never another's whose tickets are there.
    again = await ledger.begin_import(1)
    await ledger.import_tickets(again, [sold("k0")])
    assert await keys(ledger) == ["issued", "done"]
    await ledger.finish_import(again)

    assert dropped == [4, 2, 0]
    assert await keys(ledger) == ["k0", "issued", "done"]
    await ledger.commit_batch([Issue(ticket=ticket(1, "k1"))], now_ms=NOON_MS)
    assert await keys(ledger) == ["k1", "k0", "issued", "done"]
    assert await ledger.check(quick=False) == []
    await ledger.close()


async def test_an_unknown_account_takes_nothing_over(ledger: Ledger) -> None:
    with pytest.raises(NotAuthorised):
        await ledger.begin_import(77)


async def test_a_key_of_an_import_under_way_is_refused_to_others_and_spoils_nobodys_batch(ledger: Ledger) -> None:
    number = await ledger.begin_import(1)
    await ledger.import_tickets(number, [sold("a")])
    issues = [Issue(ticket=ticket(1, key)) for key in ("x", "a", "y")]
    outcomes = await ledger.commit_batch(issues, now_ms=NOON_MS)

    assert [isinstance(outcome, Ticket) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], AlreadyExists)
    assert "a file that is being taken over has it" in str(outcomes[1])


async def test_tickets_are_found_by_what_they_are_and_what_they_open(ledger: Ledger) -> None:
    number = await ledger.begin_import(1)
    made = [
        sold("cam1.a", video="cam1"),
        sold("cam1.b", video="cam1|films/*", app="vod"),
        sold("cam2.a", video="films/*", password="other|x"),
        sold("gone", active=False),
        sold("late", expires_s=_NOON_S),
        sold("spent", uses_taken=5),
        sold("for ever", uses_limit=0, uses_taken=0),
    ]
    await ledger.import_tickets(number, made)
    await ledger.finish_import(number)
    await ledger.commit_batch([Issue(ticket=ticket(2, "cam1.a")), Revoke(cdn=2, key="cam1.a")], now_ms=NOON_MS)

    def sorted_keys(*wanted: str) -> list[str]:
        return [each.key for each in reversed(made) if each.key in wanted]

    every = tuple(each.key for each in made)
    for search, wanted in (
        ({}, every),
        ({"key": "cam1.*"}, ("cam1.a", "cam1.b")),
        ({"key": "late|gone"}, ("late", "gone")),
        ({"video": "films/x", "app": "vod"}, tuple(set(every) - {"cam1.a"})),
        ({"video": "cam1", "key": "cam*"}, ("cam1.a", "cam1.b")),
        ({"app": "live"}, tuple(set(every) - {"cam1.b"})),
        ({"user": "other"}, ("cam2.a",)),
        ({"state": TicketState.REVOKED}, ("gone",)),
        ({"state": TicketState.EXPIRED}, ("late",)),
        ({"state": TicketState.USED_UP}, ("spent",)),
        ({"state": TicketState.OPEN}, ("cam1.a", "cam1.b", "cam2.a", "for ever")),
    ):
        assert await keys(ledger, **search) == sorted_keys(*wanted), search
    assert {each.key: each.state(_NOON_S) for each in made if each.state(_NOON_S) != "open"} == {
        "gone": "revoked",
        "late": "expired",
        "spent": "used-up",
    }


async def test_pages_of_tickets_show_each_once(ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1, f"k{n}")) for n in range(7)], now_ms=NOON_MS)
    pages: list[list[str]] = []
    before = _LAST
    while page := await ledger.find_tickets(1, TicketFilter(), before=before, limit=3, now_s=_NOON_S):
        pages.append([each.key for each in page])
        before = page[-1].number

    assert pages == [["k6", "k5", "k4"], ["k3", "k2", "k1"], ["k0"]]
