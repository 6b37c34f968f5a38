"""A busy node writes none of the secrets that it was given or gave: to no stream, at no level, in no spelling, and to
no command line."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.rawhttp import RawConnection, request
from tests.golden import mediamtx, srs
from tests.nodes import Node
from tests.servers.ports import free_port
from tests.sevuclient import Account, Connection, signed_text

_WAIT_S_MAX = 20.0
# With what URLs, base64 and regular expressions each write in another way.
SECRET = "s3cr3t of+the/account=1"
PUBLISH_PASSWORD = "publ1sh+pass/word=2"
CONTROL_PASSWORD = "c0ntrol.passw0rd.3"
PASS = "user1|p4ss+of/the=viewer4"
GUESS = "gu3ss+of/a=stranger5"


def spellings(secret: str) -> set[str]:
    """How it would look in a log: as it is, in a URL or form, in JSON, hexadecimal, and in base64 at any offset."""
    found = {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    found |= {json.dumps(secret)[1:-1], repr(secret)[1:-1], secret.encode().hex()}
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
            # The first and last characters hold bits of what stands beside it.
            found.add(text[4 if offset else 0 : len(text) - 2])
    return found | {text.lower() for text in found if "%" in text}


def secrets_in(written: str, secrets: dict[str, str]) -> list[str]:
    """The names of those that are in it, in any spelling."""
    return [name for name, secret in secrets.items() if any(text in written for text in spellings(secret))]


@pytest.mark.parametrize(
    "leak",
    [
        lambda secret: f"GET /live?pass={urllib.parse.quote_plus(secret)} HTTP/1.1",
        lambda secret: f"GET /live?pass={urllib.parse.quote(secret, safe='')} HTTP/1.1".lower(),
        lambda secret: f"Basic {base64.b64encode(f'user:{secret}'.encode()).decode()}",
        lambda secret: f"Basic {base64.b64encode(f'u:{secret}:x'.encode()).decode()}",
        lambda secret: f"Basic {base64.b64encode(f'us:{secret}'.encode()).decode()}",
        lambda secret: json.dumps({"pass": secret}),
        lambda secret: f"KeyError: {secret!r}",
    ],
)
@pytest.mark.parametrize("secret", ["s3cr3tofl3tt3rs", 's3cr3t+of/all"=\\'])
def test_a_leak_would_be_found(leak: Callable[[str], str], secret: str) -> None:
    assert secrets_in(leak(secret), {"it": secret}) == ["it"]
    assert secrets_in(leak("another"), {"it": secret}) == []


class Busy:
    """A node that is asked in all the ways that there are, and all secrets that go back and forth."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.secrets = {
            "account's secret": SECRET,
            "publish password": PUBLISH_PASSWORD,
            "control API's password": CONTROL_PASSWORD,
            "pass": PASS,
            "guess": GUESS,
        }
        self._ticket = {"key": "", "pass": PASS}
        socket = httpx.HTTPTransport(uds=str(node.data / "admin.sock"))
        with httpx.Client(transport=socket, base_url="http://admin", timeout=_WAIT_S_MAX) as admin:
            self.account = self._account(admin, "site", secret=SECRET)
            self._administer(admin)
            both = {"publish_password": [PUBLISH_PASSWORD], "control": [_control()]}
            kinds: dict[str, dict[str, list[str]]] = {"nginx": {}, "srs": both, "mediamtx": both, "nginx-rtmp": both}
            self._tokens = {kind: self._edge(admin, kind, options) for kind, options in kinds.items()}

    def _account(self, admin: httpx.Client, name: str, **members: str) -> Account:
        made = admin.post("/accounts", json={"name": name, **members}).json()
        self.secrets |= {f"{each} of {name}": made[each] for each in ("secret", "edge_token")}
        return Account(**made)

    def _edge(self, admin: httpx.Client, kind: str, options: dict[str, list[str]]) -> str:
        """Its token."""
        made = admin.post(f"/accounts/{self.account.cdn}/edges", json={"kind": kind, "options": options})
        token: str = made.json()["token"]
        self.secrets[f"edge token of {kind}"] = token
        return token

    def _signed(self, command: str, **parameters: Any) -> str:
        text = signed_text(self.account, command, **parameters)
        self.secrets[f"signature of {command} {len(self.secrets)}"] = json.loads(text)["signature"]
        return text

    def _administer(self, admin: httpx.Client) -> None:
        """Another account and key, and mistakes."""
        self._account(admin, "second")
        self.secrets["second key's secret"] = admin.post(f"/accounts/{self.account.cdn}/keys").json()["secret"]
        for body in (
            {"name": "third", "secret": GUESS * 100},
            {"name": "", "secret": GUESS},
            {"name": "third", "secret": GUESS, GUESS: 1},
            {"name": "third", "cdn": self.account.cdn, "secret": GUESS},
        ):
            assert admin.post("/accounts", json=body).status_code in (400, 409)
        for options in ({"control": [f"http://user:{GUESS}@ /"]}, {GUESS: ["x"]}, {"publish_password": [""]}):
            made = admin.post(f"/accounts/{self.account.cdn}/edges", json={"kind": "srs", "options": options})
            assert made.status_code == 400
        self._administer_tickets(admin, f"/accounts/{self.account.cdn}")

    def _administer_tickets(self, admin: httpx.Client, account: str) -> None:
        """Tickets sold elsewhere, found and revoked; attempts; and mistakes with them."""
        sold = {"key": "k", "pass": PASS, "app": "*", "video": "*", "ip": "auto", "uses": 0}
        good = json.dumps({**sold, "expire_date": "2035-01-01 00:00:00", "active": 1})
        for file in (f"{good}\n{GUESS}\n", json.dumps({**sold, GUESS: GUESS}), good.replace(PASS, GUESS * 100), good):
            assert admin.post(f"{account}/tickets/import", content=file.encode()).status_code == 200
        for path, body in (
            ("tickets/list", {"user": "user1"}),
            ("tickets/list", {GUESS: GUESS}),
            ("tickets/status", {"key": GUESS}),
            ("tickets/revoke", {"key": "k"}),
            ("tickets", {"pass": PASS, "ip": GUESS}),
            ("attempts/count", {"pass": PASS}),
            ("attempts/list", {"pass": PASS, GUESS: GUESS}),
            ("kick", {"key": GUESS}),
        ):
            assert admin.post(f"{account}/{path}", json=body).status_code < 500

    def command(self, connection: Connection) -> None:
        """Commands, right and wrong."""
        issued = connection.post_text(
            self._signed("sevu.request", **{"app": "*", "video": "*", "pass": PASS, "ip": "0.0.0.0/0", "uses": 0})
        )
        self._ticket["key"] = issued["ticket"]["key"]
        for command in ("sevu.errorcount", "sevu.errorlog", "sevu.sessions"):
            assert connection.post_text(self._signed(command, user="user1"))["status"] == "success"
        for text in (
            self._signed("sevu.request", **{"pass": PASS, "ip": GUESS}),
            self._signed("sevu.errorcount", group_by=GUESS),
            self._signed("sevu.status", key=GUESS),
            self._signed("sevu.errorcount").replace(self.account.api_key, GUESS),
            self._signed("sevu.errorcount", timestamp=1),
            signed_text(self.account, "sevu.errorcount").replace('"signature":"', f'"signature":"{GUESS}'),
            f'{{"command":"{GUESS}","pass":"{PASS}"}}',
            f'{{"{GUESS}',
            GUESS,
        ):
            assert connection.post_text(text)["status"] == "failure"
        connection.request("POST", f"/stable/?pass={urllib.parse.quote_plus(PASS)}", PASS.encode())
        connection.request("POST", "/stable/", f"json={PASS}&php={GUESS}".encode())

    def authorize(self, connection: Connection) -> None:
        """The plain door."""
        key, account = self._ticket["key"], self.account
        for question in (
            {},
            {"ip": GUESS},
            {GUESS: GUESS},
            {"client_id": "c"},
            {"action": GUESS},
            {"attempt_id": GUESS},
        ):
            connection.authorize(account, **{"key": key, "password": PASS, **question})
        connection.authorize(account, key=key, password=GUESS)
        connection.authorize(account, key=GUESS, password=GUESS)
        for body in (b"{", PASS.encode(), json.dumps({"pass": PASS, "key": 1}).encode()):
            connection.request("POST", "/v1/authorize", body, {"Authorization": f"Bearer {account.edge_token}"})
        for authorization in (f"Bearer {GUESS}", f"Basic {base64.b64encode(f'u:{GUESS}'.encode()).decode()}"):
            connection.request("POST", "/v1/authorize", PASS.encode(), {"Authorization": authorization})

    def ask_for_files(self, connection: Connection) -> None:
        """As nginx does, with cookies."""
        query = urllib.parse.urlencode(self._ticket)

        def ask(target: str, **headers: str) -> dict[str, str]:
            described = {
                "X-Original-URI": target,
                "X-Original-Path": target.partition("?")[0],
                "X-Original-Method": "GET",
                "X-Real-IP": "192.0.2.1",
                "Authorization": f"Bearer {self._tokens['nginx']}",
                **headers,
            }
            _, answer, _ = connection.request("GET", "/v1/edges/nginx", b"", described)
            return answer

        cookie = ask(f"/live/cam1/index.m3u8?{query}")["set-cookie"].partition(";")[0]
        self.secrets["cookie"] = cookie.partition("=")[2]
        ask("/live/cam1/1.ts", Cookie=cookie)
        ask("/live/cam1/1.ts", Cookie=cookie.replace("=", f"={GUESS}"))
        ask(f"/live/cam1/index.m3u8?key={GUESS}&pass={GUESS}", Referer=f"http://x/?pass={PASS}")
        ask(f"/live/cam1/index.m3u8?{query}", **{"X-Real-IP": GUESS})
        ask("/other/1.ts", Authorization=f"Bearer {GUESS}")

    def ask_about_connections(self, connection: Connection) -> None:
        """As SRS, MediaMTX and nginx's RTMP module do; with a control API that does not answer."""
        query = urllib.parse.urlencode(self._ticket)
        published = urllib.parse.urlencode({"pass": PUBLISH_PASSWORD})
        path = f"/e/{self._tokens['srs']}/srs"
        params = (f"?{query}", f"?key={GUESS}&pass={GUESS}", f"?{published}", f"?pass={GUESS}")
        for number, param in enumerate(params):
            for action in ("on_publish", "on_play"):
                connection.request("POST", path, srs.hook(action, f"c{number}", param=param), srs.HEADERS)
        path = f"/e/{self._tokens['mediamtx']}/mediamtx"
        for members in (
            {"query": query, "password": PASS},
            {"user": self._ticket["key"], "password": GUESS},
            {"action": "publish", "password": PUBLISH_PASSWORD},
            {"action": "publish", "password": GUESS},
            {"id": GUESS, "query": query},
        ):
            connection.request("POST", path, mediamtx.question(**members))
        path = f"/e/{self._tokens['nginx-rtmp']}/nginx-rtmp"
        first = "app=live&flashver=x&swfurl=&tcurl=&pageurl=&addr=192.0.2.1&clientid="
        calls = (
            f"play&name=cam1&start=0&duration=0&reset=0&{query}",
            f"play&name=cam1&start=0&duration=0&reset=0&key={GUESS}&pass={GUESS}",
            f"publish&name=cam1&type=live&{published}",
            f"publish&name=cam1&type=live&pass={GUESS}",
            f"play&pass={PASS}",
        )
        for number, rest in enumerate(calls):
            connection.request("POST", path, f"{first}{number}&call={rest}".encode())
        # What is owed to their servers, which are away.
        assert connection.post_text(self._signed("sevu.kick", key=self._ticket["key"]))["kicked"] > 0
        _await(lambda: "control.not_dropped" in self.node.log_file.read_text())

    def send_what_is_no_question(self) -> None:
        for sent in (
            request("POST", f"/{PASS}?pass={PASS}".replace(" ", "%20"), PASS.encode()),
            request(
                "POST", "/v1/authorize", GUESS.encode() * 10_000, authorization=f"Bearer {self.account.edge_token}"
            ),
            request("GET", "/", x=GUESS * 2_000),
            f"{GUESS}\r\n\r\n".encode(),
        ):
            with RawConnection(self.node.url) as raw:
                raw.send(sent)
                raw.answer()

    def crash(self) -> None:
        """The attempt log's process, while it stores and counts."""
        pid = self.node.child("attemptlog")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with self.node.connect() as connection:
            connection.authorize(self.account, key=self._ticket["key"], password=PASS)
            connection.post_text(self._signed("sevu.errorcount", **{"pass": PASS, "group_by": "user"}))
        _await(lambda: self.node.child("attemptlog") not in (pid, None))

    def processes(self) -> list[str]:
        """Their command lines."""
        pids = [self.node.process.pid, *filter(None, map(self.node.child, ("ledger", "attemptlog")))]
        return [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]


