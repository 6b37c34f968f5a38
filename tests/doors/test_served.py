"""A real node, asked at the very URLs that the printed configurations have, killed and stopped while kicks are owed."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from openusher.model.edge import OPTIONS, EdgeKind
from tests.doors.controlapi import Said, control_api
from tests.golden import mediamtx, srs
from tests.nodes import Node, running_node, usher_here
from tests.servers.ports import free_port
from tests.sevuclient import Account

_WAIT_S_MAX = 20.0
_STOP_S_MAX = 5.0
PASSWORD = "for encoders only"
HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("served") / "data", "--log", "ledger") as started:
        yield started


def wait_for(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline, f"waited {_WAIT_S_MAX:.0f} s for {what}"
        time.sleep(0.02)


class Server(NamedTuple):
    """A media server with its configuration, as `usher edge create` has printed it."""

    account: Account
    node: Node
    snippet: str
    said: str

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """As the server does: a connection for each question."""
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            connection.request("POST", parts.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def hook(self, action: str, client: str, **members: Any) -> tuple[int, bytes]:
        """SRS asks at the URL that the configuration has for this action."""
        found = re.search(rf"^ *{action} (\S+);$", self.snippet, re.MULTILINE)
        assert found is not None
        return self.post(found[1], srs.hook(action, client, **members), srs.HEADERS)

    def ticket(self, **rules: Any) -> dict[str, Any]:
        with self.node.connect() as connection:
            return connection.issue(self.account, **rules)

    def sevu(self, command: str, **parameters: Any) -> dict[str, Any]:
        with self.node.connect() as connection:
            return connection.call(self.account, command, **parameters)

    def counts(self) -> tuple[int, int]:
        with self.node.connect() as connection:
            return connection.count(self.account, success=1), connection.count(self.account, success=0)


def serve(node: Node, name: str, kind: str, *, control: str = "") -> Server:
    account = node.create_account(name)
    address = node.url.removeprefix("http://")
    flags = ["--kind", kind, "--option", f"usher={address}", "--publish-password", PASSWORD]
    if control:
        flags += ["--control", control]
    made = usher_here("edge", "create", str(account.cdn), *flags, "--data", str(node.data))
    assert made.returncode == 0, made.stderr
    return Server(account, node, made.stdout, made.stderr)


def param(ticket: dict[str, Any]) -> str:
    return "?" + urllib.parse.urlencode({"key": ticket["key"], "pass": ticket["pass"]})


# --- by the printed configurations -----------------------------------------------------------------------------------


def test_srs_asks_where_its_configuration_says(node: Node) -> None:
    server = serve(node, "srs", "srs")
    ticket = server.ticket(uses=1)
    allowed, refused = (200, b'{"code":0}'), (403, b'{"code":403,"msg":"Maximum uses exceeded"}')

    assert server.hook("on_publish", "p1", param=f"?pass={urllib.parse.quote(PASSWORD)}") == allowed
    assert server.hook("on_publish", "p2", param=param(ticket))[0] == 403
    assert server.hook("on_play", "c1", param=param(ticket)) == allowed
    assert server.hook("on_play", "c2", param=param(ticket)) == refused
    assert server.sevu("sevu.sessions")["session_count"] == 1
    assert server.hook("on_stop", "c1", param=param(ticket)) == allowed
    assert server.sevu("sevu.sessions")["session_count"] == 0
    assert server.counts() == (1, 1)
    assert "with --control at once" in server.said
    listed = usher_here("edge", "list", "--json", "--data", str(node.data)).stdout
    assert PASSWORD not in listed + server.snippet + node.log_file.read_text()


def test_mediamtx_asks_and_tells_where_its_configuration_says(node: Node) -> None:
    server = serve(node, "mediamtx", "mediamtx")
    ticket = server.ticket(uses=1)
    settings = dict(re.findall(r"^ *(\w+): *(\S.*)$", server.snippet, re.MULTILINE))

    def ask(**members: Any) -> tuple[int, bytes]:
        return server.post(settings["authHTTPAddress"], mediamtx.question(**members), mediamtx.HEADERS)

    def tell(command: str) -> None:
        """As MediaMTX runs a command, without a shell."""
        words = [word.replace("$MTX_READER_ID", mediamtx.SESSION) for word in shlex.split(settings[command])]
        subprocess.run(words, check=True, timeout=20)

    basic = {"user": ticket["key"], "password": ticket["pass"], "token": ticket["pass"]}
    for name in (mediamtx.CONN, mediamtx.SESSION):
        assert ask(protocol="rtsp", id=name) == (401, b"")
        assert ask(protocol="rtsp", id=name, **basic) == (200, b"")
    tell("runOnRead")
    assert server.sevu("sevu.sessions")["session_count"] == 1
    tell("runOnUnread")
    assert server.sevu("sevu.sessions")["session_count"] == 0
    assert ask(action="publish", password=PASSWORD) == (200, b"")
    assert ask(action="api", id=None, path="", protocol="") == (401, b"")
    assert server.counts() == (1, 0)


@pytest.mark.parametrize("kind", ["srs", "mediamtx"])
def test_the_commands_of_the_page_make_the_edges_that_it_speaks_of(node: Node, kind: str) -> None:
    account = node.create_account(f"page of {kind}")
    page = (HOW_TO / f"guard-{kind}.md").read_text().replace("\\\n", "")
    commands = re.findall(r"^usher (edge create 158 .*?) +> \S+$", page, re.MULTILINE)
    made = [
        usher_here(*shlex.split(command.replace("158", str(account.cdn))), "--data", str(node.data))
        for command in commands
    ]

    assert len(commands) == (2 if kind == "srs" else 1)
    assert [(each.returncode, bool(each.stdout)) for each in made] == [(0, True)] * len(commands)
    # What it tells to give an option to, takes it.
    options = set(re.findall(r"--option '?(\w+)=", page)) - {"root", "server_name"}
    assert options <= set(OPTIONS[EdgeKind(kind)])


# --- kicks, and the node's own end -----------------------------------------------------------------------------------


@pytest.mark.crash
def test_a_kick_outlives_the_nodes_kill_and_is_paid_once(tmp_path: Path) -> None:
    port = free_port()
    node = Node(tmp_path / "data", "--log", "ledger", "--port", str(free_port())).start()
    try:
        server = serve(node, "site", "srs", control=f"http://127.0.0.1:{port}")
        tickets = [server.ticket(), server.ticket()]
        for client, ticket in zip(("c1", "c2"), tickets, strict=True):
            assert server.hook("on_play", client, param=param(ticket))[0] == 200
        server.sevu("sevu.revoke", key=tickets[0]["key"])
        server.sevu("sevu.kick", key=tickets[1]["key"])
        # Its server is away, and so is it, more than once.
        for _ in range(2):
            node.kill()
            node.start()
        node.kill()
        with control_api(lambda method, path: Said(), port) as api:
            node.start()
            wait_for(lambda: len(api.calls) == 2, "the calls")
            wait_for(lambda: all(call.kept_s for call in api.calls), "their ends")
            assert sorted(api.asked) == [("DELETE", f"/api/v1/clients/{client}") for client in ("c1", "c2")]
            for call in api.calls:
                sent = f"{call.path} {json.dumps(call.headers)}"
                assert not any(text in sent for text in (tickets[0]["key"], tickets[0]["pass"], "192.0.2.7"))
            assert node.stop() == 0
            node.start()
            # One that is owed is asked for first: whoever comes after a later one has seen that nothing was.
            server.hook("on_play", "c3", param=param(server.ticket(password="last")), ip="192.0.2.9")
            server.sevu("sevu.kick", ip="192.0.2.9")
            wait_for(lambda: len(api.calls) == 3, "the last call")
            assert api.asked[2:] == [("DELETE", "/api/v1/clients/c3")]
        assert node.stop() == 0
    finally:
        node._end()
    assert "Traceback" not in node.log_file.read_text()


def test_a_node_ends_in_time_while_a_media_server_hangs(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    try:
        with control_api(lambda method, path: None) as api:
            server = serve(node, "site", "srs", control=api.url)
            for number in range(20):
                server.hook("on_play", f"c{number}", param=param(server.ticket()), ip=f"192.0.2.{number}")
            server.sevu("sevu.kick", ip="192.0.2.0/24")
            wait_for(lambda: len(api.calls) >= 8, "the calls")
            began_s = time.monotonic()

            assert node.stop() == 0
            assert time.monotonic() - began_s < _STOP_S_MAX
    finally:
        node._end()
    written = node.log_file.read_text()
    assert [word for word in ("Traceback", "destroyed", "never awaited") if word in written] == []
