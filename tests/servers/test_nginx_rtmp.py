"""RTMP through a real nginx with its RTMP module: who publishes, who plays, and what a connection plays next."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.servers.media import playing
from tests.servers.rtmp import AT_ONCE, DROPPED_S_MAX, PUBLISH_PASSWORD, RtmpSite, name_with, publishing
from tests.servers.rtmpclient import STARTED, connected

pytestmark = pytest.mark.client


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_ffmpeg_publishes_and_plays(rtmp: RtmpSite, rtmp_film: Path) -> None:
    ticket = rtmp.ticket(video="stage", password="ann|stage")
    before = rtmp.count()
    with publishing(rtmp_film, f"{rtmp.url}/stage?pass={PUBLISH_PASSWORD}") as encoder:
        encoder.await_frames(3)
        with playing(rtmp.url_of(ticket, "stage"), options=AT_ONCE) as player:
            player.await_frames(10)
            (session,) = rtmp.sessions(user="ann")

    assert (session["app"], session["video"], session["ip"], session["key"]) == (
        "live", "stage", "127.0.0.1", ticket["key"],
    )  # fmt: skip
    # A publish is no attempt.
    assert (rtmp.counts(ticket), rtmp.count() - before) == ((1, 0), 1)


@pytest.mark.parametrize(
    "sent", ["", "?pass=wrong", "?pass=", "?x=1&pass=wrong&pass={right}", "?key={key}&pass={pass}"]
)
def test_who_has_not_the_password_publishes_nothing(rtmp: RtmpSite, rtmp_film: Path, sent: str) -> None:
    ticket = rtmp.ticket(uses=0)
    before = rtmp.count()
    filled = sent.format(**ticket, right=PUBLISH_PASSWORD)
    with connected(rtmp.port) as viewer:
        viewer.play(name_with(ticket, "dark"))
        assert viewer.await_code(STARTED)
        with publishing(rtmp_film, f"{rtmp.url}/dark{filled}") as encoder:
            # It ends by itself, which it does where it is refused only: its film has no end.
            assert encoder.process.wait(5) == 1
        assert not viewer.gets_media_within(0.2)

    assert rtmp.count() - before == 1


def test_who_may_not_play_is_refused_and_recorded_with_the_reason(rtmp: RtmpSite) -> None:
    ticket, revoked = rtmp.ticket(video="cam2", uses=0), rtmp.ticket(uses=0)
    rtmp.revoke(revoked)
    asked = {
        "cam1": "Missing Auth Token",
        f"cam1?key={ticket['key']}": "Missing Auth Token",
        f"cam1?key={ticket['key']}&pass=wrong": "Invalid Auth Token",
        f"cam1?key=wrong&pass={ticket['pass']}": "Invalid Auth Token",
        name_with(ticket, "cam1"): "Invalid Video",
        name_with(revoked, "cam1"): "Ticket Revoked",
    }
    for name in asked:
        assert rtmp.refuses(name), name

    assert [attempt["reason"] for attempt in rtmp.last_attempts(len(asked))] == list(asked.values())
    with playing(f"{rtmp.url}/cam1?key={ticket['key']}&pass=wrong", options=AT_ONCE) as player:
        played = player.wait(timeout_s=10)
    assert (played.frames, played.ended_well) == (0, False)


def test_a_ticket_stands_behind_the_stream_and_not_behind_the_application(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(uses=0, password="bob|behind-the-app")
    query = f"?key={ticket['key']}&pass={ticket['pass']}"

    assert rtmp.refuses("cam1", app=f"live{query}")
    (attempt,) = rtmp.last_attempts(1)
    assert (attempt["reason"], attempt["video"], "behind-the-app" in str(attempt)) == (
        "Missing Auth Token",
        "cam1",
        False,
    )
    with connected(rtmp.port, f"live{query}") as viewer:
        assert viewer.plays(f"cam1{query}")


def test_a_ticket_for_one_use_plays_once(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket()
    with connected(rtmp.port) as viewer:
        assert viewer.plays(name_with(ticket))
        assert rtmp.refuses(name_with(ticket))
    assert rtmp.refuses(name_with(ticket))

    assert rtmp.counts(ticket) == (1, 2)


def test_what_a_viewer_adds_changes_nothing_of_what_the_server_says(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(video="cam1", uses=0, ip="127.0.0.1")
    forged = "&name=other&addr=1.2.3.4&app=vod&clientid=1&call=publish&flashver=x"
    said = {
        "flashVer": "A&addr=1.2.3.4&app=vod",
        "pageUrl": "http://p/?x=1&addr=1.2.3.4",
        "tcUrl": "rtmp://h/live?&addr=1.1.1.1",
    }
    with connected(rtmp.port, **said) as viewer:
        assert viewer.plays(name_with(ticket, "cam1", forged))
        (session,) = rtmp.sessions(key=ticket["key"])
    (attempt,) = rtmp.last_attempts(1)

    for found in (session, attempt):
        assert (found["app"], found["video"], found["ip"]) == ("live", "cam1", "127.0.0.1")
        assert found["user_agent"] == said["flashVer"]
    assert (attempt["pageurl"], attempt["refurl"]) == (said["pageUrl"], "")
    # Nor does what he adds give him what the ticket does not.
    assert rtmp.refuses(name_with(ticket, "cam2", "&name=cam1"))
    elsewhere = rtmp.ticket(uses=0, ip="1.2.3.4")
    assert rtmp.refuses(name_with(elsewhere, "cam1", "&addr=1.2.3.4"))
    assert rtmp.refuses(f"cam1&name=cam1?key={ticket['key']}&pass={ticket['pass']}")


@pytest.mark.parametrize("name", ["\udcff", "", "cam1?key=%", "cam1?" + "&" * 90])
def test_what_cannot_be_read_is_refused(rtmp: RtmpSite, name: str) -> None:
    before = rtmp.count()
    assert rtmp.refuses(name)

    assert rtmp.count() == before


def test_an_answer_is_there_at_once(rtmp: RtmpSite) -> None:
    """The module waits for the end of the answer, which is that of the connection."""
    ticket = rtmp.ticket(uses=0)
    with connected(rtmp.port) as viewer:
        viewer.play(name_with(ticket))
        asked = time.monotonic()
        assert viewer.await_code(STARTED)

    assert time.monotonic() - asked < 1


# --- several plays of one connection ----------------------------------------------------------------------------------


def test_the_next_play_of_a_connection_is_a_question_of_its_own(rtmp: RtmpSite) -> None:
    first, second = rtmp.ticket(video="cam1"), rtmp.ticket(video="cam2")
    with connected(rtmp.port) as viewer:
        assert viewer.plays(name_with(first))
        viewer.close_stream()
        assert viewer.plays(name_with(second, "cam2"))
        assert [each["video"] for each in rtmp.sessions() if each["key"] == second["key"]] == ["cam2"]
        viewer.close_stream()
        # The ticket's use is taken, and the first is for another video.
        viewer.play(name_with(first, "cam2"))
        assert viewer.is_closed_within(DROPPED_S_MAX)

    assert (rtmp.counts(first), rtmp.counts(second)) == ((1, 1), (1, 0))


def test_a_play_right_behind_the_end_of_the_same_is_dropped_by_a_revocation(rtmp: RtmpSite) -> None:
    ticket = rtmp.ticket(uses=2)
    with connected(rtmp.port) as viewer:
        assert viewer.plays(name_with(ticket))
        viewer.close_stream()
        assert viewer.plays(name_with(ticket))
        rtmp.revoke(ticket)
        assert viewer.is_closed_within(DROPPED_S_MAX)

    assert rtmp.counts(ticket) == (2, 0)


def test_a_second_play_beside_the_first_ends_both(rtmp: RtmpSite) -> None:
    """The server would go on sending the first by the ticket of the second."""
    first, second = rtmp.ticket(video="cam1"), rtmp.ticket(video="cam2")
    with connected(rtmp.port) as viewer:
        assert viewer.plays(name_with(first))
        viewer.play(name_with(second, "cam2"))
        assert viewer.is_closed_within(DROPPED_S_MAX)

    assert (rtmp.counts(first), rtmp.counts(second)) == ((1, 0), (1, 0))
    assert not [each for each in rtmp.sessions() if each["key"] in (first["key"], second["key"])]