def _await(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _control() -> str:
    """A control API that is away."""
    return f"http://user:{CONTROL_PASSWORD}@127.0.0.1:{free_port()}"


def await_event(node: Node, event: str) -> None:
    until = time.monotonic() + _WAIT_S_MAX
    while event not in node.log_file.read_text():
        assert time.monotonic() < until, f"no {event} in the node's log"
        time.sleep(0.05)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_busy_node_writes_no_secret(tmp_path: Path, log_format: str) -> None:
    node = Node(tmp_path / "data", "--log-level", "debug", "--log-format", log_format, "--ship-rows", "1").start()
    busy, written = Busy(node), []
    for ends in ("by itself", "by its ledger"):
        with node.connect() as connection:
            busy.command(connection)
            busy.authorize(connection)
            busy.ask_for_files(connection)
            busy.ask_about_connections(connection)
        busy.send_what_is_no_question()
        written += busy.processes()
        await_event(node, "block.shipped")
        if ends == "by itself":
            busy.crash()
        if ends == "by its ledger":
            os.kill(node.child("ledger") or 0, signal.SIGKILL)
        else:
            node.process.terminate()
        node.process.wait(_WAIT_S_MAX)
        assert node.process.stdout is not None
        written.append(node.process.stdout.read())
        node.kill()
        if ends == "by itself":
            node.start()
    written.append(node.log_file.read_text())

    # So much, at least, was there to be found.
    events = ("http.answered", "log.ended", "control.not_dropped", "ledger.ended", "node.stopped", "block.shipped")
    assert [event for event in events if event not in written[-1]] == []
    assert len(busy.secrets) > 20
    assert secrets_in("\n".join(written), busy.secrets) == []
