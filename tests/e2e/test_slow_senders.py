"""Clients that send a byte now and then, by the hundred: they are cut off, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
from pathlib import Path

import pytest

from tests.e2e.rawhttp import RawConnection, request
from tests.nodes import running_node
from tests.sevuclient import Account, Connection, signed_text

SENDERS_A_KIND = 100
# Shorter than a real node's 10 s.
REQUEST_S_MAX = 4
CUT_OFF_S_MAX = 15


class Sender(asyncio.Protocol):
    """Sends `head` whole, then `drip` again and again until the node ends the connection; keeps what the node said.
    Without a head it stays silent. A protocol, since a stream forgets what it has when the connection is reset."""

    def __init__(self, head: bytes, drip: bytes = b"x") -> None:
        self._head = head
        self._drip = drip
        self.received = b""
        self.ended = asyncio.Event()

    async def connect(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        await asyncio.get_running_loop().create_connection(lambda: self, parts.hostname, parts.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._head:
            transport.write(self._head)
            self._trickle()

    def _trickle(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._drip)
            asyncio.get_running_loop().call_later(0.5, self._trickle)

    def end_headers(self) -> None:
        self._transport.write(b"\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def other_requests(url: str, account: Account, until: asyncio.Event) -> list[float]:
    """Ask both endpoints over one connection until told to stop; returns how long each answer took, in seconds."""
    spent = []
    with Connection(url) as connection:
        while not until.is_set():
            began = time.monotonic()
            await asyncio.to_thread(ask_both, connection, account)
            spent.append(time.monotonic() - began)
    return spent


def ask_both(connection: Connection, account: Account) -> None:
    status, answer = connection.authorize(account, key="k", password="p")
    assert (status, answer["reason"]) == (200, "Invalid Auth Token")
    assert connection.post_text(signed_text(account, "sevu.errorcount"))["code"] == 2051


async def besiege(url: str, account: Account) -> tuple[dict[str, list[bytes]], int, float, float]:
    """All senders at once beside other requests. Returns what each kind of sender was told, how many others were
    answered while every sender hung, the longest of them, and how long the last sender held out."""
    bearer = f"Bearer {account.edge_token}"
    heads = {
        "silent": b"",
        "headers": b"POST /stable/ HTTP/1.1\r\nhost: usher\r\nx: ",
        "command": request("POST", "/stable/", b"json=", content_length="5000"),
        "question": request("POST", "/v1/authorize", b"{", content_length="500", authorization=bearer),
        "chunks": request("POST", "/stable/", transfer_encoding="chunked") + b"1000\r\n",
    }
    senders = {kind: [Sender(head) for _ in range(SENDERS_A_KIND)] for kind, head in heads.items()}
    every = [sender for kind in senders.values() for sender in kind]
    began = time.monotonic()
    await asyncio.gather(*(sender.connect(url) for sender in every))
    ends = [asyncio.create_task(sender.ended.wait()) for sender in every]
    one_ended = asyncio.Event()
    for end in ends:
        end.add_done_callback(lambda _: one_ended.set())
    spent = await other_requests(url, account, one_ended)
    await asyncio.wait_for(asyncio.gather(*ends), CUT_OFF_S_MAX + REQUEST_S_MAX)
    told = {kind: [sender.received for sender in found] for kind, found in senders.items()}
    return told, len(spent), max(spent), time.monotonic() - began


def test_five_hundred_slow_senders_are_cut_off_and_delay_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_REQUEST_S_MAX", str(REQUEST_S_MAX))
    with running_node(tmp_path / "data", "--log", "ledger") as node:
        account = node.create_account("site")
        told, answered, longest_s, spent_s = asyncio.run(besiege(node.url, account))

        assert answered >= 20
        assert longest_s < REQUEST_S_MAX
        assert spent_s < CUT_OFF_S_MAX
        for kind in ("silent", "headers", "question"):
            assert {received[:13] for received in told[kind]} == {b"HTTP/1.1 408 "}, kind
        for kind in ("command", "chunks"):
            codes = {json.loads(received.partition(b"\r\n\r\n")[2])["code"] for received in told[kind]}
            assert codes == {9004}, kind
        with node.connect() as connection:
            assert connection.count(account) == answered


@pytest.mark.parametrize("on_a_used_connection", [False, True])
def test_headers_and_body_share_the_time_of_a_request(
    on_a_used_connection: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_REQUEST_S_MAX", str(REQUEST_S_MAX))

    async def send(url: str) -> tuple[bytes, float]:
        used = request("GET", "/healthz") if on_a_used_connection else b""
        head = request("POST", "/stable/", content_length="5000").removesuffix(b"\r\n\r\n")
        sender = Sender(used + head + b"\r\nx: ")
        began = time.monotonic()
        await sender.connect(url)
        asyncio.get_running_loop().call_later(REQUEST_S_MAX * 0.75, sender.end_headers)
        await asyncio.wait_for(sender.ended.wait(), CUT_OFF_S_MAX)
        return sender.received, time.monotonic() - began

    with running_node(tmp_path / "data", "--log", "ledger") as node:
        received, spent_s = asyncio.run(send(node.url))

    assert json.loads(received.rpartition(b"\r\n\r\n")[2])["code"] == 9004
    # With a time of its own the body would have held out for 1.75 of it.
    assert REQUEST_S_MAX * 0.9 < spent_s < REQUEST_S_MAX * 1.5


def test_a_connection_is_closed_on_which_only_leftovers_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line ends between requests, or the rest of a body that was refused: such a connection is an idle one."""
    monkeypatch.setenv("USHER_KEEP_ALIVE_S", "1")

    async def hold(url: str) -> list[bytes]:
        ends = Sender(request("GET", "/healthz"), b"\r\n")
        body = Sender(request("PUT", "/stable/", b"x", content_length="1000000"))
        await asyncio.gather(ends.connect(url), body.connect(url))
        await asyncio.wait_for(asyncio.gather(ends.ended.wait(), body.ended.wait()), CUT_OFF_S_MAX)
        return [ends.received, body.received]

    with running_node(tmp_path / "data", "--log", "ledger") as node:
        received = asyncio.run(hold(node.url))

    assert [each.count(b"HTTP/1.1 ") for each in received] == [1, 1]
    assert [each.startswith(b"HTTP/1.1 200 OK") for each in received] == [True, True]


def test_a_connection_is_closed_when_it_has_been_idle_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_KEEP_ALIVE_S", "1")
    with running_node(tmp_path / "data", "--log", "ledger") as node, RawConnection(node.url) as connection:
        began = time.monotonic()
        # Longer than an idle one lives, and then some.
        while time.monotonic() - began < 2.5:
            for asked in (request("GET", "/healthz"), request("POST", "/v1/authorize", b"{}")):
                connection.send(asked)
                assert connection.answer().status in (200, 401)
            time.sleep(0.3)
        answered = time.monotonic()
        assert connection.rest() == b""
        assert 0.5 < time.monotonic() - answered < 3
