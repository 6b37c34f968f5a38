"""What every server that asks for each file must keep, in front of HLS: who has a ticket watches, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.servers.fronts import Front, posted
from tests.servers.guarded import LIVE, SECONDS, SECRET, Site, cookie_of
from tests.servers.media import FRAMES_A_SECOND, frames_of, playing
from tests.sevuclient import Account

pytestmark = pytest.mark.client
FRAMES = SECONDS * FRAMES_A_SECOND
SEGMENT = "live/cam1/segment000.ts"


@pytest.mark.parametrize("in_url", [Site.in_path, Site.in_query])
def test_a_ticket_for_one_use_plays_to_the_end_and_is_one_attempt(
    in_url: Callable[[Site, dict[str, Any], str], str], door: Site
) -> None:
    ticket = door.ticket()
    played = frames_of(in_url(door, ticket, LIVE))

    assert (played.frames, played.ended_well) == (FRAMES, True), played.stderr
    assert door.counts(ticket) == (1, 0)


def test_without_a_ticket_or_with_a_wrong_one_nobody_sees_a_byte(door: Site) -> None:
    ticket = door.ticket()
    wrong = {**ticket, "pass": "wrong"}
    for url in (f"{door.url}/{LIVE}", door.in_path(wrong, LIVE), door.in_query(wrong, LIVE)):
        answer = door.get(url)
        assert (answer.status, b"EXTM3U" in answer.body) == (403, False)
        assert answer.headers["x-usher-reason"]
        assert frames_of(url).frames == 0
    for url in (door.in_path(wrong, SEGMENT), door.in_path(ticket, SEGMENT), door.in_query(ticket, SEGMENT), SEGMENT):
        answer = door.get(url)
        assert (answer.status, len(answer.body) < 1000) == (403, True)
    assert door.counts(ticket)[0] == 0
    assert door.get(door.in_path(ticket, LIVE)).status == 200


def test_the_cookie_arrives_and_opens_its_own_video_only(door: Site) -> None:
    ticket = door.ticket()
    first = door.get(door.in_query(ticket, LIVE))
    cookie = cookie_of(first)

    assert "Path=/live/cam1/; Max-Age=21600; HttpOnly; SameSite=Lax" in first.headers["set-cookie"]
    for file in (SEGMENT, LIVE, "live/cam1/low/segment003.ts"):
        answer = door.get(file, Cookie=f"theme=dark; {cookie}")
        assert (answer.status, answer.headers.get("set-cookie")) == (200, None), file
    assert "private, no-cache" in first.headers["cache-control"]
    assert "private, no-cache" in door.get(door.in_path(ticket, SEGMENT)).headers["cache-control"]
    for file in ("live/cam10/segment000.ts", "live/cam10/index.m3u8"):
        assert door.get(file, Cookie=cookie).status == 403
    assert door.get(SEGMENT, Cookie=cookie[:-1]).status == 403
    assert door.counts(ticket) == (1, 0)


def test_a_revoked_ticket_ends_in_mid_play(door: Site) -> None:
    ticket = door.ticket()
    with playing(door.in_path(ticket, LIVE), realtime=True) as player:
        player.await_frames(FRAMES_A_SECOND)
        door.revoke(ticket)
        refused = door.get(door.in_path(ticket, "live/cam1/segment005.ts"))
    assert (refused.status, refused.headers["x-usher-reason"]) == (403, "No Session")
    answer = door.get(door.in_path(ticket, LIVE))
    assert (answer.status, answer.headers["x-usher-reason"]) == (403, "Ticket Revoked")


def test_what_viewers_send_beside_a_get_is_harmless(door: Site) -> None:
    ticket = door.ticket()
    url, segment = door.in_path(ticket, LIVE), door.in_path(ticket, SEGMENT)

    assert door.get(url, method="HEAD").status == 200
    assert door.get(door.in_path({**ticket, "pass": "wrong"}, LIVE), method="HEAD").status == 403
    preflight = door.get(url, method="OPTIONS")
    assert b"EXTM3U" not in preflight.body
    assert preflight.status not in (403, 503)
    assert door.counts(ticket) == (0, 0)
    first = door.get(url)
    assert first.status == 200
    assert door.get(url, If_None_Match=first.headers["etag"]).status == 304
    assert door.get(segment, Range="bytes=0-9").status == 206
    assert door.get(segment, Range="bytes=99999999-").status == 416
    odd = {"Expect": "100-continue", "If_Range": '"x"', "If_Modified_Since": "x", "Transfer_Encoding": "chunked"}
    for name, value in odd.items():
        assert door.raw(segment.removeprefix(door.url), f"{name.replace('_', '-')}: {value}", "", "0").startswith(
            (b"HTTP/1.1 200", b"HTTP/1.1 100")
        ), name
    # Some take no upgrade at all, or not this one.
    assert door.get(segment, Upgrade="websocket", Connection="Upgrade").status in (200, 400, 403)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert door.get(segment, method=method, Content_Length="0").status in (403, 404, 405, 501), method
    assert door.counts(ticket) == (1, 0)


def test_parallel_first_requests_are_one_use(door: Site) -> None:
    ticket = door.ticket()
    with ThreadPoolExecutor(12) as players:
        answers = list(players.map(lambda _: door.get(door.in_path(ticket, LIVE)), range(48)))

    assert {answer.status for answer in answers} == {200}
    assert door.counts(ticket) == (1, 0)


# Who may not


def test_a_ticket_for_one_video_opens_no_other(door: Site) -> None:
    ticket = door.ticket(video="cam1", uses=0)
    assert door.get(door.in_path(ticket, LIVE)).status == 200
    for file in ("live/cam10/index.m3u8", "vod/film.mp4"):
        answer = door.get(door.in_path(ticket, file))
        assert (answer.status, answer.headers["x-usher-reason"]) == (403, "Invalid Video"), file
    assert door.get(door.in_path(ticket, "live/cam10/segment000.ts")).status == 403


# Behind a folder, which a ticket may be for, and before it.
UGLY = [
    "live/cam1/../secret/segment000.ts",
    "live/cam1/%2e%2e/secret/segment000.ts",
    "live/cam1/.%2E/secret/segment000.ts",
    "live/cam1/..%2fsecret/segment000.ts",
    "live/cam1%2f..%2Fsecret/segment000.ts",
    "live/cam1/%2e%2e%2fsecret/segment000.ts",
    "live%2fsecret%2fsegment000.ts",
    "live/cam1/..%5csecret/segment000.ts",
    "live/cam1/..\\secret\\segment000.ts",
    "live//cam1/..//secret/segment000.ts",
    "live/cam1//../secret/segment000.ts",
    "live/cam1/..;/secret/segment000.ts",
    "live/cam1/..;a=b/secret/segment000.ts",
    "live/cam1/%252e%252e/secret/segment000.ts",
    "live/cam1/..%252fsecret/segment000.ts",
    "live/cam1/segment000.ts/../../secret/segment000.ts",
    "live/./cam1/./../secret/segment000.ts",
    "live/cam1/%00/../../secret/segment000.ts",
    "live/secret/segment000.ts%00/live/cam1/segment000.ts",
    "live/cam1/%0d%0aX-Real-IP:%20192.0.2.1/../../secret/segment000.ts",
    "live/cam1/%c0%ae%c0%ae/secret/segment000.ts",
    "live/cam1/%zz/../../secret/segment000.ts",
    "live/secret/segment000.ts?/live/cam1/segment000.ts",
    "live/secret/segment000.ts?x=/../../cam1/segment000.ts?key=a",
    "live/secret/segment000.ts#/live/cam1/segment000.ts",
    "live/secret/segment000.ts%3f/live/cam1/segment000.ts",
    "live/secret/segment000.ts%23/live/cam1/segment000.ts",
    "live/secret/segment000.ts;/live/cam1/segment000.ts",
    "t/x/y/live/secret/segment000.ts",
    "live/cam1/../../t/x/y/live/secret/segment000.ts",
    "/live/secret/segment000.ts",
    "../live/secret/segment000.ts",
    "%2e%2e/live/secret/segment000.ts",
    "live/secret/index.m3u8",
    "live/secret/index.m3u8?/live/cam1/index.m3u8",
]
# How else a ticket could stand before a file; K and P are its key and pass.
UGLY_TICKETS = [
    "//t/K/P/live/secret/segment000.ts",
    "/./t/K/P/live/secret/segment000.ts",
    "/%74/K/P/live/secret/segment000.ts",
    "/t%2fK/P/live/secret/segment000.ts",
    "/t/K%2fP/live/secret/segment000.ts",
    "/t/K%2fP/live/cam1/live/secret/segment000.ts",
    "/t/K/P%2flive/secret/segment000.ts",
    "/t/K/P%2f../live/secret/segment000.ts",
    "/t//K/P/live/secret/segment000.ts",
    "/t/K//P/live/secret/segment000.ts",
    "/t/x/../K/P/live/secret/segment000.ts",
    "/t/K/P/..%2f..%2f../live/secret/segment000.ts",
    "/t/K?/P/live/secret/segment000.ts",
    "/t/K/P?/live/secret/segment000.ts",
    "/t/K%3f/P/live/secret/segment000.ts",
    "/t/K/P%3f/live/secret/segment000.ts",
    "/t/K/P/t/K/P/live/secret/segment000.ts",
    "/live/cam1/t/K/P/live/secret/segment000.ts",
    "http://x/t/K/P/live/secret/segment000.ts",
    "http://x/t/K/P/live/cam1/../secret/segment000.ts",
    "http:/t/K/P/live/secret/segment000.ts",
    "*/t/K/P/live/secret/segment000.ts",
    "t/K/P/live/secret/segment000.ts",
]


def test_no_spelling_of_a_url_shows_a_byte_of_another_video(door: Site) -> None:
    own, other = door.ticket(video="cam1", uses=0, password="plain"), door.ticket(video="secret", uses=0)
    cookie = f"Cookie: {cookie_of(door.get(door.in_query(own, LIVE)))}"
    assert door.get(door.in_path(own, LIVE)).status == 200
    ticket, query = f"/t/{own['key']}/plain", f"key={own['key']}&pass=plain"
    asked = [(f"{ticket}/{ugly}", cookie) for ugly in UGLY]
    asked += [(f"/{ugly}{'&' if '?' in ugly else '?'}{query}", cookie) for ugly in UGLY]
    asked += [(ugly.replace("K/", f"{own['key']}/").replace("/K", f"/{own['key']}").replace("P", "plain"), cookie)
              for ugly in UGLY_TICKETS]  # fmt: skip
    for target, sent in asked:
        answer = door.raw(target, sent)
        assert SECRET not in answer, target
        assert answer[:12] != b"HTTP/1.1 503", target

    assert SECRET in door.raw(f"/t/{other['key']}/{other['pass'].replace('|', '%7C')}/live/secret/index.m3u8")
    assert door.count(key=own["key"], video="secret", success=1) == 0


def test_a_name_that_is_encoded_is_read_as_the_server_reads_it(door: Site) -> None:
    ticket = door.ticket(video="100% why? #1.mp4", uses=0)
    assert door.get(door.in_path(ticket, "vod/100%25%20why%3f%20%231.mp4")).body == SECRET
    ticket = door.ticket(video="cam1")
    assert door.get(door.in_path(ticket, "live/c%61m1/%69ndex.m3u8")).status == 200
    assert door.get(door.in_path(ticket, "live/cam1/segment%30%300.ts")).status == 200


FORGED = ("X-Real-IP", "X-Forwarded-For", "Forwarded", "True-Client-IP", "X-Envoy-External-Address", "X_Real_IP")


def test_a_forged_header_changes_nothing(door: Site) -> None:
    ticket = door.ticket(ip="192.0.2.1", video="cam1", uses=0)
    for header in FORGED:
        for hidden in ((), (f"Connection: close, {header}",), (f"{header}: 192.0.2.1",)):
            answer = door.raw(f"/{LIVE}?key={ticket['key']}&pass={ticket['pass']}", f"{header}: 192.0.2.1", *hidden)
            assert b"Invalid IP Address" in answer or answer.startswith(b"HTTP/1.1 400"), (header, hidden, answer)
            assert b"EXTM3U" not in answer
    mine = door.ticket(video="cam1", uses=0)
    cookie = f"Cookie: {cookie_of(door.get(door.in_query(mine, LIVE)))}"
    for header in ("X-Forwarded-Uri", "X-Original-Uri", "X-Original-URL", "X-Original-Path", "X-Rewrite-URL",
                   "X-Envoy-Original-Path", "X-Replaced-Path"):  # fmt: skip
        own = f"{header}: /live/cam1/segment000.ts"
        for hidden in ((), (f"Connection: close, {header}",), (own,)):
            assert SECRET not in door.raw("/live/secret/segment000.ts", own, cookie, *hidden), (header, hidden)
    for header in ("X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override"):
        assert SECRET not in door.raw("/live/secret/segment000.ts", f"{header}: OPTIONS", cookie), header


def test_a_viewer_who_is_an_edge_elsewhere_opens_nothing_by_that(front: Front, door: Site) -> None:
    account = Account(**posted(door.node, "/accounts", {"name": f"elsewhere-{front.kind}"}))
    token = posted(door.node, f"/accounts/{account.cdn}/edges", {"kind": front.kind})["token"]
    with door.node.connect() as connection:
        wanted = {"app": "*", "video": "*", "pass": "own", "ip": "0.0.0.0/0", "uses": 0}
        own = connection.call(account, "sevu.request", **wanted)["ticket"]
    for header in (f"Authorization: Bearer {token}", f"authorization: bearer {token}\r\nAuthorization: Bearer {token}"):
        answer = door.raw(f"/{LIVE}?key={own['key']}&pass=own", header)
        assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), header
        assert b"EXTM3U" not in answer, header


# What is written down


def test_neither_pass_nor_token_is_in_a_log(front: Front, door: Site) -> None:
    ticket = door.ticket(password="a-pass-to-look-for", uses=0)
    # The last name is longer than a disk takes, which a server may have more to say of.
    for file in (LIVE, "live/cam1/no.ts", f"live/cam1/{'x' * 300}.ts"):
        for url in (door.in_path(ticket, file), door.in_query(ticket, file)):
            door.get(url, Referer=url)
    for target in ("", "/", "/live/%zz", "/live/../x", "?live", "/live/x.ts?pass=a-pass-to-look-for"):
        door.raw(f"/t/{ticket['key']}/a-pass-to-look-for{target}")
    door.raw(f"http://x/t/{ticket['key']}/a-pass-to-look-for/{LIVE}")
    # The last asked for is the last written, a moment later.
    door.get(door.in_path(ticket, "live/cam1/the-last.ts"))
    deadline = time.monotonic() + 10
    while front.writes_log and "the-last.ts" not in _written(door) and time.monotonic() < deadline:
        time.sleep(0.02)
    written = _written(door)
    assert ("/live/cam1/index.m3u8" in written, "/live/cam1/the-last.ts" in written) == (front.writes_log,) * 2
    assert "a-pass-to-look-for" not in written


def _written(door: Site) -> str:
    logs = [*door.server.folder.glob("*.log"), door.node.log_file]
    return "".join(log.read_text(errors="replace") for log in logs)
