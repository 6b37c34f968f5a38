"""RTMP through a real nginx with its RTMP module: who is cut off when, and what an operator sees of it."""

from __future__ import annotations

import http.client
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.tap import tapped
from tests.nodes import Node, running_node, usher_here
from tests.servers.media import playing
from tests.servers.ports import free_port
from tests.servers.rtmp import (
    AT_ONCE,
    CONTROL_PASSWORD,
    DROPPED_S_MAX,
    PUBLISH_PASSWORD,
    RtmpSite,
    guarded_rtmp,
    name_with,
    publishing,
)
from tests.servers.rtmpclient import connected

pytestmark = pytest.mark.client


# --- who is cut off ---------------------------------------------------------------------------------------------------


def test_a_revoked_ticket_drops_its_players_within_two_seconds(rtmp: RtmpSite) -> None:
    ticket, other = rtmp.ticket(uses=0), rtmp.ticket(uses=0)
    with connected(rtmp.port) as viewer, connected(rtmp.port) as staying:
        assert viewer.plays(name_with(ticket))
        assert staying.plays(name_with(other))
        with playing(rtmp.url_of(ticket), options=AT_ONCE) as player:
            player.await_frames(5)
            rtmp.revoke(ticket)
            revoked = time.monotonic()
            player.process.wait(10)
            assert time.monotonic() - revoked < DROPPED_S_MAX
        assert viewer.is_closed_within(DROPPED_S_MAX)
        assert staying.await_media()
    assert rtmp.refuses(name_with(ticket))


def test_a_kicked_viewer_is_dropped_and_stays_out_for_a_while(rtmp: RtmpSite) -> None:
    ticket, other = rtmp.ticket(uses=0, password="kim|1"), rtmp.ticket(uses=0)
    with connected(rtmp.port) as viewer, connected(rtmp.port) as staying:
        assert viewer.plays(name_with(ticket))
        assert staying.plays(name_with(other))
        data = ("--data", str(rtmp.node.data))
        kicked = usher_here("session", "kick", str(rtmp.account.cdn), "--user", "kim", "--yes", *data)
        assert (kicked.stdout, viewer.is_closed_within(DROPPED_S_MAX)) == ("Ended 1 session.\n", True)
        assert staying.await_media()
    assert rtmp.refuses(name_with(ticket))

    assert rtmp.last_attempts(1)[0]["reason"] == "Kicked"


