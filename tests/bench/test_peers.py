"""The bench's peers decide and count as Usher does: else their figures would be of another service."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from bench.peers import duckdb_counts, postgres_service, service, sqlite_only
from bench.peers.contestants import (
    AUTHORIZE,
    Counter,
    Held,
    PeerCounter,
    PostgresStore,
    SqliteStore,
    Store,
    UsherCounter,
    UsherStore,
)
from bench.peers.postgres import fill_database, postgres_server
from bench.peers.secure_link import link, secure_link_server
from bench.peers.tables import Rows, export_attempts, no_attempts, read_rows, ticket_table
from bench.process import Account, Server, create_account, node, running
from openusher.ledger.base import Issue, Operation, Revoke
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.ticket import NewTicket
from openusher.settings import LogKind

_NEVER_S = 4_102_444_800
_TOKEN = "token-of-the-peers"


def ticket(key: str, *, ip: str = "192.0.2.0/24", uses: int = 0, expires_s: int = _NEVER_S) -> NewTicket:
    return NewTicket(
        cdn=1, password=f"{key}|right", app="acme-*", video="clips/*|a.mp4", ip=ip, uses_limit=uses,
        expires_s=expires_s, key=key,
    )  # fmt: skip


TICKETS = [
    ticket("open"),
    ticket("any", ip="0.0.0.0/0"),
    ticket("twice", uses=2),
    ticket("gone", expires_s=1),
    ticket("revoked"),
    ticket("bound", ip="auto"),
    ticket("bound6", ip="192.0.2.1|auto/24"),
]

# The key that is asked with, what else is unlike the question that is in order, and the answer.
QUESTIONS: list[tuple[str, dict[str, str], str]] = [
    ("open", {}, ""),
    ("open", {"video": "a.mp4"}, ""),
    ("open", {"video": "a.mp4.mp4"}, "Invalid Video"),
    ("open", {"video": "axmp4"}, "Invalid Video"),
    ("open", {"video": "Clips/1.mp4"}, "Invalid Video"),
    ("open", {"app": "globex-vod"}, "Invalid Application"),
    ("open", {"app": "globex-vod", "video": "other", "ip": "198.51.100.7"}, "Invalid Application"),
    ("open", {"ip": "198.51.100.7"}, "Invalid IP Address"),
    ("open", {"ip": "2001:db8::7"}, "Invalid IP Address"),
    ("open", {"ip": "::ffff:192.0.2.9"}, ""),
    ("any", {"ip": "2001:db8::7"}, ""),
    ("open", {"pass": "open|wrong"}, "Invalid Auth Token"),
    ("open", {"pass": ""}, "Missing Auth Token"),
    ("", {}, "Missing Auth Token"),
    ("nobody's", {}, "Invalid Auth Token"),
    ("gone", {}, "Expiration date surpassed"),
    ("gone", {"pass": "open|right"}, "Invalid Auth Token"),
    ("revoked", {"ip": "198.51.100.7"}, "Ticket Revoked"),
    ("twice", {}, ""),
    ("twice", {"app": "initech"}, "Invalid Application"),
    ("twice", {}, ""),
    ("twice", {}, "Maximum uses exceeded"),
    ("twice", {"ip": "198.51.100.7"}, "Invalid IP Address"),
    ("bound", {"ip": "198.51.100.7"}, ""),
    ("bound", {"ip": "198.51.100.7"}, ""),
    ("bound", {"ip": "198.51.100.8"}, "Invalid IP Address"),
    ("bound6", {"ip": "192.0.2.1"}, ""),
    ("bound6", {"ip": "2001:db8:1:2::7"}, ""),
    ("bound6", {"ip": "2001:db8:1:2ff::7"}, ""),
    ("bound6", {"ip": "2001:db8:2::7"}, "Invalid IP Address"),
    ("bound6", {"ip": "192.0.2.2"}, "Invalid IP Address"),
]
ACCEPTED = sum(not reason for _, _, reason in QUESTIONS)

FILTERS: list[dict[str, str | int]] = [
    {},
    {"key": "open"},
    {"pass": "open|right"},
    {"user": "twice"},
    {"ip": "198.51.100.7"},
    {"ip": "192.0.2.77/24"},
    {"ip": "2001:db8::/32"},
    {"app": "acme-vod"},
    {"app": "*e*-vod"},
    {"video": "a.mp4"},
    {"video": "a*"},
    {"video": "*.mp4|Clips/*"},
    {"video": "clips/*", "success": 1},
    {"success": 0},
    {"reason": "Invalid IP Address"},
    {"server_ip": "203.0.113.1"},
    {"starttime": 1, "endtime": _NEVER_S},
    {"endtime": 1_577_836_800},
    {"key": "open", "success": 0, "app": "acme-vod", "ip": "192.0.2.0/24"},
    {"group_by": "key"},
    {"group_by": "reason", "success": 0},
    {"group_by": "hour"},
]


class Asked(NamedTuple):
    """A contestant of whom every question was asked, in order."""

    answers: list[dict[str, Any]]
    counter: Counter
    store: Store


def question(key: str, unlike: dict[str, str]) -> dict[str, str]:
    usual = {"app": "acme-vod", "video": "clips/1.mp4", "ip": "192.0.2.7", "server_ip": "203.0.113.1"}
    return {**usual, "key": key, "pass": f"{key}|right", **unlike}


def ask(at: Server, token: str) -> list[dict[str, Any]]:
    with httpx.Client(headers={"authorization": f"Bearer {token}"}) as client:
        url = f"http://{at.host}:{at.port}{AUTHORIZE}"
        return [client.post(url, json=question(key, unlike)).json() for key, unlike, _ in QUESTIONS]


def issue(data: Path, account: Account) -> None:
    async def commit() -> None:
        folder = hold_folder(data)
        ledger = await SqliteLedger.open(folder.ledger_file, indexed=True)
        cdn = account.signer.cdn
        issued: list[Operation] = [Issue(ticket=NewTicket(**{**_members(new), "cdn": cdn})) for new in TICKETS]
        await ledger.commit_batch([*issued, Revoke(cdn=cdn, key="revoked")], now_ms=time.time_ns() // 1_000_000)
        await ledger.close()
        folder.release()

    asyncio.run(commit())


def _members(new: NewTicket) -> dict[str, Any]:
    return {name: getattr(new, name) for name in new.__struct_fields__}


@pytest.fixture(scope="module")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Asked]]:
    folder = tmp_path_factory.mktemp("peers")
    data = folder / "usher" / "data"
    data.parent.mkdir()
    account = create_account(data)
    issue(data, account)
    rows = Rows(ticket_table(TICKETS, revoked={"revoked"}), no_attempts())
    environment = {"PEER_TOKEN": _TOKEN}
    asked = {}
    with ExitStack() as stack:
        # Where root tests, PostgreSQL runs as another user, whom any later pytest locks out of its own folder.
        apart = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        server = stack.enter_context(postgres_server(apart / "data"))
        database = asyncio.run(fill_database(server, "peer", rows, indexes="btree"))
        at = stack.enter_context(
            running(
                "postgres",
                postgres_service.__name__,
                ["1", "4"],
                postgres_service.READY,
                folder,
                environment={**environment, "PEER_DATABASE": database},
            )
        )
        asked["postgres"] = Asked(ask(at, _TOKEN), PeerCounter(at), PostgresStore(database))
        sqlite_only.fill_file(folder / "peer.sqlite", rows)
        flags = [str(folder / "peer.sqlite")]
        at = stack.enter_context(
            running("sqlite", sqlite_only.__name__, flags, service.READY, folder, environment=environment)
        )
        asked["sqlite"] = Asked(ask(at, _TOKEN), PeerCounter(at), SqliteStore(folder / "peer.sqlite"))
        door = stack.enter_context(node(data, LogKind.LEDGER))
        answers = ask(door, account.edge_token.reveal())
        asked["usher"] = Asked(answers, UsherCounter(door, account), UsherStore(data))
        # The same attempts, as Usher exports them.
        export_attempts(data, cdn=account.signer.cdn, file=folder / "attempts.parquet")
        exported = read_rows(folder / "attempts.parquet", rows.tickets)
        duckdb_counts.fill_file(folder / "peer.duckdb", exported)
        # With its other indexes the database is filled alike.
        again = asyncio.run(fill_database(server, "again", exported, indexes="brin"))
        assert Held(len(QUESTIONS), 0) == PostgresStore(again).held()
        flags = [str(folder / "peer.duckdb")]
        at = stack.enter_context(
            running("duckdb", duckdb_counts.__name__, flags, service.READY, folder, environment=environment)
        )
        asked["duckdb"] = Asked([], PeerCounter(at), asked["usher"].store)
        yield asked


@pytest.mark.parametrize("asked", range(len(QUESTIONS)), ids=lambda n: f"{n} {QUESTIONS[n]}")
def test_every_peer_that_decides_gives_the_answer_that_usher_gives(contestants: dict[str, Asked], asked: int) -> None:
    reason = QUESTIONS[asked][2]
    deciding = [name for name in contestants if name != "duckdb"]
    told = contestants["usher"].answers[asked]["ticket"]
    answers = {name: contestants[name].answers[asked] for name in deciding}

    assert sorted(deciding) == ["postgres", "sqlite", "usher"]
    assert dict.fromkeys(deciding, (not reason, reason, told)) == {
        name: (answer["allow"], answer["reason"], answer["ticket"]) for name, answer in answers.items()
    }


def test_every_peer_has_stored_each_attempt_and_spent_each_use_once(contestants: dict[str, Asked]) -> None:
    held = {name: asked.store.held() for name, asked in contestants.items()}

    assert held == dict.fromkeys(contestants, Held(len(QUESTIONS), ACCEPTED))


@pytest.mark.parametrize("asked_for", FILTERS, ids=str)
def test_every_peer_counts_what_usher_counts(contestants: dict[str, Asked], asked_for: dict[str, str | int]) -> None:
    counted = {name: asked.counter.ask(asked_for) for name, asked in contestants.items()}

    assert len(counted) == 4
    assert counted == dict.fromkeys(counted, counted["usher"])


def test_a_peer_refuses_who_has_not_the_edges_token(contestants: dict[str, Asked]) -> None:
    counters = [asked.counter for asked in contestants.values()]
    peers = [counter for counter in counters if isinstance(counter, PeerCounter)]

    assert len(peers) == 3
    for peer in peers:
        url = f"http://{peer.at.host}:{peer.at.port}{AUTHORIZE}"
        assert httpx.post(url, json=question("open", {}), headers={"authorization": "Bearer x"}).status_code == 401


def test_secure_link_takes_its_own_links_until_they_expire_and_no_other(tmp_path: Path) -> None:
    good = link("/live/cam1/index.m3u8", address="127.0.0.1")
    links = [
        good,
        good.replace("cam1", "cam2"),
        good.replace("md5=", "md5=x"),
        link("/live/cam1/index.m3u8", address="192.0.2.7"),
        link("/live/cam1/index.m3u8", address="127.0.0.1", expires_s=1),
    ]
    with secure_link_server(tmp_path) as at:
        statuses = [httpx.get(f"http://{at.host}:{at.port}{path}").status_code for path in links]

    assert statuses == [200, 403, 403, 403, 410]
