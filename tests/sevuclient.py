"""A SEVU client and an edge in plain standard library, knowing nothing of openusher: what a publisher's site does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Account:
    """What `usher account create --json` prints."""

    name: str
    cdn: int
    api_key: str
    secret: str
    edge_token: str


def sign(text: str, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def signed_text(account: Account, command: str, *, timestamp: int | None = None, **parameters: Any) -> str:
    """The JSON text of a command, signed the way the page's sample does it."""
    members = {
        "command": command,
        "api_key": account.api_key,
        "timestamp": int(time.time()) if timestamp is None else timestamp,
        "cdn": account.cdn,
        **parameters,
    }
    text = json.dumps(members, separators=(",", ":"))
    return json.dumps({**members, "signature": sign(text, account.secret)}, separators=(",", ":"))


class Connection:
    """One keep-alive connection to a node. Not for several threads at once."""

    def __init__(self, url: str, *, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        if tls is None:
            self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        else:
            self._http = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=tls)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by lower-case name, body."""
        self._http.request(method, path, body, headers or {})
        answer = self._http.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def post_text(self, text: str, *, path: str = "/stable/", field: str = "json") -> dict[str, Any]:
        """Post `text` as a form field, urlencoded; the reply must be a JSON object with status 200."""
        body = urllib.parse.urlencode({field: text}).encode()
        status, _, reply = self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        assert status == 200, (status, reply)
        found = json.loads(reply)
        assert isinstance(found, dict)
        return found

    def call(self, account: Account, command: str, **parameters: Any) -> dict[str, Any]:
        """Sign, send and read a command. `password` stands for the parameter `pass`."""
        if "password" in parameters:
            parameters["pass"] = parameters.pop("password")
        return self.post_text(signed_text(account, command, **parameters))

    def issue(self, account: Account, **rules: Any) -> dict[str, Any]:
        """Issue a ticket that opens everything unless told otherwise; returns the ticket."""
        # A pass of its own: two equal requests in one second are a replay.
        password = f"user1|{secrets.token_hex(8)}"
        wanted = {"app": "*", "video": "*", "password": password, "ip": "0.0.0.0/0", "uses": 0}
        reply = self.call(account, "sevu.request", **{**wanted, **rules})
        assert reply["status"] == "success", reply
        ticket = reply["ticket"]
        assert isinstance(ticket, dict)
        return ticket

    def count(self, account: Account, **filters: Any) -> int:
        """The `error_count` of sevu.errorcount; the command must succeed."""
        reply = self.call(account, "sevu.errorcount", **filters)
        assert reply["status"] == "success", reply
        return int(reply["error_count"])

    def authorize(self, account: Account, **question: Any) -> tuple[int, dict[str, Any]]:
        """Ask the door; `password` stands for `pass`. App, video and address are filled in where left out."""
        if "password" in question:
            question["pass"] = question.pop("password")
        asked = {"app": "live", "video": "cam1", "ip": "192.0.2.1", **question}
        headers = {"Authorization": f"Bearer {account.edge_token}", "Content-Type": "application/json"}
        status, _, body = self.request("POST", "/v1/authorize", json.dumps(asked).encode(), headers)
        return status, json.loads(body)
