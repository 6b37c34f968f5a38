"""nginx in front of HLS, DASH and films: who has a ticket watches, and a view is one attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.nodes import Node, usher_here
from tests.servers.guarded import DASH, FILM, LIVE, SECONDS, Site, cookie_of, guarded
from tests.servers.media import FRAMES_A_SECOND, frames_of, playing
from tests.servers.ports import free_port

pytestmark = pytest.mark.client
FRAMES = SECONDS * FRAMES_A_SECOND


@pytest.mark.parametrize("file", [LIVE, "live/fmp4/index.m3u8", DASH, FILM])
def test_a_ticket_for_one_use_plays_to_the_end_and_is_one_attempt(file: str, site: Site) -> None:
    ticket = site.ticket()
    played = frames_of(site.in_path(ticket, file))

    assert (played.frames, played.ended_well) == (FRAMES, True), played.stderr
    assert site.counts(ticket) == (1, 0)


def test_without_a_ticket_or_with_a_wrong_one_nobody_sees_a_byte(site: Site) -> None:
    ticket = site.ticket()
    wrong = {**ticket, "pass": "wrong"}
    for url in (f"{site.url}/{LIVE}", site.in_path(wrong, LIVE), site.in_query(wrong, LIVE)):
        answer = site.get(url)
        assert (answer.status, b"EXTM3U" in answer.body) == (403, False)
        assert frames_of(url).frames == 0
    for file in ("live/cam1/segment000.ts", "vod/film.mp4"):
        assert site.get(site.in_path(wrong, file)).status == 403
    assert site.counts(ticket)[0] == 0
    assert site.get(site.in_path(ticket, LIVE)).status == 200


# The cookie


def test_a_ticket_in_the_query_once_then_the_cookie(site: Site) -> None:
    ticket = site.ticket()
    first = site.get(site.in_query(ticket, LIVE))
    cookie = cookie_of(first)

    assert first.status == 200
    assert "HttpOnly; SameSite=Lax" in first.headers["set-cookie"]
    assert "Path=/live/cam1/;" in first.headers["set-cookie"]
    for file in ("live/cam1/segment000.ts", LIVE, "live/cam1/low/index.m3u8", "live/cam1/low/segment003.ts"):
        answer = site.get(file, Cookie=f"theme=dark; {cookie}")
        assert (answer.status, answer.headers.get("set-cookie")) == (200, None), file
    assert site.counts(ticket) == (1, 0)


def test_a_player_that_keeps_cookies_plays_with_the_ticket_in_the_query(site: Site) -> None:
    ticket = site.ticket()
    played = frames_of(site.in_query(ticket, LIVE))

    assert (played.frames, played.ended_well) == (FRAMES, True), played.stderr
    assert site.counts(ticket) == (1, 0)


def test_a_cookie_opens_its_own_video_only_and_no_forged_one_opens_any(site: Site) -> None:
    ticket = site.ticket()
    cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))
    name, _, value = cookie.partition("=")
    session, _, signature = value.partition(".")
    other = "1" if signature[0] != "1" else "2"

    assert site.get("live/cam10/segment000.ts", Cookie=cookie).status == 403
    for forged in (f"{session}.{other}{signature[1:]}", session, f"{session}.", f"x.{signature}", ""):
        assert site.get("live/cam1/segment000.ts", Cookie=f"{name}={forged}").status == 403, forged
    # Another playlist is a start, even with the cookie: without a ticket a refused one.
    assert site.get("live/cam10/index.m3u8", Cookie=cookie).headers["x-usher-reason"] == "Missing Auth Token"
    assert site.get("live/cam1/segment000.ts", Cookie=cookie).status == 200


def test_a_new_key_signs_new_cookies_and_logs_nobody_out(site: Site) -> None:
    old, new = site.ticket(), site.ticket()
    before = cookie_of(site.get(site.in_query(old, LIVE)))
    assert usher_here("session", "rotate-key", "--data", str(site.node.data)).returncode == 0
    after = cookie_of(site.get(site.in_query(new, LIVE)))

    for cookie in (before, after):
        assert site.get("live/cam1/segment000.ts", Cookie=cookie).status == 200


# What is one use, and what is none


def test_parallel_first_requests_are_one_use(site: Site) -> None:
    ticket = site.ticket()
    with ThreadPoolExecutor(12) as players:
        answers = list(players.map(lambda _: site.get(site.in_path(ticket, LIVE)), range(24)))

    assert {answer.status for answer in answers} == {200}
    assert site.counts(ticket) == (1, 0)


def test_a_second_viewer_of_a_one_use_ticket_is_refused(site: Site) -> None:
    ticket = site.ticket()
    assert site.get(site.in_path(ticket, LIVE)).status == 200
    for answer in (
        site.get(site.in_path(ticket, LIVE), source="127.0.0.9"),
        site.get(site.in_path(ticket, LIVE), User_Agent="another player"),
        site.get(site.in_path(ticket, "live/cam10/index.m3u8")),
    ):
        assert (answer.status, answer.headers["x-usher-reason"]) == (403, "Maximum uses exceeded")
    assert site.counts(ticket) == (1, 3)


def test_a_preflight_a_head_and_a_segment_out_of_turn_are_no_attempts(site: Site) -> None:
    ticket = site.ticket()
    url = site.in_path(ticket, LIVE)
    wrong = site.in_path({**ticket, "pass": "wrong"}, LIVE)

    assert site.get(url, method="HEAD").status == 200
    assert site.get(wrong, method="HEAD").status == 403
    assert site.get(url, method="OPTIONS").status == 405
    answer = site.get(site.in_path(ticket, "live/cam1/segment000.ts"))
    assert (answer.status, answer.headers["x-usher-reason"]) == (403, "No Session")
    assert site.counts(ticket) == (0, 0)
    assert site.get(url).status == 200
    assert site.get(site.in_path(ticket, "live/cam1/segment000.ts"), Range="bytes=0-9").status == 206
    assert site.counts(ticket) == (1, 0)


def test_a_conditional_request_is_answered_as_the_file_server_would(site: Site) -> None:
    ticket = site.ticket()
    first = site.get(site.in_path(ticket, LIVE))
    again = site.get(site.in_path(ticket, LIVE), If_None_Match=first.headers["etag"])

    assert (first.status, again.status) == (200, 304)


# Who may not


def test_a_ticket_for_one_video_opens_no_other(site: Site) -> None:
    ticket = site.ticket(video="cam1", uses=0)
    assert site.get(site.in_path(ticket, LIVE)).status == 200
    for file in ("live/cam10/index.m3u8", "vod/film.mp4"):
        answer = site.get(site.in_path(ticket, file))
        assert (answer.status, answer.headers["x-usher-reason"]) == (403, "Invalid Video"), file
    for file in ("live/cam10/segment000.ts", "live/cam1x/segment000.ts"):
        assert site.get(site.in_path(ticket, file)).status == 403, file


@pytest.mark.parametrize(
    "path",
    [
        "live/cam1/../cam10/segment000.ts",
        "live/cam1/%2e%2e/cam10/segment000.ts",
        "live/cam1/..%2fcam10/segment000.ts",
        "live//cam1/..//cam10/segment000.ts",
        "live/cam1/segment000.ts/../../cam10/segment000.ts",
    ],
)
def test_no_spelling_of_a_path_opens_another_video(path: str, site: Site) -> None:
    ticket = site.ticket(video="cam1", uses=0)
    cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))

    assert site.get(path, Cookie=cookie).status == 403
    assert site.get(site.in_path(ticket, path)).status in (403, 404)


@pytest.mark.parametrize("header", ["X-Real-IP", "X-Original-Path", "X-Original-URI", "X-Forwarded-For"])
def test_a_forged_header_changes_nothing(header: str, site: Site) -> None:
    ticket = site.ticket(ip="192.0.2.1", uses=0)
    forged = {header: "192.0.2.1" if "IP" in header or "For" in header else "/live/cam1/index.m3u8"}
    assert site.get(site.in_path(ticket, LIVE), **forged).headers["x-usher-reason"] == "Invalid IP Address"
    injected = site.in_path(ticket, "live/cam1/x%0d%0aX-Real-IP:%20192.0.2.1%0d%0a/index.m3u8")
    assert site.get(injected).status in (400, 404)
    assert site.get(f"live/cam1/x%0d%0aX-Real-IP:%20192.0.2.1/index.m3u8?key={ticket['key']}").status == 400


# Ends


def test_a_revoked_ticket_ends_in_mid_play(site: Site) -> None:
    ticket = site.ticket()
    with playing(site.in_path(ticket, LIVE), realtime=True) as player:
        player.await_frames(FRAMES_A_SECOND)
        site.revoke(ticket)
        refused = site.get(site.in_path(ticket, "live/cam1/segment005.ts"))
    assert (refused.status, refused.headers["x-usher-reason"]) == (403, "No Session")
    answer = site.get(site.in_path(ticket, LIVE))
    assert (answer.status, answer.headers["x-usher-reason"]) == (403, "Ticket Revoked")


def test_a_session_is_no_season_ticket_for_a_forum(site: Site) -> None:
    ticket = site.ticket(uses=1)
    cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))
    answers = [site.get("live/cam1/segment000.ts", source=f"127.0.0.{n}", Cookie=cookie) for n in (2, 3, 4, 5)]

    assert [answer.status for answer in answers] == [200, 200, 403, 403]
    assert answers[2].headers["x-usher-reason"] == "Too many addresses"
    assert site.get("live/cam1/segment000.ts", Cookie=cookie).status == 200


def test_a_cookie_does_not_leave_the_tickets_address(site: Site) -> None:
    ticket = site.ticket(ip="auto")
    cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))

    moved = site.get("live/cam1/segment000.ts", source="127.0.0.2", Cookie=cookie)
    assert (moved.status, moved.headers["x-usher-reason"]) == (403, "Invalid IP Address")
    assert site.get("live/cam1/segment000.ts", Cookie=cookie).status == 200


# The node comes and goes


def test_a_film_goes_on_over_a_killed_node_and_is_still_one_view(media: Path, tmp_path: Path) -> None:
    port = free_port()
    node = Node(tmp_path / "data", "--log", "ledger", "--port", str(port)).start()
    try:
        with guarded(node, media, tmp_path / "nginx") as site:
            ticket = site.ticket()
            cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))
            assert site.get(site.in_path(ticket, "live/cam1/segment001.ts")).status == 200
            node.kill()
            down = site.get(site.in_path(ticket, "live/cam1/segment002.ts"))
            assert (down.status, down.headers["retry-after"]) == (503, "1")
            node.start()
            for answer in (
                site.get(site.in_path(ticket, "live/cam1/segment002.ts")),
                site.get(site.in_path(ticket, LIVE)),
                site.get("live/cam1/segment003.ts", Cookie=cookie),
            ):
                assert answer.status == 200
            assert site.counts(ticket) == (1, 0)
    finally:
        node.stop()


def closed_connections(url: str) -> int:
    """How many connections to the server at `url` have been closed lately: each leaves one behind that waits (06)."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(port in local + remote for _, local, remote, state, *_ in rows if state == "06")


