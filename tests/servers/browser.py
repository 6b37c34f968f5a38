"""A real Chromium with a publisher's page in it, whose player plays what it is told."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from playwright.sync_api import BrowserContext, Error, Page, Playwright, Request, Response

from tests.servers.nginx import running_nginx
from tests.servers.ports import free_port
from tests.servers.tls import Certificate

PAGE = Path(__file__).parent / "page"
PLAYERS = Path(sys.prefix) / "players"
# Faster no browser plays.
RATE_MAX = 16
_MEDIA, _PLAYLISTS = (".ts", ".m4s", ".mp4"), (".m3u8", ".mpd")
# For what a page is waited for at most, and how often it is looked at.
_WAIT_MS_MAX = 15_000
_LOOK_MS = 50


class Cookies(StrEnum):
    """What a browser makes of cookies: takes all, none of another site's (Debian's default), or none at all."""

    ALL = "all"
    NO_THIRD_PARTY = "no third party's"
    NONE = "none"


# As Chromium keeps them among a profile's preferences.
_COOKIES: dict[Cookies, dict[str, Any]] = {
    Cookies.ALL: {"cookie_controls_mode": 0, "block_third_party_cookies": False},
    Cookies.NO_THIRD_PARTY: {"cookie_controls_mode": 1, "block_third_party_cookies": True},
    Cookies.NONE: {"default_content_setting_values": {"cookies": 2}},
}


class Seen(msgspec.Struct):
    """What the page shows. `played` and `buffered` are ranges in seconds; `colours` is how many the picture has."""

    failure: str
    said: str
    time_s: float
    is_waiting: bool
    frames: int
    colours: int
    played: list[tuple[float, float]]
    buffered: list[tuple[float, float]]


class Answered(NamedTuple):
    """An answer that the page has got, to what it asked at `asked_s` (unix time)."""

    status: int
    path: str
    asked_s: float


class Viewer:
    """A tab with the publisher's page in it. `answers` are all that it has got, `lost` counts those that never came."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.answers: list[Answered] = []
        self.lost = 0
        page.on("response", self._note)
        page.on("requestfailed", self._lose)
        page.set_default_timeout(_WAIT_MS_MAX)
        page.goto(site)

    def _note(self, response: Response) -> None:
        asked_s = response.request.timing["startTime"] / 1000
        self.answers.append(Answered(response.status, _path(response), asked_s))

    def _lose(self, request: Request) -> None:
        self.lost += 1

    def play(
        self,
        player: str,
        url: str,
        *,
        with_cookies: bool = False,
        headers: dict[str, str] | None = None,
        rate: float = RATE_MAX,
        retries: int = 4,
    ) -> None:
        """Begin to play with `hls`, `dash` or `none`, `rate` seconds a second; only hls.js sends `headers`.

        A player gives up a segment after so many `retries`, about seven a second.
        """
        how = {"withCredentials": with_cookies, "headers": headers or {}, "retries": retries}
        self.page.evaluate("play", {"player": player, "url": url, "rate": rate, **how})

    def look(self) -> Seen:
        """What the page shows now."""
        return msgspec.convert(self.page.evaluate("look()"), Seen)

    def wait_for(self, condition: str) -> Seen:
        """What is seen once `condition` holds, in which `now` is what is seen; AssertionError if it never does."""
        try:
            self.page.wait_for_function(f"(now => {condition})(look())", polling=_LOOK_MS)
        except Error as error:
            raise AssertionError(f"never {condition}: {self.look()}\n{self.answers[-5:]}") from error
        return self.look()

    def await_loss(self) -> None:
        """Return once an answer that was due has not come."""
        if not self.lost:
            self.page.wait_for_event("requestfailed")

    def await_playlist(self) -> None:
        """Return once the page has got another playlist or manifest."""
        self.page.wait_for_event("response", lambda response: _path(response).endswith(_PLAYLISTS))

    def reload(self) -> None:
        """Load the page again; what it was answered before is forgotten."""
        self.page.reload()
        self.answers.clear()

    def close(self) -> None:
        """Close the tab, and forget all cookies of its browser."""
        self.page.close()
        self.page.context.clear_cookies()

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Without a network, for as long as the context lasts."""
        self.page.context.set_offline(True)
        try:
            yield
        finally:
            self.page.context.set_offline(False)

    def run(self, script: str) -> Any:
        """What a script of the page's own returns, once it is done."""
        return self.page.evaluate(script)

    def segments(self, *, since_s: float = 0) -> list[int]:
        """The statuses of answers that are, or would have been, media, to what was asked from then on."""
        return [each.status for each in self.answers if each.path.endswith(_MEDIA) and each.asked_s >= since_s]

    def playlists(self) -> list[int]:
        """The statuses of answers that are, or would have been, playlists and manifests."""
        return [each.status for each in self.answers if each.path.endswith(_PLAYLISTS)]


def _path(response: Response) -> str:
    return urllib.parse.urlsplit(response.url).path


@contextmanager
def chromium(
    playwright: Playwright, profile: Path, certificate: Certificate | None, *, cookies: Cookies
) -> Iterator[BrowserContext]:
    """A browser for which every host of `.test` is this machine, and there is no other; it trusts `certificate`.

    `profile` is a new folder for what it keeps.
    """
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed; `make packages` installs it"
    trusted = [f"--ignore-certificate-errors-spki-list={certificate.fingerprint}"] if certificate else []
    (profile / "Default").mkdir(parents=True)
    (profile / "Default" / "Preferences").write_text(json.dumps({"profile": _COOKIES[cookies]}))
    hosts = "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND"
    browser = playwright.chromium.launch_persistent_context(
        profile,
        executable_path=program,
        headless=True,
        # Small: a machine without a graphics card draws each point itself.
        viewport={"width": 320, "height": 180},
        # Root has no sandbox, and what is looked at here is our own.
        chromium_sandbox=False,
        args=[hosts, "--autoplay-policy=no-user-gesture-required", *trusted],
    )
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def publisher(folder: Path, certificate: Certificate) -> Iterator[int]:
    """The publisher's site, under every name: an nginx with the page and its players. Yields its port."""
    for player in ("hls.js", "dash.js"):
        assert (PLAYERS / player).exists(), f"{player} is not there; `make players` fetches it"
    port = free_port()
    http = f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate "{certificate.chain}";
        ssl_certificate_key "{certificate.key}";
        root "{PAGE}";
        location /players/ {{ alias "{PLAYERS}/"; }}
        # Sets two cookies, for every page, and says which it was sent.
        location = /cookies {{
            add_header Access-Control-Allow-Origin $http_origin;
            add_header Access-Control-Allow-Credentials true;
            add_header Set-Cookie "plain=1; Secure; SameSite=None";
            add_header Set-Cookie "kept=1; Secure; SameSite=None; Partitioned";
            return 200 "$http_cookie";
        }}
    }}"""
    with running_nginx(folder, http, [port]):
        yield port
