"""Requests of every kind on one connection, in whatever pieces they come: each is answered as if it had come alone."""

from __future__ import annotations

import json
import random
import re
import socket
import urllib.parse

import pytest

from tests.e2e.rawhttp import RawConnection, chunked, request
from tests.nodes import Node
from tests.sevuclient import Account, signed_text

DOOR = "/v1/authorize"
WHO = "203.0.113.7"
# What differs between two answers to one question.
_VARIES = re.compile(rb'date: [^\r]*|content-length: \d+|"attempt_id":"\d+"|[0-9.]+ seconds')


def questions(account: Account) -> list[bytes]:
    """Requests that take every way through the door: the short one, and all that may not take it."""
    bearer = f"Bearer {account.edge_token}"
    body = json.dumps({"app": "live", "video": "cam1", "ip": WHO}).encode()
    escaped = "/v1/%61uthorize"
    command = urllib.parse.urlencode({"json": signed_text(account, "sevu.sessions")}).encode()
    return [
        request("POST", DOOR, body, authorization=bearer),
        request("POST", DOOR, body, authorization="Bearer nobody's"),
        request("POST", DOOR, b"", authorization=bearer),
        request("POST", DOOR, b"{", authorization=bearer),
        request("POST", DOOR, transfer_encoding="chunked", authorization=bearer) + chunked(body, size=9),
        request("GET", "/healthz"),
        request("POST", "/stable/", command),
        request("POST", "/stable/?x=1", command),
        request("POST", "/", b"json={"),
        request("GET", "/dev"),
        request("POST", escaped, body, authorization=bearer),
        request("POST", DOOR + "?x=1", body, authorization=bearer),
        request("GET", DOOR, authorization=bearer),
        b"\r\n" + request("POST", DOOR, body, authorization=bearer),
        request("POST", DOOR, body, authorization=bearer, connection="Upgrade, HTTP2-Settings", upgrade="h2c"),
    ]


def received(node: Node, pieces: list[bytes]) -> bytes:
    """All that comes back on one connection until the node closes it, without what varies."""
    with RawConnection(node.url) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.send(*pieces)
        return _VARIES.sub(b"", connection.rest())


def closing(asked: bytes) -> bytes:
    return asked.replace(b"host: usher", b"host: usher\r\nconnection: close", 1)


@pytest.mark.parametrize("seed", range(25))
def test_requests_in_any_order_and_pieces_are_answered_one_by_one(seed: int, node: Node, account: Account) -> None:
    chance = random.Random(seed)
    asked = chance.choices(questions(account)[:-1], k=12)
    alone = b"".join(received(node, [closing(each)]) for each in asked).replace(b"connection: close\r\n", b"")
    stream = b"".join(asked[:-1]) + closing(asked[-1])
    cuts = sorted(chance.sample(range(1, len(stream)), k=chance.choice([0, 1, 5, 40, 300])))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert received(node, pieces).replace(b"connection: close\r\n", b"") == alone


def test_a_question_is_understood_wherever_it_is_cut(node: Node, account: Account) -> None:
    for asked in questions(account):
        whole = received(node, [asked, closing(request("GET", "/healthz"))])
        # An offer to change the protocol has its name changed on the way, which may itself be cut.
        for cut in range(1, len(asked), 1 if b"upgrade:" in asked else 7):
            assert received(node, [asked[:cut], asked[cut:], closing(request("GET", "/healthz"))]) == whole
