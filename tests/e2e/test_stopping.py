"""SIGTERM: the node takes nothing more, answers what it took, and is gone in 10 s, whatever hangs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.rawhttp import RawConnection, request
from tests.nodes import Node, usher
from tests.sevuclient import Account, Connection, signed_text

NewNode = Callable[..., Node]
GONE_S_MAX = 10.0
CLIENTS = 16
QUESTION = json.dumps({"app": "live", "video": "cam1", "ip": "192.0.2.1", "key": "k"}).encode()


def terminate(node: Node) -> float:
    """Seconds from SIGTERM to the end of the process."""
    began = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(GONE_S_MAX + 20)
    return time.monotonic() - began


@pytest.fixture
def node(new_node: NewNode, tmp_path: Path) -> Node:
    return new_node(tmp_path / "data", "--log", "ledger").start()


class Client(threading.Thread):
    """Asks over one connection that it keeps, until an answer is the last; everything asked has to be answered."""

    def __init__(self, node: Node, account: Account) -> None:
        super().__init__()
        self._url = node.url
        self._account = account
        self.answered = 0
        self.was_told = False
        self.failed: Exception | None = None

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._account.edge_token}", "Content-Type": "application/json"}
        try:
            with Connection(self._url) as connection:
                while not self.was_told:
                    status, said, _ = connection.request("POST", "/v1/authorize", QUESTION, headers)
                    assert status == 200
                    self.answered += 1
                    self.was_told = said.get("connection") == "close"
        except Exception as error:
            self.failed = error


def test_under_load_each_connection_ends_with_an_answer_and_what_was_answered_is_counted(node: Node) -> None:
    account = node.create_account("site")
    clients = [Client(node, account) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    while min(client.answered for client in clients) < 20:
        assert [client.failed for client in clients if client.failed] == []
        time.sleep(0.01)
    spent_s = terminate(node)
    for client in clients:
        client.join(GONE_S_MAX)

    assert [client.failed for client in clients if client.failed] == []
    assert all(client.was_told for client in clients)
    assert node.process.returncode == 0
    assert spent_s < GONE_S_MAX
    node.start()
    with node.connect() as connection:
        assert connection.count(account) == sum(client.answered for client in clients)


@pytest.mark.parametrize("path", ["/healthz", "/v1/authorize"])
def test_a_request_that_was_on_its_way_is_answered(node: Node, path: str) -> None:
    account = node.create_account("site")
    asked = request("POST", path, QUESTION, authorization=f"Bearer {account.edge_token}")
    with RawConnection(node.url) as used, RawConnection(node.url) as fresh:
        node.process.send_signal(signal.SIGTERM)
        told = ""
        while told != "close":
            used.send(asked)
            told = used.answer().headers.get("connection", "")
        # The node ends, and has seen nothing of this one's yet.
        fresh.send(asked)
        answer = fresh.answer()

    assert (answer.status, answer.headers.get("connection")) == (200, "close")
    assert node.process.wait(GONE_S_MAX) == 0


def test_slow_senders_do_not_hold_it_up_and_are_told(node: Node) -> None:
    account = node.create_account("site")
    bearer = f"Bearer {account.edge_token}"
    pieces = (
        b"POST /v1/authorize HTTP/1.1\r\nhost: usher\r\nx",
        request("POST", "/v1/authorize", b'{"app"', content_length="500", authorization=bearer),
        request("POST", "/stable/", b"json=", content_length="500"),
    )
    connections = [RawConnection(node.url) for _ in pieces]
    idle = RawConnection(node.url)
    for connection, piece in zip(connections, pieces, strict=True):
        connection.send(piece)
    # After it has read those.
    with node.connect() as last:
        assert last.request("GET", "/healthz")[0] == 200
    spent_s = terminate(node)

    assert node.process.returncode == 0
    assert spent_s < GONE_S_MAX
    assert idle.rest() == b""
    for connection in connections:
        assert connection.rest().startswith(b"HTTP/1.1 503 "), connection
    assert "Traceback" not in node.log_file.read_text()


def test_a_count_under_way_that_hangs_is_answered_in_the_protocols_form(
    new_node: NewNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_COUNT_S_MAX", "60")
    node = new_node(tmp_path / "data", "--ship-rows", "1").start()
    account = node.create_account("site")
    with node.connect() as connection:
        connection.authorize(account, key="k")
        while json.loads(usher("status", "--json", "--data", str(node.data)).stdout)["shipped_block"] == 0:
            time.sleep(0.1)
        assert connection.count(account) == 1
        log_process = node.child("attemptlog")
        assert log_process is not None
        os.kill(log_process, signal.SIGSTOP)
        replies: list[dict[str, object]] = []
        # Another question than before: that one needs nothing of the log when it is asked again.
        text = signed_text(account, "sevu.errorcount", app="live")
        counting = threading.Thread(target=lambda: replies.append(connection.post_text(text)))
        counting.start()
        # Both go through the same loop in order: when this is answered, the count is under way.
        with node.connect() as other:
            other.request("GET", "/healthz")
            other.authorize(account, key="k")
        spent_s = terminate(node)
        counting.join(GONE_S_MAX)

    assert [reply["code"] for reply in replies] == [2053]
    assert node.process.returncode == 0
    assert spent_s < GONE_S_MAX
    assert [event["why"] for event in node.events("node.stopping")] == ["SIGTERM"]
    assert len(node.events("node.stopped")) == 1
    assert "Traceback" not in node.log_file.read_text()
    node.start()
    with node.connect() as connection:
        assert connection.count(account) == 2
    assert node.stop() == 0


def test_a_ledger_that_hangs_does_not_keep_it_and_nothing_answered_is_lost(node: Node) -> None:
    account = node.create_account("site")
    with node.connect() as connection, RawConnection(node.url) as waiting:
        for _ in range(5):
            connection.authorize(account, key="k")
        ledger_process = node.child("ledger")
        assert ledger_process is not None
        os.kill(ledger_process, signal.SIGSTOP)
        waiting.send(request("POST", "/v1/authorize", QUESTION, authorization=f"Bearer {account.edge_token}"))
        spent_s = terminate(node)

        assert spent_s < GONE_S_MAX
        # Never a yes that is not on disk.
        assert not waiting.rest().startswith(b"HTTP/1.1 200 ")
    # Where it hung.
    assert "Timeout (0:00:09.5" in node.log_file.read_text()
    node.start()
    with node.connect() as connection:
        assert connection.count(account) in (5, 6)
