"""One node with an nginx in front of its media, which most tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import Node, running_node
from tests.servers.fronts import FRONTS, Front, Origin, fronted, running_origin
from tests.servers.guarded import FILM, SECONDS, SECRET, Site, guarded
from tests.servers.media import make_dash, make_film, make_hls
from tests.servers.rtmp import PUBLISH_PASSWORD, RtmpSite, guarded_rtmp, publishing

_YEARS_AGO_S = 1_500_000_000


@pytest.fixture(scope="package")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("media")
    for camera in ("cam1", "cam10"):
        make_hls(made / "live" / camera, seconds=SECONDS)
    make_hls(made / "live" / "cam1" / "low", seconds=SECONDS)
    make_hls(made / "live" / "fmp4", seconds=SECONDS, fmp4=True)
    make_hls(made / "live" / "ranges", seconds=SECONDS, one_file=True)
    make_dash(made / "live" / "dash1", seconds=SECONDS)
    (made / "vod").mkdir()
    make_film(made / FILM, seconds=SECONDS)
    make_film(made / "vod" / "other.mp4", seconds=2)
    # What no ticket but its own may show a byte of; and a name that has to be encoded.
    for name in ("live/secret/index.m3u8", "live/secret/segment000.ts", "vod/100% why? #1.mp4"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes(SECRET)
    for file in made.rglob("*.*"):
        # As in a library: the older a file, the longer browsers keep it without asking.
        os.utime(file, (_YEARS_AGO_S, _YEARS_AGO_S))
    return made


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("node") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="package")
def origin(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with running_origin(media, tmp_path_factory.mktemp("origin")) as started:
        yield started


@pytest.fixture(scope="package", params=FRONTS)
def front(request: pytest.FixtureRequest) -> Front:
    """Each kind of server in turn."""
    return FRONTS[request.param]


@pytest.fixture(scope="package")
def door(
    front: Front, node: Node, media: Path, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Media behind a server of that kind."""
    with fronted(front, node, media, origin, tmp_path_factory.mktemp(front.kind)) as opened:
        yield opened


@pytest.fixture(scope="package")
def site(node: Node, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(node, media, tmp_path_factory.mktemp("nginx")) as opened:
        yield opened


@pytest.fixture(scope="package")
def rtmp_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What encoders send."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4)


@pytest.fixture(scope="package")
def rtmp(node: Node, rtmp_film: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtmpSite]:
    """RTMP with cam1 and cam2 on air."""
    with (
        guarded_rtmp(node, tmp_path_factory.mktemp("rtmp")) as opened,
        publishing(rtmp_film, f"{opened.url}/cam1?pass={PUBLISH_PASSWORD}") as first,
        publishing(rtmp_film, f"{opened.url}/cam2?pass={PUBLISH_PASSWORD}") as second,
    ):
        first.await_frames(3)
        second.await_frames(3)
        yield opened
        assert first.process.poll() is second.process.poll() is None
