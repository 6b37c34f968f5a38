"""hls.js and dash.js in a real Chromium, over TLS, with the page on one host and the media on another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, sync_playwright

from tests.nodes import Node
from tests.servers.browser import Cookies, Seen, Viewer, chromium, publisher
from tests.servers.guarded import DASH, FILM, LIVE, SECONDS, Site, guarded
from tests.servers.media import FRAMES_A_SECOND, make_hls
from tests.servers.tls import Certificate, make_certificate

pytestmark = pytest.mark.client

FRAMES = SECONDS * FRAMES_A_SECOND
PLAYERS = pytest.mark.parametrize(("player", "file"), [("hls", LIVE), ("dash", DASH)])
Open = Callable[..., Viewer]
Way = Callable[[Site, dict[str, Any], str], str]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "site.test", "*.site.test", "media.test", "other.test")


@pytest.fixture(scope="module")
def port(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the publisher's pages are."""
    with publisher(tmp_path_factory.mktemp("publisher"), certificate) as opened:
        yield opened


@pytest.fixture(scope="module")
def across(
    node: Node, media: Path, certificate: Certificate, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The media at media.test, for pages of site.test."""
    options = ("cookie_same_site=None", f"cors_origin=https://site.test:{port}")
    folder = tmp_path_factory.mktemp("across")
    with guarded(node, media, folder, *options, certificate=certificate, host="media.test") as opened:
        yield opened


@pytest.fixture(scope="module")
def beside(
    node: Node, media: Path, certificate: Certificate, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The media at media.site.test, with a cookie as it is by default, for pages of www.site.test and of other.test."""
    options = [f"cors_origin=https://{host}.test:{port}" for host in ("www.site", "other")]
    folder = tmp_path_factory.mktemp("beside")
    with guarded(node, media, folder, *options, certificate=certificate, host="media.site.test") as opened:
        yield opened


@pytest.fixture(scope="module")
def browsers(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a tab with a page, in a browser that treats cookies as it is told and has none left from before."""
    opened = {}
    with sync_playwright() as playwright, ExitStack() as stack:

        def open_page(url: str, cookies: Cookies, *, trusted: Certificate | None = certificate) -> Viewer:
            if (cookies, trusted) not in opened:
                profile = tmp_path_factory.mktemp("profile")
                browser = chromium(playwright, profile, trusted, cookies=cookies)
                opened[cookies, trusted] = stack.enter_context(browser)
            context = opened[cookies, trusted]
            return Viewer(context.new_page(), url)

        yield open_page


@pytest.fixture
def open_page(browsers: Open, port: int) -> Iterator[Open]:
    """Opens the page of a host; closes all that were opened, and forgets their cookies."""
    viewers: list[Viewer] = []

    def opened(cookies: Cookies = Cookies.NO_THIRD_PARTY, *, host: str = "site.test") -> Viewer:
        viewers.append(browsers(f"https://{host}:{port}/", cookies))
        return viewers[-1]

    yield opened
    for viewer in viewers:
        viewer.close()


def replace(playlist: Path, text: str) -> None:
    """At once, as packagers do: nobody reads a half."""
    playlist.with_suffix(".new").write_text(text)
    playlist.with_suffix(".new").rename(playlist)


def to_the_end(viewer: Viewer) -> Seen:
    # Not until `ended`, which dash.js at times forgets to say.
    seen = viewer.wait_for(f"now.time_s > {SECONDS - 0.05} || now.failure")
    assert seen.failure == ""
    return seen


def assert_plays_on(viewer: Viewer, from_s: float = 0) -> None:
    seen = viewer.wait_for(f"now.time_s > {from_s + 3} || now.failure")
    assert seen.failure == ""
    assert seen.frames > 0


def assert_whole(seen: Seen) -> None:
    """It was shown from the first moment to the last, with every frame, and there is a picture."""
    # Some are shown twice, and none before the first sound, where a player has begun anew.
    assert seen.frames >= FRAMES
    # A player that stalls on a busy machine jumps a moment on; no segment is as short.
    assert sum(later - earlier for (_, earlier), (later, _) in pairwise(seen.played)) < 0.5
    assert seen.played[0][0] < 0.5
    assert round(seen.played[-1][1]) == SECONDS
    assert seen.colours > 20


def assert_nothing_seen(viewer: Viewer, failure: str) -> None:
    seen = viewer.wait_for("now.failure")
    assert (seen.failure, seen.said) == (failure, f"Cannot play: {failure}")
    assert (seen.frames, seen.colours, seen.buffered, seen.time_s) == (0, 1, [], 0)
    assert set(viewer.segments()) <= {403}


# --- what the other tests rest on -----------------------------------------------------------------------------------


def test_a_browser_that_does_not_know_the_authority_shows_nothing(browsers: Open, port: int) -> None:
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        browsers(f"https://site.test:{port}/", Cookies.ALL, trusted=None)


@pytest.mark.parametrize(
    ("cookies", "elsewhere", "beside"),
    [
        (Cookies.ALL, {"plain", "kept"}, {"plain", "kept"}),
        (Cookies.NO_THIRD_PARTY, {"kept"}, {"plain", "kept"}),
        (Cookies.NONE, set(), set()),
    ],
)
def test_a_browser_takes_the_cookies_that_it_is_told_to(
    cookies: Cookies, elsewhere: set[str], beside: set[str], open_page: Open, port: int
) -> None:
    viewer = open_page(cookies)
    for host, sent in (("other.test", elsewhere), ("media.site.test", beside)):
        ask = f"fetch('https://{host}:{port}/cookies', {{credentials: 'include'}}).then(answer => answer.text())"
        assert viewer.run(ask) == ""
        assert {cookie.partition("=")[0] for cookie in viewer.run(ask).split("; ") if cookie} == sent


# --- which way plays ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("player", "file"),
    [("hls", LIVE), ("dash", DASH), ("hls", "live/fmp4/index.m3u8"), ("hls", "live/ranges/index.m3u8")],
)
def test_a_ticket_in_the_path_needs_no_cookie(player: str, file: str, across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page(Cookies.NONE)
    viewer.play(player, across.in_path(ticket, file))

    assert_whole(to_the_end(viewer))
    assert across.counts(ticket) == (1, 0)
    assert set(viewer.segments()) == {206 if "ranges" in file else 200}


@pytest.mark.parametrize(
    ("player", "file", "cookies"),
    [("hls", LIVE, Cookies.ALL), ("hls", LIVE, Cookies.NO_THIRD_PARTY), ("dash", DASH, Cookies.NO_THIRD_PARTY)],
)
def test_a_ticket_in_the_query_plays_where_the_player_sends_the_cookie(
    player: str, file: str, cookies: Cookies, across: Site, open_page: Open
) -> None:
    """Also where third parties' cookies are blocked: this one is kept for the page's site alone."""
    ticket, viewer = across.ticket(), open_page(cookies)
    viewer.play(player, across.in_query(ticket, file), with_cookies=True)

    assert_whole(to_the_end(viewer))
    assert across.counts(ticket) == (1, 0)


@pytest.mark.parametrize(
    ("player", "file", "cookies", "with_cookies"),
    [("hls", LIVE, Cookies.NONE, True), ("dash", DASH, Cookies.NONE, True), ("hls", LIVE, Cookies.ALL, False)],
    ids=["hls, blocked", "dash, blocked", "hls, not sent"],
)
def test_without_the_cookie_a_ticket_in_the_query_shows_nothing_and_is_one_view(
    player: str, file: str, cookies: Cookies, with_cookies: bool, across: Site, open_page: Open
) -> None:
    ticket, viewer = across.ticket(), open_page(cookies)
    viewer.play(player, across.in_query(ticket, file), with_cookies=with_cookies)

    assert_nothing_seen(viewer, "403 No Session")
    assert viewer.segments() != []
    # The use is taken, by the playlist. It is not lost: the other way goes on with it.
    assert across.counts(ticket) == (1, 0)
    viewer.reload()
    viewer.play(player, across.in_path(ticket, file))
    assert_plays_on(viewer)
    assert across.counts(ticket) == (1, 0)


def test_media_beside_the_page_needs_no_cookie_of_a_third_party(beside: Site, open_page: Open) -> None:
    ticket, viewer = beside.ticket(), open_page(Cookies.NO_THIRD_PARTY, host="www.site.test")
    viewer.play("hls", beside.in_query(ticket, LIVE), with_cookies=True)

    assert_plays_on(viewer)
    assert beside.counts(ticket) == (1, 0)


def test_a_cookie_as_it_is_by_default_does_not_cross_sites(beside: Site, open_page: Open) -> None:
    ticket, viewer = beside.ticket(), open_page(Cookies.ALL, host="other.test")
    viewer.play("hls", beside.in_query(ticket, LIVE), with_cookies=True)

    assert_nothing_seen(viewer, "403 No Session")
    assert beside.counts(ticket) == (1, 0)


@pytest.mark.parametrize(
    ("file", "way", "cookies"),
    [
        (FILM, Site.in_path, Cookies.NONE),
        (FILM, Site.in_query, Cookies.NONE),
        (LIVE, Site.in_path, Cookies.NONE),
        (LIVE, Site.in_query, Cookies.NO_THIRD_PARTY),
    ],
)
def test_a_browser_plays_by_itself_and_in_ranges(
    file: str, way: Way, cookies: Cookies, across: Site, open_page: Open
) -> None:
    ticket, viewer = across.ticket(), open_page(cookies)
    viewer.play("none", way(across, ticket, file))

    assert_plays_on(viewer)
    viewer.run(f"video.currentTime = {SECONDS - 2}")
    to_the_end(viewer)
    assert set(viewer.segments()) == {206}
    assert across.counts(ticket) == (1, 0)


def test_a_live_stream_whose_playlist_is_fetched_again_and_again_is_one_view(
    across: Site, media: Path, open_page: Open
) -> None:
    playlist = make_hls(media / "live" / "growing", seconds=8, segment_s=1)
    head, fifth, rest = playlist.read_text().replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "").partition("segment004.ts\n")
    replace(playlist, head + fifth)
    ticket, viewer = across.ticket(), open_page()
    viewer.play("hls", across.in_path(ticket, "live/growing/index.m3u8"), rate=4)
    viewer.wait_for("now.frames")
    for _ in range(2):
        viewer.await_playlist()
    replace(playlist, head + fifth + rest)
    seen = viewer.wait_for("now.time_s > 7.9 || now.failure")

    assert seen.failure == ""
    assert across.counts(ticket) == (1, 0)


# --- who sees nothing -----------------------------------------------------------------------------------------------


@PLAYERS
@pytest.mark.parametrize("way", [Site.in_path, Site.in_query])
def test_a_wrong_ticket_shows_nothing_and_each_try_is_a_refused_attempt(
    player: str, file: str, way: Way, across: Site, open_page: Open
) -> None:
    ticket, viewer = across.ticket(), open_page(Cookies.ALL)
    viewer.play(player, way(across, {**ticket, "pass": "wrong"}, file), with_cookies=way is Site.in_query)

    assert_nothing_seen(viewer, "403 Invalid Auth Token")
    assert (set(viewer.playlists()), viewer.segments()) == ({403}, [])
    assert across.counts(ticket) == (0, len(viewer.playlists()))


def test_a_page_that_the_edge_does_not_name_shows_nothing(across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page(Cookies.ALL, host="other.test")
    viewer.play("hls", across.in_path(ticket, LIVE))

    assert_nothing_seen(viewer, "no answer")


# --- in mid-play ----------------------------------------------------------------------------------------------------


@PLAYERS
def test_a_revoked_ticket_gets_no_segment_more(player: str, file: str, across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page()
    viewer.play(player, across.in_path(ticket, file), rate=8)
    viewer.wait_for("now.frames && now.time_s > 1")
    across.revoke(ticket)
    revoked_s = time.time()
    seen = viewer.wait_for("now.failure")

    assert seen.failure == "403 No Session"
    assert 200 in viewer.segments()
    assert set(viewer.segments(since_s=revoked_s)) == {403}
    # Nor does the page once it is loaded again: what the browser has kept of the media, it does not show unasked.
    viewer.reload()
    viewer.play(player, across.in_path(ticket, file))
    assert_nothing_seen(viewer, "403 Ticket Revoked")
    assert across.counts(ticket) == (1, len(viewer.playlists()))


@PLAYERS
def test_jumps_back_and_forth_are_one_view(player: str, file: str, across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page()
    viewer.play(player, across.in_path(ticket, file))
    viewer.wait_for("now.time_s > 9")
    viewer.run("video.currentTime = 1")
    viewer.wait_for("now.time_s > 2 && now.time_s < 8")
    viewer.run("video.currentTime = 17")
    to_the_end(viewer)

    assert across.counts(ticket) == (1, 0)


@pytest.mark.parametrize(
    ("player", "file", "way"), [("hls", LIVE, Site.in_path), ("dash", DASH, Site.in_path), ("hls", LIVE, Site.in_query)]
)
def test_a_lost_network_is_one_view(player: str, file: str, way: Way, across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page()
    viewer.play(player, way(across, ticket, file), with_cookies=way is Site.in_query, rate=6, retries=60)
    viewer.wait_for("now.time_s > 2")
    with viewer.offline():
        viewer.await_loss()
        stood_s = viewer.wait_for("now.is_waiting").time_s

    assert stood_s < SECONDS - 4
    assert_plays_on(viewer, from_s=stood_s)
    assert across.counts(ticket) == (1, 0)


def test_a_page_loaded_again_and_a_second_tab_are_one_view(across: Site, open_page: Open) -> None:
    ticket, first, second = across.ticket(), open_page(), open_page()
    for viewer in (first, second):
        viewer.play("hls", across.in_path(ticket, LIVE))
    assert_plays_on(first)
    first.reload()
    first.play("hls", across.in_path(ticket, LIVE))
    for viewer in (first, second):
        assert_plays_on(viewer)

    assert across.counts(ticket) == (1, 0)


def test_a_player_with_headers_of_its_own_asks_beforehand_and_it_costs_nothing(across: Site, open_page: Open) -> None:
    ticket, viewer = across.ticket(), open_page()
    viewer.play("hls", across.in_path(ticket, LIVE), headers={"X-Player": "ours"})

    assert_plays_on(viewer)
    assert across.counts(ticket) == (1, 0)
    log = (across.server.folder / "usher.log").read_text()
    assert "OPTIONS /live/cam1/segment000.ts 204 " in log
