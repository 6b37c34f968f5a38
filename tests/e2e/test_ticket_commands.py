"""`usher ticket` as an operator types it: issue tickets, look at them, revoke them, take over those sold elsewhere."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openusher.cli.output import Exit
from openusher.ledger.folder import ADMIN_SOCKET, short_path
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account

_SECRET = "nobody-may-see-this"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("tickets") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture
def account(node: Node, request: pytest.FixtureRequest) -> Account:
    return node.create_account(request.node.name[:100])


def ticket(node: Node, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return usher("ticket", *arguments, "--data", str(node.data), stdin=stdin)


def printed(node: Node, *arguments: str, stdin: str = "") -> list[dict[str, Any]]:
    ran = ticket(node, *arguments, "--json", stdin=stdin)
    assert ran.returncode == Exit.DONE, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def sold(key: str, **members: Any) -> str:
    usual = {"pass": f"user|{key}", "app": "*", "video": "films/*", "ip": "0.0.0.0/0", "uses": 2}
    return json.dumps({"key": key, **usual, "expire_date": "2035-01-01 00:00:00", **members})


def keys(node: Node, account: Account) -> list[str]:
    return [each["key"] for each in printed(node, "list", str(account.cdn))]


def test_a_ticket_goes_through_its_life(node: Node, account: Account) -> None:
    cdn = str(account.cdn)
    (made,) = printed(
        node, "request", cdn, "--video", "films/*", "--user", "user1", "--uses", "2", "--expire", "+1 day"
    )
    (own,) = printed(node, "request", cdn, "--video", "cam1", "--pass-file", "-", stdin=f"{_SECRET}\n")
    assert made["pass"].startswith("user1|")
    assert own["pass"] == _SECRET
    with node.connect() as connection:
        played = connection.authorize(account, key=made["key"], password=made["pass"], video="films/a")[1]
        assert (played["allow"], played["ticket"]["uses_left"]) == (True, 1)
        shown = connection.call(account, "sevu.status", key=made["key"])
    (status,) = printed(node, "status", cdn, "--key", made["key"], "--show-pass")
    assert {name: shown[name] for name in status if name != "state"} | {"state": "open"} == status
    refused = ticket(node, "revoke", cdn, "--key", made["key"])
    assert (refused.returncode, "--yes" in refused.stderr) == (Exit.USAGE, True)
    assert ticket(node, "revoke", cdn, "--key", made["key"], "--yes").returncode == Exit.DONE
    with node.connect() as connection:
        again = connection.authorize(account, key=made["key"], password=made["pass"], video="films/a")[1]

    assert again["reason"] == "Ticket Revoked"
    assert [each["state"] for each in printed(node, "list", cdn)] == ["open", "revoked"]
    # A pass is shown to whom asks for it.
    for arguments in (("list", cdn), ("status", cdn, "--key", own["key"], "--json")):
        assert _SECRET not in ticket(node, *arguments).stdout
        assert _SECRET in ticket(node, *arguments, "--show-pass").stdout


def test_what_is_not_there_is_said_and_what_is_missing_named(node: Node, account: Account) -> None:
    cdn = str(account.cdn)
    for arguments, said in (
        (("status", cdn, "--key", "nobody's"), "no such ticket"),
        (("revoke", cdn, "--key", "nobody's", "--yes"), "no such ticket"),
        (("list", "77"), "no account with cdn 77"),
        (("list", cdn, "--before", "nobody's"), "no such ticket"),
        (("request", cdn, "--video", "x", "--ip", "nonsense"), "ip:"),
    ):
        ran = ticket(node, *arguments)
        assert (ran.returncode, said in ran.stderr) == (Exit.FAILED, True), ran.stderr


def test_a_list_goes_on_where_the_page_before_ends(node: Node, account: Account) -> None:
    printed(node, "import", str(account.cdn), "-", stdin="\n".join(sold(f"k{n}") for n in range(5)))
    first = ticket(node, "list", str(account.cdn), "--limit", "3", "--json")
    rest = ticket(node, "list", str(account.cdn), "--limit", "3", "--json", "--before", "k2")

    assert "--before k2" in first.stderr
    assert [json.loads(line)["key"] for line in first.stdout.splitlines()] == ["k4", "k3", "k2"]
    assert [json.loads(line)["key"] for line in rest.stdout.splitlines()] == ["k1", "k0"]
    assert rest.stderr == ""


def test_a_file_is_taken_over_whole_and_its_tickets_play(node: Node, account: Account, tmp_path: Path) -> None:
    file = tmp_path / "tickets.jsonl"
    lines = [sold("a"), "", sold("ended", active="0"), sold("used up", uses="0", uses_limit="3")]
    # As an editor under Windows leaves it, and without a last line end.
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    judged = ticket(node, "import", str(account.cdn), str(file), "--dry-run")
    assert (judged.returncode, "3 tickets could be taken over" in judged.stdout) == (Exit.DONE, True)
    assert keys(node, account) == []
    assert printed(node, "import", str(account.cdn), str(file)) == [{"tickets": 3, "imported": True}]
    with node.connect() as connection:
        reasons = [
            connection.authorize(account, key=key, password=f"user|{key}", video="films/x")[1]["reason"]
            for key in ("a", "a", "a", "ended", "used up")
        ]

    assert reasons == ["", "", "Maximum uses exceeded", "Ticket Revoked", "Maximum uses exceeded"]


def test_each_faulty_line_is_named_and_nothing_is_taken_over(node: Node, account: Account) -> None:
    printed(node, "import", str(account.cdn), "-", stdin=sold("sold before"))
    lines = [
        sold("good"),
        sold("a", ip="nonsense"),
        "{no json",
        sold("good", **{"pass": "other"}),
        sold("sold before"),
        sold("b", uses="many"),
        sold("c", **{"pass": _SECRET * 20}),
        sold("d", expires_date="2030-01-01"),
    ]
    faults = [(2, "ip", '"nonsense"'), (3, "", ""), (4, "key", "good"), (5, "key", "sold before"),
              (6, "uses", '"many"'), (7, "pass", ""), (8, "expires_date", '"2030-01-01"')]  # fmt: skip
    for way, status in (((), Exit.FAILED), (("--dry-run",), Exit.NO)):
        ran = ticket(node, "import", str(account.cdn), "-", "--json", *way, stdin="\n".join(lines))
        told = [json.loads(line) for line in ran.stdout.splitlines()]

        assert ran.returncode == status
        assert sorted((each["line"], each["member"], each["given"]) for each in told) == faults
        assert "7 of 8 lines are faulty; nothing was taken over" in ran.stderr
        assert _SECRET not in ran.stdout + ran.stderr
    for_people = ticket(node, "import", str(account.cdn), "-", stdin="\n".join(lines)).stderr
    assert "line 4: key: line 1 has it already (given: good)" in for_people
    assert "line 6: uses: not a whole number; give one from 0 to 2147483647" in for_people
    assert keys(node, account) == ["sold before"]


def test_what_one_account_lists_another_takes_over(node: Node, account: Account) -> None:
    other = node.create_account(f"other of {account.name}"[:100])
    printed(node, "request", str(account.cdn), "--video", "a|b*", "--max-sessions", "2", "--newest-wins")
    printed(node, "import", str(account.cdn), "-", stdin=sold("x", uses=0) + "\n" + sold("y", uses=1, uses_limit=4))
    listed = ticket(node, "list", str(account.cdn), "--json", "--show-pass").stdout
    assert printed(node, "import", str(other.cdn), "-", stdin=listed) == [{"tickets": 3, "imported": True}]
    theirs = ticket(node, "list", str(other.cdn), "--json", "--show-pass").stdout

    def lines(text: str) -> list[str]:
        return sorted(text.splitlines())

    assert lines(theirs) == lines(listed)


def test_a_file_is_taken_over_without_a_node_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert usher("account", "create", "acme", "--data", str(data)).returncode == Exit.DONE
    taken = usher("ticket", "import", "1000000", "-", "--data", str(data), stdin=f"{sold('a')}\n{sold('b')}\n")
    shown = usher("account", "show", "1000000", "--data", str(data), "--json")

    assert (taken.returncode, taken.stdout) == (Exit.DONE, "2 tickets taken over.\n")
    assert json.loads(shown.stdout)["tickets"] == 2


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(node: Node, account: Account) -> None:
    ran = ticket(node, "import", str(account.cdn), "-", stdin=sold("a") + "\n" + '{"key":"' + "k" * 200_000)

    assert (ran.returncode, "line 2: is longer than 65536 bytes" in ran.stderr) == (Exit.FAILED, True)
    assert keys(node, account) == []


def test_a_sender_who_goes_away_leaves_nothing(node: Node, account: Account) -> None:
    whole = ("\n".join(sold(f"k{n}") for n in range(2_000)) + "\n").encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sending, short_path(node.data) as folder:
        sending.connect(f"{folder}/{ADMIN_SOCKET}")
        head = (
            f"POST /accounts/{account.cdn}/tickets/import HTTP/1.1\r\nhost: a\r\ncontent-length: {len(whole)}\r\n\r\n"
        )
        sending.sendall(head.encode() + whole[:-1])
    # The next file waits for nobody, and meets none of those keys.
    status = _import_when_it_can(node, account, whole)

    assert status == 200
    assert len(keys(node, account)) == 100


def _import_when_it_can(node: Node, account: Account, body: bytes) -> int:
    """The status, once the file before is done with."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sending, short_path(node.data) as folder:
            sending.connect(f"{folder}/{ADMIN_SOCKET}")
            connection = http.client.HTTPConnection("admin")
            connection.sock = sending
            connection.request("POST", f"/accounts/{account.cdn}/tickets/import", body)
            answer = connection.getresponse()
            if answer.status == 503:
                assert b"another file" in answer.read()
                time.sleep(0.02)
                continue
            judged = json.loads(answer.read())
            assert (judged["imported"], judged["faulty"]) == (True, 0)
            return answer.status
    raise AssertionError("the file before is never done with")
