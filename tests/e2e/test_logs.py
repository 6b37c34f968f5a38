"""What real nodes write to stderr: their life, what they answer, and few lines of what strangers send."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rawhttp import RawConnection, request
from tests.golden import srs
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection, signed_text

_WAIT_S_MAX = 15.0


@pytest.fixture(scope="module")
def logging_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("logs") / "data", "--log", "ledger", "--log-level", "debug") as started:
        yield started


@pytest.fixture(scope="module")
def site(logging_node: Node) -> Account:
    return logging_node.create_account("site")


@pytest.fixture
def connected(logging_node: Node) -> Iterator[Connection]:
    with logging_node.connect() as connection:
        yield connection


def answered_since(node: Node, count: int, *, least: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Lines of answers after the first `count` lines that have these fields; waits for so many at least: an answer is
    sent before its line is written."""
    deadline = time.monotonic() + _WAIT_S_MAX
    while True:
        lines = [each for each in node.events()[count:] if each["event"] == "http.answered"]
        found = [each for each in lines if fields.items() <= each.items()]
        if len(found) >= least:
            return found
        assert time.monotonic() < deadline, (fields, lines)
        time.sleep(0.02)


def create_edge(node: Node, account: Account, kind: str, *flags: str) -> dict[str, Any]:
    made = usher("edge", "create", str(account.cdn), "--kind", kind, *flags, "--json", "--data", str(node.data))
    assert made.returncode == 0, made.stderr
    edge: dict[str, Any] = json.loads(made.stdout)
    return edge


# --- a node's life --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_says_when_it_starts_and_why_and_when_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    node.process.send_signal(number)
    assert node.process.wait(20) == 0
    node.kill()

    events = {event["event"]: event for event in node.events() if event["event"].startswith("node.")}
    assert list(events) == ["node.started", "node.stopping", "node.stopped"]
    assert events["node.started"]["url"] == node.url
    assert events["node.started"]["data"] == str(node.data)
    assert events["node.stopping"]["why"] == number.name
    assert 0 < events["node.stopped"]["seconds"] < 10


