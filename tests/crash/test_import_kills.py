"""Nodes that are killed while a file of tickets is taken over: all of it is there then, or nothing and no trace."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
from pathlib import Path

import apsw
import pytest

from openusher.ledger.folder import ADMIN_SOCKET, short_path
from tests.crash.openedlog import until
from tests.nodes import Node, usher
from tests.sevuclient import Account

pytestmark = pytest.mark.crash
_TICKETS = 2_000
_ROUNDS = 2


def _lines() -> list[bytes]:
    usual = {"app": "*", "video": "*", "ip": "0.0.0.0/0", "uses": 0, "expire_date": "2035-01-01 00:00:00"}
    return [json.dumps({"key": f"k{n}", "pass": f"user|{n}", **usual}).encode() + b"\n" for n in range(_TICKETS)]


def _kill_in_the_middle(node: Node, account: Account, lines: list[bytes], *, sent: int) -> bool:
    """Send so many lines, kill the node, and say whether it had answered that all were taken over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sending, short_path(node.data) as folder:
        sending.connect(f"{folder}/{ADMIN_SOCKET}")
        length = sum(map(len, lines))
        head = f"POST /accounts/{account.cdn}/tickets/import HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
        sending.sendall(head.encode() + b"".join(lines[:sent]))
        if sent < len(lines):
            # By then all but the last few are written.
            asyncio.run(until(lambda: _rows(node.data)[0] >= sent // 256 * 256))
            node.kill()
            return False
        answer = http.client.HTTPResponse(sending)
        answer.begin()
        imported = json.loads(answer.read())["imported"] is True
        node.kill()
        return imported


def _tickets(node: Node, account: Account) -> int:
    shown = usher("account", "show", str(account.cdn), "--data", str(node.data), "--json")
    counted: int = json.loads(shown.stdout)["tickets"]
    return counted


def _rows(data: Path) -> tuple[int, int]:
    """How many tickets and imports the ledger's file has, whatever they are to anybody."""
    ledger = apsw.Connection(str(data / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ((tickets, imports),) = ledger.execute("SELECT (SELECT count(*) FROM tickets), (SELECT count(*) FROM imports)")
    ledger.close()
    return tickets, imports


def test_a_node_killed_while_it_takes_tickets_over_has_all_of_them_or_none(tmp_path: Path) -> None:
    data, lines = tmp_path / "data", _lines()
    node = Node(data, "--log", "ledger").start()
    account = node.create_account("acme")
    for sent in [*(random.Random(5).randrange(1, _TICKETS) for _ in range(_ROUNDS)), _TICKETS - 1]:
        assert not _kill_in_the_middle(node, account, lines, sent=sent)
        node.start()
        with node.connect() as connection:
            answers = [connection.authorize(account, key=f"k{n}", password=f"user|{n}")[1] for n in (0, sent - 1)]

        assert [answer["reason"] for answer in answers] == ["Invalid Auth Token"] * 2
    # It is deleted without being asked for.
    asyncio.run(until(lambda: _rows(data) == (0, 0)))
    # The same keys again: nothing of them is in the way.
    assert _kill_in_the_middle(node, account, lines, sent=_TICKETS)
    node.start()
    assert _tickets(node, account) == _TICKETS
    assert node.stop() == 0
    assert _rows(data) == (_TICKETS, 1)
