"""The configurations of media servers that report connections: whole, with the edge's values, and open to nobody."""

from __future__ import annotations

import re

import pytest

from openusher.model.account import Edge
from openusher.model.edge import OPTIONS, EdgeKind, checked_options
from openusher.web.edges.snippets import snippet_of


def snippet(kind: EdgeKind, **options: str) -> str:
    given = checked_options(kind, {name: [value] for name, value in options.items()})
    return snippet_of(Edge(number=2, cdn=1, name="edge", token_digest="", kind=kind, options=given), token="tok-en_1")


def blocks(text: str) -> dict[str, list[str]]:
    """The directives of an SRS configuration by their block's path; braces must be even."""
    found: dict[str, list[str]] = {}
    path: list[str] = []
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        if line.endswith("{"):
            path.append(line.removesuffix("{").strip())
        elif line == "}":
            path.pop()
        elif line:
            assert line.endswith(";"), line
            found.setdefault("/".join(path), []).append(line.removesuffix(";"))
    assert path == []
    return found


@pytest.mark.parametrize("kind", [EdgeKind.SRS, EdgeKind.MEDIAMTX])
def test_every_option_has_its_place_and_no_place_is_left(kind: EdgeKind) -> None:
    values = {
        name: option.words[0] if option.words else "http://v:1" if name == "control" else f"value-of-{name}"
        for name, option in OPTIONS[kind].items()
    }
    text = snippet(kind, **values)

    assert re.findall(r"@\w+@|^@.*", text, re.MULTILINE) == []
    # What Usher alone needs to know is in no server's file.
    of_usher = {"control", "publish_password", "app"}
    shown = {name for name, value in values.items() if value in text or name == "own_hls"}
    assert shown | {"hls_path"} == set(values) - of_usher | {"hls_path"}


def test_srs_asks_about_all_that_is_played_and_published_at_the_only_vhost() -> None:
    found = blocks(snippet(EdgeKind.SRS))
    url = "http://127.0.0.1:8088/e/tok-en_1/srs"

    assert {name.split("/")[0] for name in found if name.startswith("vhost")} == {"vhost __defaultVhost__"}
    assert found["vhost __defaultVhost__/http_hooks"] == [
        "enabled on",
        f"on_publish {url}",
        f"on_play {url}",
        f"on_stop {url}",
    ]
    assert "listen 127.0.0.1:1985" in found["http_api"]
    assert "srt_server" not in found
    assert "rtc_server" not in found


def test_srs_serves_hls_itself_only_where_it_was_told_to() -> None:
    guarded = blocks(snippet(EdgeKind.SRS, hls_path="/srv/hls"))
    own = blocks(snippet(EdgeKind.SRS, own_hls="on"))
    (served,) = (line for line in guarded["http_server"] if line.startswith("dir"))

    assert "hls_path /srv/hls" in guarded["vhost __defaultVhost__/hls"]
    assert "hls_ctx off" in guarded["vhost __defaultVhost__/hls"]
    assert "/srv/hls" not in served
    assert f"hls_path {served.removeprefix('dir ')}" in own["vhost __defaultVhost__/hls"]
    assert "hls_ctx on" in own["vhost __defaultVhost__/hls"]


def test_srs_speaks_srt_and_webrtc_where_they_have_ports() -> None:
    found = blocks(snippet(EdgeKind.SRS, srt="10080", rtc="8000"))

    assert "listen 10080" in found["srt_server"]
    assert "listen 8000" in found["rtc_server"]
    assert "enabled on" in found["vhost __defaultVhost__/srt"]
    assert "rtmp_to_rtc on" in found["vhost __defaultVhost__/rtc"]


def test_mediamtx_asks_about_everything_but_its_own_api_which_others_do_not_reach() -> None:
    text = snippet(EdgeKind.MEDIAMTX)
    settings = dict(re.findall(r"^ *(\w+): *(\S.*)$", text, re.MULTILINE))

    assert settings["authMethod"] == "http"
    assert settings["authHTTPAddress"] == "http://127.0.0.1:8088/e/tok-en_1/mediamtx"
    assert re.findall(r"- action: (\w+)", text) == ["api"]
    assert settings["apiAddress"].startswith("127.0.0.1:")
    assert settings["rtspAuthMethods"] == "[basic]"
    # No variable that a viewer has a hand in.
    assert re.findall(r"\$(\w+)", text) == ["MTX_READER_ID", "MTX_READER_ID"]
    assert settings["runOnRead"].endswith(" http://127.0.0.1:8088/e/tok-en_1/mediamtx/read")
    assert settings["runOnUnread"].endswith(" http://127.0.0.1:8088/e/tok-en_1/mediamtx/unread")
