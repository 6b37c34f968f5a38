"""The servers, media and player that other tests stand on: without a guard everything plays to its last frame."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.media import FRAMES_A_SECOND, Played, frames_of, make_dash, make_film, make_hls, playing
from tests.servers.nginx import running_nginx
from tests.servers.ports import free_port

pytestmark = pytest.mark.client

_SECONDS = 6
_FRAMES = _SECONDS * FRAMES_A_SECOND
_MANIFESTS = ("ts/index.m3u8", "fmp4/index.m3u8", "dash/manifest.mpd", "film.mp4")


def server(root: Path, port: int) -> str:
    return f"""
    server {{
        listen 127.0.0.1:{port};
        root "{root}";
        location /torn/ {{
            alias "{root}/";
            location ~ 002 {{ return 403; }}
        }}
    }}"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    make_hls(root / "ts", seconds=_SECONDS)
    make_hls(root / "fmp4", seconds=_SECONDS, fmp4=True)
    make_dash(root / "dash", seconds=_SECONDS)
    make_film(root / "film.mp4", seconds=_SECONDS)
    return root


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an nginx that serves all media to everybody."""
    port = free_port()
    with running_nginx(tmp_path_factory.mktemp("nginx"), server(root, port), [port]):
        yield f"http://127.0.0.1:{port}"


# --- media and player -----------------------------------------------------------------------------------------------


def test_media_are_cut_into_segments_as_asked(root: Path, tmp_path: Path) -> None:
    make_hls(tmp_path, seconds=_SECONDS, segment_s=3)

    assert len(list(tmp_path.glob("segment*.ts"))) == 2
    assert len(list((root / "ts").glob("segment*.ts"))) == 3
    assert len(list((root / "fmp4").glob("segment*.m4s"))) == 3
    assert len(list((root / "dash").glob("chunk-stream0-*.m4s"))) == 3
    assert "#EXT-X-ENDLIST" in (root / "ts/index.m3u8").read_text()


@pytest.mark.parametrize("manifest", _MANIFESTS)
def test_every_frame_plays(site: str, root: Path, manifest: str) -> None:
    whole = Played(frames=_FRAMES, ended_well=True, stderr="")

    assert whole == frames_of(f"{site}/{manifest}")
    assert whole == frames_of(root / manifest)


@pytest.mark.parametrize("manifest", [name for name in _MANIFESTS if name != "fmp4/index.m3u8"])
def test_a_player_that_seeks_gets_the_rest(site: str, manifest: str) -> None:
    assert Played(frames=20, ended_well=True, stderr="") == frames_of(f"{site}/{manifest}", seek_s=_SECONDS - 2)


@pytest.mark.parametrize("name", ["none.m3u8", "none.mpd", "none.mp4"])
def test_a_missing_file_makes_the_player_fail(site: str, name: str) -> None:
    played = frames_of(f"{site}/{name}")

    assert (played.frames, played.ended_well, played.http_errors) == (0, False, (404,))


@pytest.mark.parametrize("manifest", [name for name in _MANIFESTS if name != "film.mp4"])
def test_a_player_that_is_refused_one_segment_has_not_ended_well(site: str, manifest: str) -> None:
    """ffmpeg itself plays on without the segment and ends with status 0."""
    played = frames_of(f"{site}/torn/{manifest}")

    assert played.frames == _FRAMES - 20
    assert not played.ended_well
    assert {403} == set(played.http_errors)


def test_a_player_says_who_it_is_with_every_request(root: Path, tmp_path: Path) -> None:
    port = free_port()
    form = "log_format sent '$uri $http_user_agent $http_x_pass $cookie_pass'; access_log said.log sent;"
    options = ("-headers", "X-Pass: one\r\n", "-cookies", "pass=two; path=/;")
    with running_nginx(tmp_path, form + server(root, port), [port]):
        for manifest in ("ts/index.m3u8", "dash/manifest.mpd", "film.mp4"):
            frames_of(f"http://127.0.0.1:{port}/{manifest}", user_agent="box/1", options=options)
    lines = (tmp_path / "said.log").read_text().splitlines()

    # A playlist and three segments; a manifest and, of two streams, a head and three segments; a film.
    assert len(lines) == 4 + 9 + 1
    assert {"box/1 one two"} == {line.split(" ", 1)[1] for line in lines}


def test_a_player_in_the_background_plays_in_real_time_until_it_is_stopped(site: str) -> None:
    with playing(f"{site}/ts/index.m3u8", realtime=True) as player:
        player.await_frames(5)
        played = player.stop()

    assert 5 <= played.frames < _FRAMES
    assert not played.ended_well


def test_a_player_is_bounded_in_time(site: str) -> None:
    played = frames_of(f"{site}/film.mp4", realtime=True, timeout_s=0.5)

    assert played.frames < _FRAMES
    assert not played.ended_well


def test_awaiting_more_frames_than_there_are_fails_when_the_player_ends(site: str) -> None:
    with (
        playing(f"{site}/film.mp4") as player,
        pytest.raises(AssertionError, match=f"{_FRAMES} frames of {_FRAMES + 1}"),
    ):
        player.await_frames(_FRAMES + 1)


# --- nginx ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("ts/index.m3u8", "application/vnd.apple.mpegurl"),
        ("ts/segment000.ts", "video/mp2t"),
        ("fmp4/segment000.m4s", "video/iso.segment"),
        ("dash/manifest.mpd", "application/dash+xml"),
        ("film.mp4", "video/mp4"),
    ],
)
def test_nginx_says_what_kind_a_file_is(site: str, file: str, kind: str) -> None:
    with urllib.request.urlopen(f"{site}/{file}", timeout=10) as answer:
        assert kind == answer.headers["Content-Type"]


def test_nginx_writes_its_logs_into_its_folder(tmp_path: Path) -> None:
    port = free_port()
    with running_nginx(tmp_path, server(tmp_path, port), [port]) as nginx:
        frames_of(f"http://127.0.0.1:{port}/absent.mp4")

    assert '"GET /absent.mp4 HTTP/1.1" 404' in nginx.access_log()
    assert "absent.mp4" in nginx.error_log()


def test_nginx_stops_and_leaves_no_process(tmp_path: Path) -> None:
    port = free_port()
    with running_nginx(tmp_path, server(tmp_path, port), [port]) as nginx:
        pid = nginx.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    # The second may be on its way still.
    assert workers
    assert nginx.process.returncode == 0
    assert [process for process in (str(pid), *workers) if Path(f"/proc/{process}").exists()] == []
    assert nginx.error_log() == ""


def test_nginx_stops_though_a_request_still_waits(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        behind = f"http://127.0.0.1:{silent.getsockname()[1]}"
        http = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {behind}; }} }}"
        with running_nginx(tmp_path, http, [port]) as nginx, socket.create_connection(("127.0.0.1", port)) as asking:
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            passed_on, _ = silent.accept()
            began = time.monotonic()
            nginx.stop()
        passed_on.close()

    assert nginx.process.returncode == 0
    assert time.monotonic() - began < 5


def test_a_broken_configuration_fails_with_nginx_own_words(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match='unknown directive "nonsense"'), running_nginx(tmp_path, "nonsense;", []):
        pass


def test_a_port_that_another_server_has_fails_with_nginx_own_words(site: str, tmp_path: Path) -> None:
    port = int(site.rpartition(":")[2])

    with (
        pytest.raises(AssertionError, match="Address already in use"),
        running_nginx(tmp_path, server(tmp_path, port), [port]),
    ):
        pass
