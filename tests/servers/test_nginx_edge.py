"""What an operator has of an nginx edge: its sessions, its configuration, answers that are kept."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.tap import tapped
from tests.nodes import Node, running_node, usher_here
from tests.servers.guarded import FILM, LIVE, Site, cookie_of, guarded
from tests.servers.ports import free_port

pytestmark = pytest.mark.client


# Who watches, and who shall no longer


def test_sessions_are_listed_and_kicked_through_the_api_and_the_command(site: Site) -> None:
    watching, staying = site.ticket(password="ann|1", uses=0), site.ticket(password="bob|1", uses=0)
    for ticket in (watching, staying):
        assert site.get(site.in_path(ticket, LIVE)).status == 200
    with site.node.connect() as connection:
        listed = connection.call(site.account, "sevu.sessions", user="ann")
        kicked = connection.call(site.account, "sevu.kick", user="ann")
        refused = connection.call(site.account, "sevu.kick", video="*")

    (session,) = listed["sessions"]
    assert (listed["session_count"], session["key"], session["video"]) == (1, watching["key"], "cam1")
    assert (session["app"], session["ip"], session["edge"], session["asleep"]) == ("live", "127.0.0.1", "nginx", False)
    assert "ann|1" not in str(listed)
    assert (kicked["code"], kicked["kicked"], refused["code"]) == (2071, 1, 6)
    assert site.get(site.in_path(watching, "live/cam1/segment001.ts")).headers["x-usher-reason"] == "No Session"
    again = site.get(site.in_path(watching, LIVE))
    assert (again.status, again.headers["x-usher-reason"]) == (403, "Kicked")
    assert site.get(site.in_path(watching, LIVE), source="127.0.0.7").status == 200
    assert site.get(site.in_path(staying, "live/cam1/segment001.ts")).status == 200

    cdn = str(site.account.cdn)
    shown = usher_here("session", "list", cdn, "--user", "bob", "--json", "--data", str(site.node.data))
    assert [json.loads(line)["key"] for line in shown.stdout.splitlines()] == [staying["key"]]
    kick = ("session", "kick", cdn, "--user", "bob", "--data", str(site.node.data))
    unasked = usher_here(*kick)
    assert (unasked.returncode, "1 live session" in unasked.stderr, "--yes" in unasked.stderr) == (2, True, True)
    assert site.get(site.in_path(staying, "live/cam1/segment001.ts")).status == 200
    assert usher_here(*kick, "--video", "films/*", "--yes").stdout == "Ended 0 sessions.\n"
    assert usher_here(*kick, "--app", "vod", "--yes").stdout == "Ended 0 sessions.\n"
    (password := site.node.data.parent / "pass").write_text("bob|1\n")
    ended = usher_here(*kick[:3], "--pass-file", str(password), "--video", "cam*", "--yes", *kick[5:])
    assert ended.stdout == "Ended 1 session.\n"
    assert site.get(site.in_path(staying, "live/cam1/segment001.ts")).status == 403


def test_ended_sessions_are_reported_with_what_ended_them(site: Site) -> None:
    revoked, kicked = site.ticket(password="cid|1"), site.ticket(password="dot|1")
    for ticket in (revoked, kicked):
        assert site.get(site.in_path(ticket, LIVE)).status == 200
        # Somebody who watches for a while.
        for _ in range(3):
            time.sleep(0.4)
            assert site.get(site.in_path(ticket, "live/cam1/segment000.ts")).status == 200
    site.revoke(revoked)
    cdn, data = str(site.account.cdn), ("--data", str(site.node.data))
    assert usher_here("session", "kick", cdn, "--user", "dot", "--yes", *data).returncode == 0

    shown = usher_here("session", "report", cdn, "--json", *data)
    ended = {each["user"]: each for each in map(json.loads, shown.stdout.splitlines())}
    assert (ended["cid"]["ended_by"], ended["dot"]["ended_by"]) == ("revoked", "kicked")
    assert ended["cid"]["video"] == "cam1"
    assert {ended["cid"]["watched"], ended["dot"]["watched"]} <= {1, 2}
    assert usher_here("session", "report", cdn, *data).stdout.count("cam1") >= 2


def test_two_viewers_at_a_ticket_for_one_at_a_time(site: Site) -> None:
    old, new = site.ticket(uses=0, max_sessions=1), site.ticket(uses=0, max_sessions=1, newest_wins=1)
    for ticket, first, second in ((old, 200, 403), (new, 403, 200)):
        assert site.get(site.in_path(ticket, LIVE)).status == 200
        answer = site.get(site.in_path(ticket, LIVE), source="127.0.0.8")
        assert answer.status == second
        assert answer.headers.get("x-usher-reason") == ("Too many sessions" if second == 403 else None)
        segment = site.in_path(ticket, "live/cam1/segment001.ts")
        assert site.get(segment).status == first
        assert site.get(segment, source="127.0.0.8").status == second


# Kept answers


def test_kept_answers_are_asked_for_again_in_time_and_cross_neither_viewers_nor_videos(
    node: Node, media: Path, tmp_path: Path
) -> None:
    recheck_s = 3
    options = (f"recheck_s={recheck_s}", f"cache={tmp_path}/cache")
    with guarded(node, media, tmp_path / "nginx", *options, name="keeping") as site:
        ticket, other = site.ticket(uses=0), site.ticket(uses=0)
        segment = "live/cam1/segment001.ts"
        assert site.get(site.in_path(ticket, LIVE)).status == 200
        assert site.get(site.in_path(ticket, segment)).status == 200
        # The node may be away for as long as an answer is kept.
        node.process.send_signal(signal.SIGSTOP)
        try:
            kept = [site.get(site.in_path(ticket, segment)).status for _ in range(20)]
        finally:
            node.process.send_signal(signal.SIGCONT)
        assert set(kept) == {200}
        # Each of these is another question, and has no session.
        for answer in (
            site.get(site.in_path(ticket, segment), source="127.0.0.5"),
            site.get(site.in_path(ticket, segment), User_Agent="another"),
            site.get(site.in_path(ticket, "live/cam10/segment001.ts")),
            site.get(site.in_path(other, segment)),
            site.get(segment),
        ):
            assert answer.status == 403
        # What a viewer sends as one part of what an answer is kept by must not be taken for another.
        cookie = cookie_of(site.get(site.in_query(other, LIVE)))
        site.get("live/cam1/%7C/live/cam10/x.ts", Cookie=cookie, User_Agent="A")
        site.get("live/cam1/%0a/live/cam10/x.ts", Cookie=cookie, User_Agent="A")
        moved = site.get("live/cam10/segment001.ts", Cookie=cookie, User_Agent="A|/live/cam1/")
        assert moved.status == 403
        site.revoke(ticket)
        revoked = time.monotonic()
        while site.get(site.in_path(ticket, segment)).status == 200:
            assert time.monotonic() - revoked < recheck_s + 1
            time.sleep(0.1)
        # Neither a start nor a refusal is kept.
        last = site.ticket()
        for _ in range(3):
            assert site.get(site.in_path(last, segment)).status == 403
        assert site.get(site.in_path(last, LIVE)).status == 200
        assert site.get(site.in_path(last, segment)).status == 200


def test_a_player_is_asked_about_once_in_the_time_that_answers_are_kept(
    node: Node, media: Path, tmp_path: Path
) -> None:
    recheck_s, times = 2, 6
    options = (f"recheck_s={recheck_s}", f"cache={tmp_path}/cache")
    with tapped(node.url) as tap:
        there, here = (url.removeprefix("http://") for url in (node.url, tap.url))
        moved = tmp_path / "nginx"
        with guarded(
            node, media, moved, *options, name="asking", changed=lambda text: text.replace(there, here)
        ) as site:
            ticket = site.ticket()
            end = time.monotonic() + times * recheck_s
            played = 0
            while time.monotonic() < end:
                for file in (LIVE, f"live/cam1/segment{played % 10:03}.ts"):
                    assert site.get(site.in_path(ticket, file)).status == 200
                played += 1
                # As often as a player whose segments last a fifth of a second.
                time.sleep(0.2)
            asked = sum(heard.count(b"GET /v1/edges/nginx ") for heard in tap.requests())
            assert site.counts(ticket) == (1, 0)

    assert played > 5 * times
    assert 3 <= asked <= 1 + times + 1


# Other settings


def test_a_player_without_cookies_follows_the_urls_of_a_rewritten_playlist(
    node: Node, media: Path, tmp_path: Path
) -> None:
    with guarded(node, media, tmp_path / "nginx", "rewrite=on", name="rewriting") as site:
        ticket = site.ticket(password="user|a b&c=d%")
        for playlist, number in (("live/cam1/index.m3u8", 10), ("live/fmp4/index.m3u8", 11)):
            opened = ticket if number == 10 else site.ticket()
            answer = site.get(site.in_query(opened, playlist))
            assert answer.status == 200
            urls = re.findall(r'^[^#\n]+$|URI="([^"]+)"', answer.body.decode(), re.MULTILINE)
            names = re.findall(r"[a-z0-9]+\.(?:ts|m4s|mp4)[^\s\"]*", answer.body.decode())
            assert len(names) == len(urls) == number
            for name in names:
                assert site.get(f"{playlist.rpartition('/')[0]}/{name}").status == 200
            assert site.counts(opened) == (1, 0)
        # Who has a cookie and no ticket gets the playlist as it is.
        cookie = cookie_of(site.get(site.in_query(ticket, LIVE)))
        assert site.get(LIVE, Cookie=cookie, User_Agent="another").body == (media / LIVE).read_bytes()


def test_who_is_let_in_while_usher_is_away(media: Path, tmp_path: Path) -> None:
    with (
        running_node(tmp_path / "data", "--log", "ledger", "--port", str(free_port())) as node,
        guarded(node, media, tmp_path / "nginx", "on_failure=open", name="open") as site,
    ):
        ticket = site.ticket()
        refused = site.get(LIVE)
        node.kill()
        answers = [site.get(url) for url in (LIVE, site.in_path(ticket, LIVE), site.in_query(ticket, LIVE))]
        missing = site.get("live/cam1/none.m3u8")
        part = site.get(FILM, Range="bytes=2-5")
        node.start()
        again = site.get(LIVE)
        assert site.counts(ticket) == (0, 0)
    logged = (tmp_path / "nginx" / "usher.log").read_text()

    assert [refused.status, again.status, missing.status] == [403, 403, 404]
    assert [(each.status, each.headers["x-usher-reason"]) for each in answers] == [(200, "Unguarded")] * 3
    assert {each.body for each in answers} == {(media / LIVE).read_bytes()}
    assert (part.status, part.body) == (206, (media / FILM).read_bytes()[2:6])
    assert logged.count("unguarded") == 5
    assert ticket["key"] not in logged


# The configuration


def test_the_configuration_is_printed_again_without_the_token_and_a_url_is_explained(site: Site) -> None:
    data = ("--data", str(site.node.data))
    printed = usher_here("edge", "snippet", str(site.edge), *data)
    listed = usher_here("edge", "list", "--json", *data)
    meaning = usher_here("edge", "test-path", str(site.edge), f"{site.url}/t/k/p/live/cam1/index.m3u8", "--json", *data)

    assert "Bearer THE-TOKEN-OF-THIS-EDGE" in printed.stdout
    assert site.edge in [json.loads(line)["edge"] for line in listed.stdout.splitlines()]
    shown = json.loads(meaning.stdout)
    assert (shown["app"], shown["video"], shown["may_start"], shown["ticket_in"]) == ("live", "cam1", True, "the path")
    for wrong in (["--option", "colour=red"], ["--option", "root=/a;b"], ["--option", "path=no"], ["--kind", "tape"]):
        kind = [] if "--kind" in wrong else ["--kind", "nginx", "--name", "other"]
        assert usher_here("edge", "create", str(site.account.cdn), *kind, *wrong, *data).returncode in (1, 2), wrong


def test_neither_pass_nor_token_is_in_a_log(site: Site) -> None:
    ticket = site.ticket(password="a-pass-to-look-for")
    for url in (site.in_path(ticket, LIVE), site.in_query(ticket, LIVE)):
        site.get(url)
    site.get(site.in_query({**ticket, "key": "%ff"}, "live/%zz/index.m3u8"))
    written = site.node.log_file.read_text() + "".join(
        file.read_text()
        for file in (site.server.folder / "usher.log", site.server.folder / "error.log")
        if file.exists()
    )
    token = re.search(r"Bearer ([\w-]+)", (site.server.folder / "nginx.conf").read_text())

    assert "GET /live/cam1/index.m3u8" in written
    assert token is not None
    for secret in ("a-pass-to-look-for", token[1]):
        assert secret not in written