def test_a_viewer_who_stops_leaves_the_place_at_once(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(uses=0, max_sessions=1)
    with playing(rtmp.url_of(ticket), options=AT_ONCE) as player:
        player.await_frames(3)
        assert rtmp.refuses(name_with(ticket))
        player.stop()
    stopped = time.monotonic()
    while rtmp.sessions(key=ticket["key"]):
        assert time.monotonic() - stopped < DROPPED_S_MAX
        time.sleep(0.02)
    with connected(rtmp.port) as viewer:
        assert viewer.plays(name_with(ticket))

    assert rtmp.counts(ticket) == (2, 1)


def test_the_newest_of_two_viewers_takes_the_place_where_the_ticket_says_so(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(uses=0, max_sessions=1, newest_wins=1)
    with connected(rtmp.port, flashVer="one") as first, connected(rtmp.port, flashVer="two") as second:
        assert first.plays(name_with(ticket))
        assert second.plays(name_with(ticket))
        assert first.is_closed_within(DROPPED_S_MAX)
        assert second.await_media()


# --- hooks that come again, and a node that goes away -----------------------------------------------------------------


def test_a_question_that_comes_again_is_one_attempt(node: Node, rtmp_film: Path, tmp_path: Path) -> None:
    with (
        tapped(node.url) as tap,
        guarded_rtmp(node, tmp_path / "rtmp", node_url=tap.url) as site,
        publishing(rtmp_film, f"{site.url}/cam1?pass={PUBLISH_PASSWORD}") as encoder,
    ):
        encoder.await_frames(3)
        ticket = site.ticket()
        with connected(site.port) as viewer:
            assert viewer.plays(name_with(ticket))
            (asked,) = [request for request in tap.requests() if b"&call=play&" in request]
            for _ in range(3):
                assert sent_again(node, asked) == 200
            assert (site.counts(ticket), len(site.sessions())) == ((1, 0), 1)
        # Of another connection it is another question.
        other = re.sub(rb"clientid=\d+", lambda found: b"clientid=" + b"9" * len(found[0][9:]), asked)
        for _ in range(3):
            assert (sent_again(node, other), site.counts(ticket)) == (403, (1, 1))


def sent_again(node: Node, request: bytes) -> int:
    """The status of the answer to a hook's very bytes."""
    head, _, body = request.partition(b"\r\n\r\n")
    path = head.split(b" ")[1].decode()
    parts = urlsplit(node.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("POST", path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_who_watches_goes_on_while_the_node_is_away_unless_an_update_falls_due(rtmp_film: Path, tmp_path: Path) -> None:
    flags = ("--log", "ledger", "--port", str(free_port()))
    with (
        running_node(tmp_path / "data", *flags) as node,
        guarded_rtmp(node, tmp_path / "rare", "update_s=0") as rare,
        guarded_rtmp(node, tmp_path / "often", "update_s=1", has_control=False) as often,
        publishing(rtmp_film, f"{rare.url}/cam1?pass={PUBLISH_PASSWORD}") as rare_encoder,
        publishing(rtmp_film, f"{often.url}/cam1?pass={PUBLISH_PASSWORD}") as often_encoder,
        connected(rare.port) as staying,
        connected(often.port) as revoked,
        connected(often.port) as cut,
    ):
        rare_encoder.await_frames(3)
        often_encoder.await_frames(3)
        ticket, to_revoke, to_cut = rare.ticket(), often.ticket(), often.ticket()
        assert staying.plays(name_with(ticket))
        assert revoked.plays(name_with(to_revoke))
        assert cut.plays(name_with(to_cut))
        # Several updates.
        assert not cut.is_closed_within(2.2)
        often.revoke(to_revoke)
        assert revoked.is_closed_within(2.5)
        with playing(rare.url_of(rare.ticket()), options=AT_ONCE) as player:
            player.await_frames(3)
            node.kill()
            assert cut.is_closed_within(2.5)
            assert often_encoder.process.wait(5) != 0
            player.await_frames(player.frames() + 5)
            assert rare.refuses("cam1")
            node.start()
            player.await_frames(player.frames() + 5)
            assert staying.await_media()
        assert rare.counts(ticket) == (1, 0)
        assert [each["key"] for each in rare.sessions()].count(ticket["key"]) == 1
        rare.revoke(ticket)
        assert staying.is_closed_within(DROPPED_S_MAX)
        for site in (rare, often):
            assert_no_secrets(site, ticket["pass"], to_cut["pass"])


# --- the operator -----------------------------------------------------------------------------------------------------


def test_neither_passes_nor_token_are_in_a_log(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(password="dot|a-pass-to-look-for")
    with connected(rtmp.port, f"live?pass={ticket['pass']}") as viewer:
        assert viewer.plays(name_with(ticket))
        assert rtmp.refuses(name_with(ticket, "cam1", "&x=%zz"))
        # Which has the control API called.
        rtmp.revoke(ticket)
        assert viewer.is_closed_within(DROPPED_S_MAX)
    assert rtmp.refuses(name_with(ticket, "the-last-of-these"))
    written = time.monotonic()
    while "the-last-of-these" not in rtmp.logs():
        assert time.monotonic() - written < 5
        time.sleep(0.02)

    assert_no_secrets(rtmp, ticket["pass"])


def assert_no_secrets(site: RtmpSite, *passes: str) -> None:
    token = re.search(r"/e/([\w-]+)/", (site.server.folder / "nginx.conf").read_text())
    assert token is not None
    for secret in (*passes, PUBLISH_PASSWORD, CONTROL_PASSWORD, token[1]):
        assert secret not in site.logs()


def test_the_command_says_how_late_a_revocation_bites(rtmp: RtmpSite) -> None:
    data = ("--data", str(rtmp.node.data))
    said = {
        ("--control", "http://127.0.0.1:8080/control"): "A revoked ticket ends at once.",
        (): "A revoked ticket ends at the next update, within 30 s; with --control at once.",
        ("--option", "update_s=0"): "A revoked ticket ends when its viewer goes; with --control at once.",
    }
    for number, (flags, sentence) in enumerate(said.items()):
        names = ("--name", f"edge {number}")
        made = usher_here("edge", "create", str(rtmp.account.cdn), "--kind", "nginx-rtmp", *names, *flags, *data)
        assert sentence in " ".join(made.stderr.split()), made
        assert ("on_update" in made.stdout) is ("update_s=0" not in flags)
        assert ("rtmp_control" in made.stdout) is ("--control" in flags)
