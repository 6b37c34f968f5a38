"""The demo's traffic: tickets and attempts of every outcome, each with the reason that must come back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from openusher.cli import page
from openusher.cli.credentials import Signer
from openusher.cli.output import fail
from openusher.cli.signed import signed_command

_CONNECTIONS = 32
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

    async def ask(self, command: str, parameters: dict[str, str | int]) -> dict[str, object]:
        """The reply to a signed command."""
        async with self._client() as client:
            return await self._call(client, command, parameters)

    async def issue_tickets(self) -> None:
        """Issue tickets for every outcome, and revoke those that are to be refused as revoked."""
        kinds: dict[str, dict[str, Any]] = {
            "open": {"uses": 0},
            "spent": {"uses": 1},
            "expired": {"uses": 0, "expire": "2001-01-01 00:00:00"},
            "revoked": {"uses": 0},
            "home": {"uses": 0, "ip": "192.0.2.0/24"},
        }
        async with self._client() as client:
            for kind, rules in kinds.items():
                self._issued[kind] = [
                    await self._issue(client, f"user{number}|{kind}-{number}", rules)
                    for number in range(_TICKETS_A_KIND)
                ]
            for ticket in self._issued["revoked"]:
                await self._call(client, "sevu.revoke", {"key": ticket["key"]})

    async def send_attempts(self) -> float:
        """Send every attempt over several connections; returns the seconds it took. Ends the demo on a wrong answer."""
        began = time.monotonic()
        async with self._client() as client:
            # In two goes: the one use of each one-use ticket is to be taken before the tries that come too late.
            for attempts in (self._first_uses(), self._rounds()):
                await asyncio.gather(*(self._send_from(client, attempts) for _ in range(_CONNECTIONS)))
        return time.monotonic() - began

    async def _issue(self, client: httpx.AsyncClient, password: str, rules: dict[str, Any]) -> dict[str, Any]:
        wanted = {"app": "demo-vod", "video": "films/*", "pass": password, "ip": "0.0.0.0/0", **rules}
        reply = await self._call(client, "sevu.request", wanted)
        ticket = reply["ticket"]
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

    async def _send_from(self, client: httpx.AsyncClient, attempts: Iterator[_Attempt]) -> None:
        headers = {"Authorization": f"Bearer {self._edge_token}"}
        for attempt in attempts:
            answer = await client.post("/v1/authorize", json=attempt.question, headers=headers)
            said = answer.json()
            if answer.status_code != 200 or said["reason"] != attempt.reason:
                fail(f"an attempt that must get {attempt.reason!r} got status {answer.status_code}: {said}")
            self.sent_by_reason[attempt.reason] += 1

    async def _call(
        self, client: httpx.AsyncClient, command: str, parameters: dict[str, str | int]
    ) -> dict[str, object]:
        text = signed_command(command, parameters, self._signer)
        reply: dict[str, object] = (await client.post("/stable/", data={"json": text.sent})).json()
        if reply["status"] != "success":
            fail(f"{command}: {reply['message']}")
        return reply

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        return httpx.AsyncClient(base_url=self._url, limits=limits, timeout=_TIMEOUT_S)


def _question(ticket: dict[str, Any], *, app: str = "demo-vod", video: str = "films/1.mp4") -> dict[str, str]:
    return {
        "key": ticket["key"],
        "pass": ticket["pass"],
        "app": app,
        "video": video,
        "ip": "198.51.100.7",
        "pageurl": "https://shop.example/watch",
    }
