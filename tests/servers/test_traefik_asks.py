"""What Traefik's source has it ask, sent to a real node as a real Traefik may: at once, twice, late, or for nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.golden.forward_requests import ASKED
from tests.nodes import Node
from tests.servers.fronts import posted
from tests.servers.guarded import LIVE, Site
from tests.sevuclient import Account

HEAD = next(asked.head for asked in ASKED if asked.kind == "traefik" and "/t/k/p" in asked.head)
Ask = Callable[..., bytes]


class Nothing:
    """No server is there, but the one that asks."""

    folder = Path()


@pytest.fixture(scope="module")
def edge(node: Node) -> tuple[Site, str]:
    """A site that nobody guards but this test, and the edge's token."""
    account = Account(**posted(node, "/accounts", {"name": "traefik asks"}))
    made = posted(node, f"/accounts/{account.cdn}/edges", {"kind": "traefik"})
    return Site(node, account, Nothing(), "", made["edge"]), made["token"]


@pytest.fixture
def site(edge: tuple[Site, str]) -> Site:
    return edge[0]


@pytest.fixture
def ask(edge: tuple[Site, str]) -> Ask:
    site, token = edge
    host, _, port = site.node.url.removeprefix("http://").rpartition(":")

    def asked(target: str, *, waits: bool = True, **changed: str) -> bytes:
        head = HEAD.replace("TOKEN", token).replace("/t/k/p%7C1/live/cam1/index.m3u8", target)
        for name, value in changed.items():
            head = "".join(line for line in head.splitlines(True) if not line.startswith(f"{name.replace('_', '-')}:"))
            head += f"{name.replace('_', '-')}: {value}\n" if value else ""
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n")
            return connection.recv(65536) if waits else b""

    return asked


def test_a_play_is_one_attempt_in_whatever_order_it_is_asked_for(site: Site, ask: Ask) -> None:
    ticket = site.ticket()
    playlist, segment = site.in_path(ticket, LIVE), site.in_path(ticket, "live/cam1/segment000.ts")
    # A segment of an earlier view, which its player still asks for.
    assert b"No Session" in ask(segment)
    # Nobody waits for the answer any more: the viewer has gone, and the context of the question with him.
    ask(playlist, waits=False)
    with ThreadPoolExecutor(8) as asking:
        answers = list(asking.map(lambda _: ask(playlist), range(16)))
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert ask(segment).startswith(b"HTTP/1.1 200 OK\r\n")
    assert site.counts(ticket) == (1, 0)
    site.revoke(ticket)
    assert b"403 Forbidden" in ask(segment)


def test_the_cookie_has_the_name_that_the_configuration_has(site: Site, ask: Ask) -> None:
    ticket = site.ticket()
    answer = ask(f"/{LIVE}?key={ticket['key']}&pass={ticket['pass']}").decode()
    (cookie,) = [line.removeprefix("set-cookie: ") for line in answer.split("\r\n") if line.startswith("set-cookie")]

    assert cookie.startswith("usher_00000000=")
    assert ask("/live/cam1/segment000.ts", Cookie=cookie.partition(";")[0]).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_no_traefik_sends_opens_nothing(site: Site, ask: Ask) -> None:
    ticket = site.ticket()
    for changed in (
        {"X_Forwarded_Uri": ""},
        {"X_Forwarded_Method": ""},
        {"X_Forwarded_For": ""},
        {"X_Forwarded_For": "unknown"},
        {"X_Forwarded_Uri": "live/cam1/index.m3u8"},
        {"X_Forwarded_Method": "POST"},
        {"X_Forwarded_Uri": site.in_path(ticket, LIVE), "X_Forwarded_For": "192.0.2.1, "},
    ):
        assert b"403 Forbidden" in ask(site.in_path(ticket, LIVE), **changed), changed
    assert site.counts(ticket) == (0, 0)
