"""Malformed requests over HTTP to a real node: each gets its clear error, and not a row changes."""

from __future__ import annotations

import json
import random
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Promise
from tests.e2e.rawhttp import RawConnection, request
from tests.e2e.rows import Rows, ledger_rows
from tests.golden.bad_questions import bad_questions
from tests.golden.bad_requests import bad_requests
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection, signed_text

DOOR = "/v1/authorize"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROMISE = "Bad input gets a clear error"
# A request that takes longer than this hangs, even on a busy machine.
ANSWER_S_MAX = 5


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("bad") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="module")
def account(node: Node) -> Account:
    """An account with a ticket and attempts, so that there is something to spoil."""
    made = node.create_account("site")
    with node.connect() as connection:
        ticket = connection.issue(made, uses=3, ip="auto")
        for password in (ticket["pass"], "a guess"):
            connection.authorize(made, key=ticket["key"], password=password)
    return made


def assert_sound(node: Node) -> None:
    checked = usher("check", "--data", str(node.data), "--log", "ledger", "--json")
    assert (checked.returncode, json.loads(checked.stdout)) == (0, {"faults": []})


def test_every_malformed_command_gets_its_code_and_changes_nothing(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    before = ledger_rows(node.data)
    rows = bad_requests(api_key=account.api_key, secret=account.secret, cdn=account.cdn, now=int(time.time()))
    wrong = []
    for row in rows:
        headers = {"Content-Type": row.content_type} if row.content_type else {}
        began = time.monotonic()
        status, answered, body = connection.request("POST", "/stable/", row.body, headers)
        spent_s = time.monotonic() - began
        reply = json.loads(body) if answered["content-type"] == "application/json" else {}
        # The field php asks for PHP's form, of the refusal too.
        found = (status, reply.get("code"), reply.get("status"), row.message_part in str(reply.get("message")))
        if answered["content-type"].startswith("text/plain"):
            found = (status, *serialized_parts(body.decode()), row.message_part in body.decode())
        if found != (200, row.code, "failure", True) or spent_s > ANSWER_S_MAX:
            wrong.append((row.name, found, reply.get("message"), round(spent_s, 1)))

    assert wrong == []
    assert len(rows) >= 150
    assert ledger_rows(node.data) == before
    assert_sound(node)
    promise(PROMISE, malformed_commands=len(rows))


def serialized_parts(text: str) -> tuple[int, str]:
    """Code and status of a failure in the form of PHP's serialize()."""
    found = re.fullmatch(r'a:\d:\{s:4:"code";i:(\d+);s:7:"message";.*s:6:"status";s:7:"(\w+)";.*\}', text, re.DOTALL)
    assert found is not None, text
    return int(found[1]), found[2]


def test_every_malformed_question_names_its_member_and_is_not_recorded(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    before = ledger_rows(node.data)
    rows = bad_questions()
    wrong = []
    for row in rows:
        status, answered, body = connection.request(
            "POST", DOOR, row.body, {"Authorization": f"Bearer {account.edge_token}"}
        )
        reply = json.loads(body)
        problem = reply["error"]["message"] if list(reply) == ["error"] else ""
        found = (status, answered["content-type"], reply.get("error", {}).get("field"), bool(problem))
        if found != (400, "application/json", row.field, True):
            wrong.append((row.name, found, problem))

    assert wrong == []
    assert len(rows) >= 60
    assert len({row.name for row in rows}) == len(rows)
    assert ledger_rows(node.data) == before
    assert_sound(node)
    promise(PROMISE, malformed_questions=len(rows))


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic {}", "{}", "Bearer {}x", "Bearer x{}", "Bearer {} {}", "Bearer \xff"],
)
def test_a_question_without_its_edges_token_is_401_and_is_not_recorded(
    authorization: str, node: Node, account: Account, connection: Connection
) -> None:
    before = ledger_rows(node.data)
    question = json.dumps({"key": "k", "pass": "p", "app": "a", "video": "v", "ip": "192.0.2.1"}).encode()
    headers = {"Authorization": authorization.replace("{}", account.edge_token)} if authorization else {}
    status, answered, body = connection.request("POST", DOOR, question, headers)

    assert (status, json.loads(body)["error"]["field"]) == (401, "")
    assert answered["www-authenticate"].startswith("Bearer")
    assert account.edge_token.encode() not in body
    assert ledger_rows(node.data) == before


# Fuzz

SEED = 20_261_123
MUTATIONS = 700


def mutated(draw: random.Random, text: bytes) -> bytes:
    """`text` with one to four small accidents."""
    changed = bytearray(text)
    pieces = [
        b'"',
        b"{",
        b"}",
        b"[",
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\0",
        b"null",
        b"1e999",
        b",",
        b":",
        b"\xff",
        b"|",
    ]
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        match draw.randrange(5):
            case 0:
                del changed[at : at + draw.randint(1, 12)]
            case 1:
                changed[at:at] = draw.choice(pieces)
            case 2:
                changed[at:at] = draw.randbytes(draw.randint(1, 8))
            case 3:
                changed[at:at] = changed[: draw.randint(0, 60)]
            case _:
                changed[at : at + 1] = bytes([draw.randrange(256)])
    return bytes(changed)


def odd_value(draw: random.Random) -> Any:
    """A value that a confused client may send."""
    letters = "aé🎬*|/.:%_\\\"'<>&+- \t\n\r\u2028\u202e0123456789"
    text = "".join(draw.choices(letters, k=draw.choice([0, 1, 3, 20, 300, 5_000])))
    number = draw.choice([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, 10**25, 1.5, 1e300])
    return draw.choice([text, text, text, number, str(number), None, True, [text], {"x": text}])


def fuzzed_command(draw: random.Random, account: Account) -> bytes:
    """A form with a command that holds an odd value, or was damaged after it was signed, or as a form."""
    command = draw.choice(["sevu.request", "sevu.status", "sevu.revoke", "sevu.errorlog", "sevu.errorcount"])
    parameters: dict[str, Any] = {
        "key": "k",
        "app": "a|b*",
        "video": "v/é",
        "pass": "p|q",
        "ip": "192.0.2.1",
        "uses": 1,
    }
    match draw.randrange(4):
        case 0:
            return mutated(draw, urllib.parse.urlencode({"json": signed_text(account, command, **parameters)}).encode())
        case 1:
            text = mutated(draw, signed_text(account, command, **parameters).encode())
        case _:
            names = [*parameters, "limit", "seek", "success", "expire", "starttime", "endtime", "group_by", "before_id"]
            odd = {name: odd_value(draw) for name in draw.sample(names, k=draw.randint(1, 2))}
            text = signed_text(account, command, **{**parameters, **odd}).encode()
    return b"json=" + urllib.parse.quote_from_bytes(text).encode()


def fuzzed_question(draw: random.Random) -> bytes:
    """A question with an odd value, or one that was damaged."""
    good: dict[str, Any] = {"key": "k", "pass": "p", "app": "a", "video": "v", "ip": "192.0.2.1", "user_agent": "é"}
    if draw.randrange(2):
        return mutated(draw, json.dumps(good).encode())
    return json.dumps({**good, draw.choice([*good, "pageurl", "server_ip"]): odd_value(draw)}).encode()


def test_damaged_commands_and_questions_never_crash_the_node_and_change_only_what_was_answered(
    node: Node, account: Account, promise: Promise
) -> None:
    draw = random.Random(SEED)
    before = ledger_rows(node.data)
    issued = recorded = refused = 0
    connection = node.connect()
    for _ in range(MUTATIONS):
        status, _, body = connection.request("POST", "/stable/", fuzzed_command(draw, account), FORM)
        reply = json.loads(body) if body.startswith(b"{") else {}
        assert status == 200, (SEED, status, body)
        assert body, SEED
        # 4 is the protocol's own internal error.
        assert reply.get("code") != 4, (SEED, reply)
        issued += reply.get("code") == 2011
        refused += reply.get("status") == "failure"
    headers = {"Authorization": f"Bearer {account.edge_token}"}
    for _ in range(MUTATIONS):
        status, _, body = connection.request("POST", DOOR, fuzzed_question(draw), headers)
        assert status in (200, 400), (SEED, status, body)
        recorded += status == 200
    connection.close()

    after = ledger_rows(node.data)
    assert grown(before, after) == {"tickets": issued, "attempts": recorded}
    # The damage is worth something: most is noticed, and some leaves a good request.
    assert MUTATIONS // 2 < refused < MUTATIONS
    assert min(issued, recorded) > 5
    assert_sound(node)
    promise(PROMISE, damaged_requests=2 * MUTATIONS)


def grown(before: Rows, after: Rows) -> dict[str, int]:
    """How many rows came to tickets and attempts; all that was there before must still be there as it was."""
    for table in ("tickets", "attempts", "accounts", "api_keys", "edges"):
        assert after[table][: len(before[table])] == before[table]
    assert (before["accounts"], before["edges"]) == (after["accounts"], after["edges"])
    return {table: len(after[table]) - len(before[table]) for table in ("tickets", "attempts")}


def test_garbage_on_a_bare_socket_never_crashes_the_node_or_keeps_it_busy(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    draw = random.Random(SEED)
    before = ledger_rows(node.data)
    whole = request("POST", DOOR, b'{"key":"k","app":"a","video":"v","ip":"x"}', authorization="Bearer x")
    connections = 100
    for number in range(connections):
        garbage = draw.randbytes(draw.randint(1, 3_000)) if number % 2 else mutated(draw, whole)
        with RawConnection(node.url, timeout_s=ANSWER_S_MAX) as raw:
            raw.send(garbage)
            raw.socket.shutdown(socket.SHUT_WR)
            received = raw.rest()
        assert not re.search(rb"HTTP/1\.1 5\d\d", received), (SEED, number, received)

    assert connection.request("GET", "/readyz")[0] == 200
    assert ledger_rows(node.data) == before
    log = node.log_file.read_text()
    assert "Traceback" not in log
    assert account.secret not in log
    assert account.edge_token not in log
    promise(PROMISE, connections_of_garbage=connections)