def test_the_connection_to_the_node_is_kept(site: Site) -> None:
    ticket = site.ticket()
    before = closed_connections(site.node.url)
    asked = [site.get(site.in_path(ticket, LIVE)).status for _ in range(40)]

    assert set(asked) == {200}
    assert closed_connections(site.node.url) - before < 5


# What a second pair of eyes has found


def test_a_newer_ticket_opens_where_an_old_cookie_does_not(site: Site) -> None:
    old, new = site.ticket(ip="auto"), site.ticket()
    cookie = cookie_of(site.get(site.in_query(old, LIVE)))
    moved = site.get(site.in_query(new, LIVE), source="127.0.0.3", Cookie=cookie)

    assert moved.status == 200
    assert site.get("live/cam1/segment000.ts", source="127.0.0.3", Cookie=cookie_of(moved)).status == 200
    assert site.counts(new) == (1, 0)


def test_each_video_of_one_folder_has_its_cookie(site: Site) -> None:
    ticket = site.ticket(uses=0)
    first = cookie_of(site.get(site.in_query(ticket, FILM)))
    other = site.get(site.in_query(ticket, "vod/other.mp4"), Cookie=f"{first}; usher_lang=de")

    assert cookie_of(other).partition("=")[0] != first.partition("=")[0]
    assert site.get("vod/other.mp4", Cookie=f"{first}; {cookie_of(other)}").status == 200
    assert site.get("vod/other.mp4", Cookie=first).status == 403


