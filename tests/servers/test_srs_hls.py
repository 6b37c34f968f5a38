"""HLS that SRS writes where the snippet of an edge of kind srs tells it to, served by an nginx that guards it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openusher.model.account import Edge
from openusher.model.edge import EdgeKind
from openusher.web.edges.snippets import snippet_of
from tests.nodes import Node
from tests.servers.guarded import guarded

pytestmark = pytest.mark.client


def written_by_srs(folder: Path, app: str, stream: str) -> None:
    """A playlist and its segments, named as the snippet has SRS name them."""
    edge = Edge(number=1, cdn=1, name="srs", token_digest="", kind=EdgeKind.SRS, options={"hls_path": str(folder)})
    told = dict(re.findall(r"^\s*(hls_(?:path|m3u8_file|ts_file)) (\S+);", snippet_of(edge), re.MULTILINE))

    def file(pattern: str, number: int = 0) -> Path:
        for place, value in {"[app]": app, "[stream]": stream, "[seq]": str(number)}.items():
            pattern = pattern.replace(place, value)
        return Path(told["hls_path"]) / pattern

    segments = [file(told["hls_ts_file"], number) for number in range(3)]
    playlist = file(told["hls_m3u8_file"])
    playlist.parent.mkdir(parents=True, exist_ok=True)
    for segment in segments:
        segment.write_bytes(b"G" + b"\0" * 187)
    playlist.write_text("#EXTM3U\n" + "".join(f"#EXTINF:10,\n{segment.name}\n" for segment in segments))


def test_srs_hls_behind_nginx_is_one_view_and_opens_no_other_stream(node: Node, tmp_path: Path) -> None:
    media = tmp_path / "media"
    for stream in ("cam1", "cam10", "cam1-0"):
        written_by_srs(media, "live", stream)
    with guarded(node, media, tmp_path / "nginx", name="srs-hls") as site:
        ticket = site.ticket(video="cam1")
        playlist = site.get(site.in_path(ticket, "live/cam1.m3u8"))
        names = re.findall(r"^\w.*\.ts$", playlist.body.decode(), re.MULTILINE)

        assert (playlist.status, names) == (200, ["cam1-0.ts", "cam1-1.ts", "cam1-2.ts"])
        for name in names:
            assert site.get(site.in_path(ticket, f"live/{name}")).status == 200
        assert site.get(site.in_path(ticket, "live/cam1.m3u8")).status == 200
        assert site.counts(ticket) == (1, 0)
        # What SRS itself would serve: whoever asks twice, and any segment.
        for _ in range(2):
            assert site.get("live/cam1.m3u8?hls_ctx=mine").status == 403
            assert site.get("live/cam1-0.ts").status == 403
            for other in ("live/cam10-0.ts", "live/cam1-0-0.ts", "live/cam10.m3u8", "live/cam1-0.m3u8"):
                assert site.get(site.in_path(ticket, other)).status == 403, other
        site.revoke(ticket)
        assert site.get(site.in_path(ticket, "live/cam1-1.ts")).status == 403