def test_every_process_logs_in_one_form(tmp_path: Path) -> None:
    node = Node(tmp_path / "data").start()
    before = node.child("attemptlog")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + _WAIT_S_MAX
    while len(node.events("log.started")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert node.stop() == 0
    # Such a start makes indexes, which the ledger's process does.
    small = Node(tmp_path / "small", "--log", "ledger").start()
    assert small.stop() == 0

    (ended,) = node.events("log.ended")
    assert (ended["level"], ended["pid"], ended["how"]) == ("error", before, "was killed by SIGKILL")
    assert [event["process"] for event in small.events("ledger.index_begun")] == ["ledger"]


def test_a_terminal_gets_lines_for_people(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "openusher", "serve", "--data", str(tmp_path / "data"), "--port", "0"]
    process = subprocess.Popen([*command, "--log", "ledger"], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said, deadline = b"", time.monotonic() + _WAIT_S_MAX
    while b"127.0.0.1" not in said and time.monotonic() < deadline and select.select([ours], [], [], _WAIT_S_MAX)[0]:
        said += os.read(ours, 4096)
    process.terminate()
    process.wait(20)
    os.close(ours)

    plain = re.sub(r"\x1b\[\d*m", "", said.decode())
    assert re.search(r"^\S+Z \[info *\] node.started +process=door version=", plain, re.MULTILINE)
    assert "\x1b[" in said.decode()


def test_what_is_below_the_level_is_not_written(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", "--log", "ledger", "--log-level", "error") as node, node.connect() as asking:
        asking.request("GET", "/nothing")

    assert node.events() == []


# --- what is answered -----------------------------------------------------------------------------------------------


def test_a_start_is_found_by_its_attempt(logging_node: Node, site: Account, connected: Connection) -> None:
    before = len(logging_node.events())
    ticket = connected.issue(site)
    _, accepted = connected.authorize(site, key=ticket["key"], password=ticket["pass"])
    _, refused = connected.authorize(site, key=ticket["key"], password="wrong")
    told = answered_since(logging_node, before, route="/v1/authorize", outcome="refused")
    told += answered_since(logging_node, before, route="/v1/authorize", outcome="accepted")

    assert {str(each["attempt"]): each.get("reason", "") for each in told} == {
        accepted["attempt_id"]: "",
        refused["attempt_id"]: "Invalid Auth Token",
    }
    for each in told:
        assert (each["level"], each["account"], each["method"]) == ("info", site.cdn, "POST")
        assert each["peer"] == "127.0.0.1"


def test_commands_are_told_with_their_code(logging_node: Node, site: Account, connected: Connection) -> None:
    before = len(logging_node.events())
    connected.issue(site)
    forged = signed_text(site, "sevu.errorcount").replace('"signature":"', '"signature":"x')
    connected.post_text(forged)
    connected.call(site, "sevu.request", app="*")

    lines = answered_since(logging_node, before, least=3, route="/stable")
    told = {(each["command"], each["code"]): each for each in lines}
    levels = {asked: (each["level"], each["outcome"], each.get("reason")) for asked, each in told.items()}
    assert levels == {
        ("sevu.request", 2011): ("info", "done", None),
        ("sevu.errorcount", 3): ("warning", "not_authorised", "wrong signature"),
        ("sevu.request", 6): ("info", "bad_input", "missing fields"),
    }
    assert {each["account"] for each in told.values()} == {site.cdn}
    assert {each["api_key"] for each in told.values()} == {site.api_key}


def test_what_strangers_try_is_warned_of_with_where_it_came_from(
    logging_node: Node, site: Account, connected: Connection
) -> None:
    edge = create_edge(logging_node, site, "srs", "--name", "my srs", "--publish-password", "for encoders")
    before = len(logging_node.events())
    path = f"/e/{edge['token']}/srs"
    wrong_password = connected.request("POST", path, srs.hook("on_publish", "p1", param="?pass=guess"), srs.HEADERS)
    wrong_token = connected.request("POST", "/e/guess/srs", srs.hook("on_play", "c1"), srs.HEADERS)
    no_token = connected.request("POST", "/v1/authorize", b"{}")

    assert [answer[0] for answer in (wrong_password, wrong_token, no_token)] == [403, 403, 401]
    (publish,) = answered_since(logging_node, before, outcome="not_published")
    assert (publish["level"], publish["edge"], publish["edge_name"]) == ("warning", edge["edge"], "my srs")
    assert (publish["account"], publish["kind"], publish["peer"]) == (site.cdn, "srs", "127.0.0.1")
    guesses = answered_since(logging_node, before, least=2, outcome="not_authorised")
    assert [(each["route"], each["level"]) for each in guesses] == [
        ("/e/{token}/{kind}", "warning"),
        ("/v1/authorize", "warning"),
    ]
    assert [each["peer"] for each in guesses] == ["127.0.0.1"] * 2


def test_follow_ups_are_told_at_debug_only(logging_node: Node, site: Account, connected: Connection) -> None:
    edge = create_edge(logging_node, site, "generic")
    before = len(logging_node.events())
    headers = {"Authorization": f"Bearer {edge['token']}"}
    ticket = connected.issue(site)
    start = {
        "key": ticket["key"],
        "pass": ticket["pass"],
        "app": "a",
        "video": "v",
        "ip": "192.0.2.1",
        "client_id": "c",
    }
    for question in (start, {"action": "follow", "client_id": "c"}, {"action": "end", "client_id": "c"}):
        assert connected.request("POST", "/v1/authorize", json.dumps(question).encode(), headers)[0] == 200

    told = answered_since(logging_node, before, edge=edge["edge"], outcome="done")
    told += answered_since(logging_node, before, edge=edge["edge"], outcome="followed")
    told += answered_since(logging_node, before, edge=edge["edge"], outcome="accepted")
    assert [each["level"] for each in told] == ["debug", "debug", "info"]


def test_nothing_that_a_stranger_writes_is_in_a_line(logging_node: Node) -> None:
    before = len(logging_node.events())
    mark = "FORGED"
    injected = f"{mark}%0a%1b%5b31m%e2%80%a8%00".encode()
    paths = (f"/{mark}", f"/e/{mark}/nginx", f"/v1/edges/{mark}", f"/e/{mark}/{mark}", f"/?{mark}", "/v1/authorize")
    headers = {"user_agent": mark, "cookie": mark, "authorization": f"Bearer {mark}", "referer": mark}
    asked = [request("POST", f"{path}%0a%1b%5b31m", injected, **headers) for path in paths]
    asked.append(request("POST", "/v1/authorize", json.dumps({mark: mark}).encode(), **headers))
    asked += [request("GET", "/", x=f"{mark}\x1b[31m"), request(mark, "/"), f"{mark}\n\x1b[31m\r\n\r\n".encode()]
    for each in asked:
        with RawConnection(logging_node.url) as raw:
            raw.send(each)
            raw.answer()
    answered_since(logging_node, before, least=3, status=400)

    assert mark not in logging_node.log_file.read_text()


def test_a_member_that_nobody_knows_is_told_to_its_sender_alone(
    logging_node: Node, site: Account, connected: Connection
) -> None:
    before = len(logging_node.events())
    status, answer = connected.authorize(site, hunter2="x")
    bad_address, _ = connected.authorize(site, ip="nowhere")

    assert (status, answer["error"]["field"], bad_address) == (400, "hunter2", 400)
    told = answered_since(logging_node, before, outcome="bad_input", field="ip")
    assert [each["level"] for each in told] == ["warning"]
    assert "hunter2" not in logging_node.log_file.read_text()


def test_a_flood_is_few_lines_that_count_it_all(logging_node: Node, connected: Connection) -> None:
    before, began = len(logging_node.events()), time.monotonic()
    asked = 1_500
    for _ in range(asked):
        connected.request("GET", "/v1/edges/caddy")
    seconds = time.monotonic() - began

    def told() -> Counter[str]:
        lines = answered_since(logging_node, before, route="/v1/edges/{kind}", outcome="not_authorised")
        return Counter(lines=len(lines), requests=sum(each.get("suppressed", 1) for each in lines))

    deadline = time.monotonic() + _WAIT_S_MAX
    while told()["requests"] < asked:
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)
    assert told()["requests"] == asked
    assert told()["lines"] <= 2 * 10 + seconds + 3
