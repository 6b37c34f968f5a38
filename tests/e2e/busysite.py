"""A site of which everything is known that it asked: viewers of a node with all kinds of answers, and of secrets that
must show nowhere."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from tests.e2e.scraping import Scraped, admin_client, scraped
from tests.nodes import Node
from tests.sevuclient import Account, Connection, signed_text

_WAIT_S_MAX = 60
# Recognisable, and of no other meaning.
KEY = "s3kret-key.5f00c996dd39d5.39102367"
PASS, WRONG_PASS = "s3kret-user|s3kret-pass", "s3kret-wrong-pass"
VIEWER, PLAYER, VIDEO, APP = "198.51.100.77", "s3kret-player", "s3kret-video", "s3kret-app"
PAGE, PATH = "https://s3kret.example/page", "/s3kret/path"

ACCEPTED, WRONG, EXCEEDED, REPEATED = 12, 5, 3, 4
NO_VIDEO, NO_TOKEN, WRONG_SIGNATURE, NO_PATH = 4, 3, 2, 6
STARTED, FOLLOWED, STRANGERS = 2, 9, 7
COUNTED, GROUPED, LISTED = 3, 2, 1


class BusySite:
    """Has asked a node all of the above once `ask_all` returns; `metrics` is where that node shows its metrics, and
    `seen` what it showed then."""

    seen: Scraped

    def __init__(self, node: Node, metrics: str) -> None:
        self._node = node
        self.metrics = metrics
        self.account = Account(**self._admin("/accounts", name="acme"))
        self.watched = self._admin(f"/accounts/{self.account.cdn}/edges", kind="nginx", name="web 1")

    def _admin(self, path: str, **body: Any) -> dict[str, Any]:
        with admin_client(self._node.data) as client:
            answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert isinstance(found, dict)
        return found

    def ask_all(self) -> None:
        self._take_over(KEY, uses=0)
        self._take_over("used-up", uses=1)
        with self._node.connect() as site:
            self._attempts(site)
            self._bad_input(site)
            self._sessions(site)
            self._searches(site)
        self.seen = self._shipped()

    def _take_over(self, key: str, *, uses: int) -> None:
        rules = {"key": key, "pass": PASS, "app": "*", "video": "*", "ip": "0.0.0.0/0", "uses": uses}
        self._admin(f"/accounts/{self.account.cdn}/tickets", **rules)

    def _asks(self, site: Connection, key: str = KEY, password: str = PASS, **more: Any) -> None:
        question = {"app": APP, "video": VIDEO, "ip": VIEWER, "user_agent": PLAYER, "pageurl": PAGE, **more}
        status, _ = site.authorize(self.account, key=key, password=password, **question)
        assert status == 200

    def _attempts(self, site: Connection) -> None:
        # One of them takes the only use.
        for _ in range(ACCEPTED - 2):
            self._asks(site)
        for _ in range(1 + EXCEEDED):
            self._asks(site, key="used-up")
        for _ in range(WRONG):
            self._asks(site, password=WRONG_PASS)
        for _ in range(1 + REPEATED):
            self._asks(site, attempt_id="0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01")

    def _bad_input(self, site: Connection) -> None:
        for _ in range(NO_VIDEO):
            assert site.authorize(self.account, key=KEY, password=PASS, video=None)[0] == 400
        for _ in range(NO_TOKEN):
            assert site.request("POST", "/v1/authorize", b"{}", {"Authorization": "Bearer s3kret-token"})[0] == 401
        for _ in range(WRONG_SIGNATURE):
            text = signed_text(self.account, "sevu.errorcount")
            assert site.post_text(text.replace('"signature":"', '"signature":"s3kret'))["code"] == 3
        for _ in range(NO_PATH):
            assert site.request("GET", PATH)[0] == 404

    def _sessions(self, site: Connection) -> None:
        for n in range(STARTED):
            assert self._watches(site, f"{n}/index.m3u8") == 200
        for n in range(FOLLOWED):
            assert self._watches(site, f"0/segment{n}.ts") == 200
        for n in range(STRANGERS):
            assert self._watches(site, f"0/segment{n}.ts", ticket=False) == 403

    def _watches(self, site: Connection, file: str, *, ticket: bool = True) -> int:
        path = f"/{APP}/{VIDEO}{file}"
        query = f"?key={quote(KEY)}&pass={quote(PASS)}" if ticket else ""
        headers = {
            "Authorization": f"Bearer {self.watched['token']}",
            "X-Original-URI": path + query,
            "X-Original-Path": path,
            "X-Original-Method": "GET",
            "X-Real-IP": VIEWER,
            "User-Agent": PLAYER,
        }
        return site.request("GET", "/v1/edges/nginx", headers=headers)[0]

    def _searches(self, site: Connection) -> None:
        for _ in range(COUNTED):
            site.count(self.account, key=KEY)
        for _ in range(GROUPED):
            site.count(self.account, group_by="reason")
        for _ in range(LISTED):
            assert site.call(self.account, "sevu.errorlog", video=VIDEO)["status"] == "success"

    def _shipped(self) -> Scraped:
        deadline = time.monotonic() + _WAIT_S_MAX
        while (seen := self.scraped()).of("usher_pending_attempts") or not seen.of("usher_ready"):
            assert time.monotonic() < deadline, "nothing is shipped"
            time.sleep(0.05)
        return seen

    def scraped(self) -> Scraped:
        return scraped(self.metrics)

    @property
    def secrets(self) -> list[str]:
        """What must show nowhere."""
        return [KEY, PASS, WRONG_PASS, VIEWER, PLAYER, VIDEO, APP, PAGE, PATH, "s3kret", self.account.api_key,
                self.account.secret, self.account.edge_token, self.watched["token"]]  # fmt: skip