def test_a_pass_is_in_no_log_when_things_go_wrong_either(site: Site) -> None:
    ticket = site.ticket(password="a-pass-for-errors", uses=0)
    assert site.get(site.in_path(ticket, LIVE)).status == 200
    assert site.get(site.in_path(ticket, "live/cam1/missing.ts")).status == 404
    for end in ("", "/"):
        assert site.get(f"t/{ticket['key']}/a-pass-for-errors{end}").status == 404
    written = [file.read_text() for file in site.server.folder.glob("*.log")]
    assert "a-pass-for-errors" not in "".join(written)


def test_a_location_of_somebodys_own_lets_nobody_in(node: Node, media: Path, tmp_path: Path) -> None:
    def changed(snippet: str) -> str:
        http = "proxy_cache_path cache keys_zone=all:1m; proxy_cache all; proxy_cache_valid any 1m;\n"
        own = 'location ~ "[.]ts$" { expires 1h; }\n    location = /_usher {'
        return http + "proxy_intercept_errors on;\n" + snippet.replace("location = /_usher {", own)

    with guarded(node, media, tmp_path / "nginx", name="own", changed=changed) as site:
        ticket = site.ticket(uses=0)
        assert site.get(site.in_query(ticket, LIVE)).status == 200
        assert site.get(site.in_path(ticket, LIVE)).status == 200
        assert site.get(site.in_path(ticket, "live/cam1/segment000.ts")).status == 200
        for file in (LIVE, "live/cam1/segment000.ts"):
            assert site.get(file, source="127.0.0.6").status == 403, file
