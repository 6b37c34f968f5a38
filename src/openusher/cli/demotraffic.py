"""The demo's traffic: tickets and attempts of every outcome, each with the reason that must come back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from openusher.cli import page
from openusher.cli.credentials import Signer
from openusher.cli.output import fail
from openusher.cli.signed import signed_command

# Plain threads and http.client: a demo on two cores should spend them on the node, not on its client.
_CONNECTIONS = 16
_ROUNDS = 25
_TICKETS_A_KIND = 20
_TIMEOUT_S = 30.0


class _Attempt(msgspec.Struct, frozen=True):
    question: dict[str, str]
    reason: str


class Traffic:
    """Sends through HTTP with real signatures, and remembers what it sent."""

    def __init__(self, url: str, access: tuple[Signer, str]) -> None:
        self._url = url
        self._signer, self._edge_token = access
        self._issued: dict[str, list[dict[str, Any]]] = {}
        self.sent_by_reason: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        return sum(self.sent_by_reason.values())

    @property
    def tickets(self) -> int:
        return sum(len(tickets) for tickets in self._issued.values())

    def ask(self, command: str, parameters: dict[str, str | int]) -> dict[str, object]:
        """The reply to a signed command."""
        with self._connection() as connection:
            return self._call(connection, command, parameters)

    def issue_tickets(self) -> None:
        """Issue tickets for every outcome, and revoke those that are to be refused as revoked."""
        kinds: dict[str, dict[str, Any]] = {
            "open": {"uses": 0},
            "spent": {"uses": 1},
            "expired": {"uses": 0, "expire": "2001-01-01 00:00:00"},
            "revoked": {"uses": 0},
            "home": {"uses": 0, "ip": "192.0.2.0/24"},
        }
        with self._connection() as connection:
            for kind, rules in kinds.items():
                self._issued[kind] = [
                    self._issue(connection, f"user{number}|{kind}-{number}", rules) for number in range(_TICKETS_A_KIND)
                ]
            for ticket in self._issued["revoked"]:
                self._call(connection, "sevu.revoke", {"key": ticket["key"]})

    def send_attempts(self) -> float:
        """Send every attempt over several connections; returns the seconds it took. Ends the demo on a wrong answer."""
        began = time.monotonic()
        # In two goes: the one use of each one-use ticket is to be taken before the tries that come too late.
        for attempts in (list(self._first_uses()), list(self._rounds())):
            with ThreadPoolExecutor(_CONNECTIONS) as edges:
                for sent in edges.map(self._send, (attempts[n::_CONNECTIONS] for n in range(_CONNECTIONS))):
                    self.sent_by_reason.update(sent)
        return time.monotonic() - began

    def _issue(self, connection: HTTPConnection, password: str, rules: dict[str, Any]) -> dict[str, Any]:
        wanted = {"app": "demo-vod", "video": "films/*", "pass": password, "ip": "0.0.0.0/0", **rules}
        ticket = self._call(connection, "sevu.request", wanted)["ticket"]
        assert isinstance(ticket, dict)
        return ticket

    def _first_uses(self) -> Iterator[_Attempt]:
        page_question = {"key": page.KEY, "pass": page.PASS, "app": page.APP, "video": page.VIDEO, "ip": page.IP}
        for _ in range(4):
            yield _Attempt(page_question, "")
        for ticket in self._issued["spent"]:
            yield _Attempt(_question(ticket), "")

    def _rounds(self) -> Iterator[_Attempt]:
        for _ in range(_ROUNDS):
            yield from self._one_round()

    def _one_round(self) -> Iterator[_Attempt]:
        for ticket in self._issued["open"]:
            yield _Attempt(_question(ticket), "")
            yield _Attempt(_question(ticket, video="trailers/1.mp4"), "Invalid Video")
            yield _Attempt(_question(ticket, app="demo-live"), "Invalid Application")
            yield _Attempt(_question(ticket) | {"pass": "a guess"}, "Invalid Auth Token")
            yield _Attempt(_question(ticket) | {"pass": ""}, "Missing Auth Token")
        for ticket in self._issued["spent"]:
            yield _Attempt(_question(ticket), "Maximum uses exceeded")
        for ticket in self._issued["expired"]:
            yield _Attempt(_question(ticket), "Expiration date surpassed")
        for ticket in self._issued["revoked"]:
            yield _Attempt(_question(ticket), "Ticket Revoked")
        for ticket in self._issued["home"]:
            yield _Attempt(_question(ticket), "Invalid IP Address")

    def _send(self, attempts: list[_Attempt]) -> Counter[str]:
        """What one edge does: ask the door, over one connection. Returns what it sent, by reason."""
        headers = {"Authorization": f"Bearer {self._edge_token}"}
        sent: Counter[str] = Counter()
        with self._connection() as connection:
            for attempt in attempts:
                connection.request("POST", "/v1/authorize", json.dumps(attempt.question), headers)
                answer = connection.getresponse()
                said = json.loads(answer.read())
                if answer.status != 200 or said["reason"] != attempt.reason:
                    fail(f"an attempt that must get {attempt.reason!r} got status {answer.status}: {said}")
                sent[attempt.reason] += 1
        return sent

    def _call(self, connection: HTTPConnection, command: str, parameters: dict[str, str | int]) -> dict[str, object]:
        text = signed_command(command, parameters, self._signer)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/stable/", urlencode({"json": text.sent}), headers)
        reply: dict[str, object] = json.loads(connection.getresponse().read())
        if reply["status"] != "success":
            fail(f"{command}: {reply['message']}")
        return reply

    def _connection(self) -> closing[HTTPConnection]:
        parts = urlsplit(self._url)
        assert parts.hostname is not None
        return closing(HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S))


def _question(ticket: dict[str, Any], *, app: str = "demo-vod", video: str = "films/1.mp4") -> dict[str, str]:
    return {
        "key": ticket["key"],
        "pass": ticket["pass"],
        "app": app,
        "video": video,
        "ip": "198.51.100.7",
        "pageurl": "https://shop.example/watch",
    }
