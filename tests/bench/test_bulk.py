"""A bulk fill is what it says: a sound node, whose counts are those that its traffic was worked out to have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from bench import traffic
from bench.bulk import ACCOUNTS, DATA, fill_folder, read_accounts
from bench.bulktraffic import BulkTraffic, Holds
from bench.counting import Parameters, ask_count
from bench.process import Server, node, usher
from openusher.ledger.folder import LEDGER_FILE
from openusher.model.attempt import Reason
from openusher.settings import LogKind

# No multiple of the tickets, so that some were asked with once more than others.
TRAFFIC = BulkTraffic(attempts=20_180, tickets=1_400, accounts=2)
# A ticket in the middle of the second account's.
ACCOUNT, PLACE = 1, 77
N = TRAFFIC.ticket(ACCOUNT, PLACE)

BY_TICKET: list[tuple[Parameters, Holds]] = [
    ({"key": traffic.key(N)}, lambda asked: asked.key == traffic.key(N)),
    ({"pass": traffic.password(N)}, lambda asked: asked.password == traffic.password(N)),
    ({"ip": traffic.address(N)}, lambda asked: asked.ip == traffic.address(N)),
    ({"key": traffic.key(N), "success": 0}, lambda asked: asked.key == traffic.key(N) and bool(asked.reason)),
]
OF_ACCOUNT: list[tuple[Parameters, Holds]] = [
    ({}, lambda asked: True),
    ({"app": "acme-live"}, lambda asked: asked.app == "acme-live"),
    ({"video": "live/cam7"}, lambda asked: asked.video == "live/cam7"),
    ({"video": "live/*"}, lambda asked: asked.video.startswith("live/")),
    ({"success": 1}, lambda asked: not asked.reason),
    ({"ip": "198.51.100.7"}, lambda asked: asked.ip == "198.51.100.7"),
    ({"user": "visitor"}, lambda asked: asked.user == "visitor"),
]


REASONS = set(Reason) - {Reason.NONE, Reason.USES_EXCEEDED, Reason.TOO_MANY_SESSIONS, Reason.KICKED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bulk")
    fill_folder(made, TRAFFIC, ships=True, say=lambda text: None)
    return made


@pytest.fixture(scope="module")
def door(folder: Path) -> Iterator[Server]:
    with node(folder / DATA, LogKind.CHDB) as server:
        yield server


def counted(door: Server, folder: Path, parameters: Parameters) -> int:
    return ask_count(door, read_accounts(folder / ACCOUNTS)[ACCOUNT], parameters).error_count


def test_a_tickets_counts_are_those_worked_out(door: Server, folder: Path) -> None:
    for parameters, holds in BY_TICKET:
        expected = TRAFFIC.count(ACCOUNT, holds, places=[PLACE])

        assert 0 < expected == counted(door, folder, parameters), parameters


def test_a_users_count_is_that_of_all_his_tickets(door: Server, folder: Path) -> None:
    user = traffic.user(N)
    expected = TRAFFIC.count(ACCOUNT, lambda asked: asked.user == user, places=TRAFFIC.places_of_user(ACCOUNT, user))

    assert 0 < expected == counted(door, folder, {"user": user})


def test_an_accounts_counts_are_those_worked_out(door: Server, folder: Path) -> None:
    for parameters, holds in OF_ACCOUNT:
        assert 0 < TRAFFIC.count_all(ACCOUNT, holds) == counted(door, folder, parameters), parameters


def test_each_reason_counts_as_worked_out(door: Server, folder: Path) -> None:
    for reason in REASONS:
        expected = TRAFFIC.count_all(ACCOUNT, lambda asked, reason=reason: asked.reason is reason)  # type: ignore[misc]

        assert 0 < expected == counted(door, folder, {"reason": reason.value}), reason


def test_an_accounts_reasons_are_those_worked_out(door: Server, folder: Path) -> None:
    reply = ask_count(door, read_accounts(folder / ACCOUNTS)[ACCOUNT], {"group_by": "reason"})

    assert TRAFFIC.by_reason(ACCOUNT) == {group["value"]: group["count"] for group in reply.groups}


def test_tickets_have_lost_a_use_for_each_accepted_attempt(folder: Path) -> None:
    accepted = sum(TRAFFIC.count_all(account, lambda asked: not asked.reason) for account in range(TRAFFIC.accounts))
    with apsw.Connection(str(folder / DATA / LEDGER_FILE), flags=apsw.SQLITE_OPEN_READONLY) as ledger:
        ((tickets, uses, most),) = ledger.execute("SELECT count(*), sum(uses_taken), max(uses_taken) FROM tickets")

    assert (TRAFFIC.tickets, accepted) == (tickets, uses)
    assert 0 < TRAFFIC.count(ACCOUNT, lambda asked: not asked.reason, places=[PLACE]) <= most


def test_the_node_is_sound(folder: Path) -> None:
    assert usher("check", "--data", str(folder / DATA)) == {"faults": []}
