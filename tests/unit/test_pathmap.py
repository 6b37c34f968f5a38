"""Path maps: the layouts of real servers, what belongs to a video and what does not, and paths that mean nothing."""

from __future__ import annotations

import posixpath
import re
import time
from contextlib import suppress
from urllib.parse import quote, unquote

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.model.pathmap import TEMPLATE_BYTES_MAX, TEMPLATES_MAX, Kind, PathMap, decoded_path, kind_of
from tests.oracles import paths

DEFAULT = PathMap()
STARTS = (Kind.PLAYLIST, Kind.FILE)

anything = st.text(st.characters(exclude_categories=()))

# By kind, with /<app>/(appinst)/[video] and a | where the base ends.
LAYOUTS = """
# ScaleEngine: live as in 2012 and today, VOD, its child playlist
playlist /<demo-iphone>/(live)/[cam1]/|playlist.m3u8 /<demo-live>/(play)/[cam1]/|playlist.m3u8
playlist /<demo-live>/(play)/[cam1]/|chunklist_w630020335.m3u8 /<demo-live>/(sevu)/[cam1]/|playlist.m3u8
playlist /<demo-vod>/(play)/[sestore3/demo/a.mp4]/|playlist.m3u8
playlist /<demo-vod>/(play)/[sestore3/demo/x/y/é.mp4]/|playlist.m3u8
# Wowza: with and without its instance, files in folders, SMIL and stream groups, DASH
playlist /<live>/[cam1.stream]/|playlist.m3u8 /<live>/(_definst_)/[cam1.stream]/|playlist.m3u8
playlist /<live>/[cam1]/|manifest.mpd /<vod>/(_definst_)/[mp4:dir/sample.mp4]/|playlist.m3u8
playlist /<vod>/(_definst_)/[smil:dir/a.smil]/|manifest.mpd /<live>/[ngrp:cam1_all]/|playlist.m3u8
playlist /<live>/[cam1]/|chunklist.m3u8 /<live>/[cam1]/|chunklist-b450000.m3u8 /<vod>/[mp4:a.mp4]/|playlist.m3u8
segment  /<live>/[cam1/media_w1_3.ts]|
# A folder is no instance: each user's film is another video
playlist /<vod>/[ann/film.mp4]/|playlist.m3u8 /<vod>/[bob/film.mp4]/|playlist.m3u8
# nginx-rtmp: all streams in one folder (the default), nested, DASH, keys, thumbnails
playlist /<hls>/[cam1]|.m3u8 /<hls>/[cam1-12]|.m3u8 /<hls>/[cam1]/|index.m3u8 /<dash>/[cam1]|.mpd
playlist /<dash>/[cam1]/|index.mpd /<hls>/[cam1_hi]|.m3u8
segment  /<hls>/[cam1]|-0.ts /<hls>/[cam1-12]|-3.ts /<dash>/[cam1]|-init.m4v /<dash>/[cam1]|-536490.m4v
segment  /<dash>/[cam1]|-0.m4a /<dash>/[cam1]|-init.m4a /<hls>/[cam1]|-1448275200000.ts
key      /<hls>/[cam1]|-12.key
other    /<hls>/[cam1]|.png
# SRS: HLS in TS and fMP4, DASH, HTTP-FLV
playlist /<live>/[cam1]|.m3u8 /<hls>/[live/cam1]|.m3u8
segment  /<live>/[cam1]|-7.m4s /<live>/[cam1]|/init.mp4 /<live>/[cam1]|/video-7.m4s /<live>/[cam1]|/audio-init.mp4
file     /<live>/[cam1]|.flv
# MediaMTX behind a location of nginx: HLS, low latency
playlist /<hls>/[live/cam1]/|index.m3u8
segment  /<live>/[cam1/0a1b2c3d4e5f_video1_seg12.mp4]| /<live>/[cam1/0a1b2c3d4e5f_audio2_part7.mp4]|
segment  /<live>/[cam1/0a1b2c3d4e5f_video1_init.mp4]| /<live>/[cam1/0a1b2c3d4e5f_main_seg12.ts]|
# OvenMediaEngine, Nimble, nginx-vod
playlist /<app>/[cam1]/|llhls.m3u8 /<app>/[cam1]/|chunklist_0_video_5Kxq_llhls.m3u8
playlist /<hls>/[a/film,240,480,.mp4.urlset]/|master.m3u8 /<app>/[cam1]/|ts:playlist.m3u8
segment  /<app>/[cam1/part_0_1_0_video_5Kxq_llhls.m4s]| /<hls>/[film.mp4/init-v1-a1.mp4]|
other    /<app>/[cam1/thumb]|.jpg
key      /<hls>/[film.mp4/encryption.key]|
# ffmpeg, shaka, Apple: a folder for each
playlist /<vod>/[film]/|master.m3u8 /<vod>/[film]/|manifest.mpd /<vod>/[film]/|prog_index.m3u8
segment  /<vod>/[film/init-stream0.m4s]| /<vod>/[film/chunk-stream0]|-00001.m4s /<vod>/[film/audio_und_init.mp4]|
segment  /<vod>/[film/subs_0]|.vtt /<vod>/[film/init_0.mp4]| /<vod>/[film/a_dashinit.mp4]|
# Whole files, and what may look like a segment
file     /<vod>/[film.mp4]| /<vod>/[a/b/film.MP4]| /<vod>/[holiday_part2.mp4]| /<vod>/[initiation.mp4]|
file     /<vod>/[episode-12.mp4]| /<vod>/[01.m4a]| /<vod>/[reinit.mp4]| /<pod>/[12.mp3]| /<vod>/[a.webm]|
segment  /<vod>/[INIT.m4V]|
other    /<vod>/[film.html]| /<vod>/[mp4]|
# Names that only look like a playlist with a folder of its own
playlist /<hls>/[index]|.m3u8 /<hls>/[live/stream]|.m3u8 /<hls>/[live/main]|.m3u8 /<hls>/[x/indexes]|.m3u8
playlist /<hls>/[x/.m3u8]| /<hls>/[INDEX]|.m3u8
"""


def rows(table: str) -> list[tuple[str, str]]:
    lines = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    return [(kind, marked) for kind, *paths_of_kind in lines for marked in paths_of_kind]


def unmarked(marked: str) -> str:
    return re.sub(r"[]<>()|[]", "", marked)


@pytest.mark.parametrize(("kind", "marked"), rows(LAYOUTS))
def test_a_servers_usual_url_means_what_it_means_there(kind: str, marked: str) -> None:
    app, appinst, video = ("".join(re.findall(marks, marked)) for marks in (r"<(.*)>", r"\((.*)\)", r"\[(.*)\]"))

    meaning = DEFAULT.read(unmarked(marked))

    assert (kind, app, appinst, video, unmarked(marked.partition("|")[0])) == msgspec.structs.astuple(meaning)
    assert meaning.may_start is (kind in STARTS)


@pytest.mark.parametrize("path", ["/index.m3u8", "/film.mp4", "/", "/hls/", "/hls/a/", "/hls//a.m3u8", "hls/a.mp4", ""])
def test_what_is_in_no_app_or_not_plain_means_nothing_and_starts_nothing(path: str) -> None:
    meaning = DEFAULT.read(path)

    assert msgspec.structs.astuple(meaning) == (kind_of(path), "", "", "", "")
    assert not meaning.may_start
    assert not DEFAULT.belongs(path, meaning.base)


# --- what belongs to a video ----------------------------------------------------------------------------------------

# The start of a video, then its other files; `{v}` is its name.
FILES = {
    "ScaleEngine": "/d-live/play/{v}/playlist.m3u8 /d-live/play/{v}/chunklist_w1.m3u8 /d-live/play/{v}/media_w1_1.ts",
    "ScaleEngine VOD": "/d-vod/play/sestore3/d/{v}.mp4/playlist.m3u8 /d-vod/play/sestore3/d/{v}.mp4/media_1.ts",
    "Wowza": "/vod/mp4:{v}.mp4/manifest.mpd /vod/mp4:{v}.mp4/chunk_ctvideo_cfm4s_rid0_cs0_w1_mpd.m4s",
    "nginx-rtmp": "/hls/{v}.m3u8 /hls/{v}-0.ts /hls/{v}-1448275200000.ts /hls/{v}-12.key /hls/{v}.png",
    "nginx-rtmp DASH": "/dash/{v}.mpd /dash/{v}-init.m4v /dash/{v}-0.m4a /dash/{v}-5000.m4v",
    "nginx-rtmp nested": "/hls/{v}/index.m3u8 /hls/{v}/0.ts /hls/{v}/12.key /hls/{v}/index.mpd /hls/{v}/init.m4v",
    "SRS": "/live/{v}.m3u8 /live/{v}.flv /live/{v}-3.m4s /live/{v}/init.mp4 /live/{v}.mpd /live/{v}/video-7.m4s"
    " /live/{v}/audio-init.mp4",
    "MediaMTX": "/live/{v}/index.m3u8 /live/{v}/video1_stream.m3u8 /live/{v}/0a1b2c3d4e5f_video1_part7.mp4",
    "OvenMediaEngine": "/app/{v}/llhls.m3u8 /app/{v}/chunklist_0_video_K_llhls.m3u8 /app/{v}/part_0_1_0_video_K.m4s",
    "ffmpeg": "/vod/{v}/master.m3u8 /vod/{v}/720p/playlist.m3u8 /vod/{v}/720p/init.mp4 /vod/{v}/720p/seg_001.m4s",
    "shaka": "/vod/{v}/manifest.mpd /vod/{v}/audio_und_init.mp4 /vod/{v}/video_1.m4s /vod/{v}/subs/0.vtt",
    "whole files": "/vod/{v}.mp4",
}
# Names that have each other in them, and parts of what stands around them.
video_names = st.one_of(
    st.sampled_from(["cam1", "cam10", "cam1x", "cam", "1", "cam1-1", "cam1-1-1", "-1", "cam1-init", "init", "cam1.m3u8",
                     "cam1.mp4", "index", "video", "audio", "video-1", "play", "chunklist", "cam1-", "cam1.", ".m3u8"]),
    st.text(alphabet="ab01-_.", min_size=1, max_size=6),
    st.text(min_size=1, max_size=6),
)  # fmt: skip


def files(layout: str, video: str) -> list[str]:
    made = [file.replace("{v}", video) for file in FILES[layout].split()]
    assume("/" not in video and all(paths.is_plain(file) for file in made))
    return made


@pytest.mark.parametrize("layout", FILES)
@given(video=video_names)
def test_a_video_starts_with_its_playlist_and_all_its_files_belong_to_it(layout: str, video: str) -> None:
    start, *others = files(layout, video)

    meaning = DEFAULT.read(start)

    # A whole file that is called as packagers call heads is taken for one.
    assert meaning.may_start or kind_of(start) is Kind.SEGMENT
    assert all(DEFAULT.belongs(file, meaning.base) for file in (start, *others))


@pytest.mark.parametrize("layout", FILES)
@given(video=video_names, other=video_names)
def test_no_file_of_another_video_belongs(layout: str, video: str, other: str) -> None:
    assume(video != other)
    base = DEFAULT.read(files(layout, video)[0]).base

    assert not any(DEFAULT.belongs(file, base) for file in files(layout, other))


@given(video=video_names, layout=st.sampled_from(sorted(FILES)), others=st.lists(video_names, min_size=1, max_size=3))
def test_two_starts_with_one_base_are_of_one_app_and_video(layout: str, video: str, others: list[str]) -> None:
    meaning = DEFAULT.read(files(layout, video)[0])
    for other in (file for name in FILES for each in others for file in files(name, each)):
        read = DEFAULT.read(other)

        assert read.base != meaning.base or (meaning.app, meaning.video) == (read.app, read.video)


# Segments of paths as somebody would send them who wants out of a folder.
hostile_segments = st.lists(
    st.sampled_from(["/", "/", "..", ".", ";", "\\", "%2e", "%2E", "%2f", "%5C", "%25", "%", "%00", "%c3%a9", "%ff",
                     "%C2%85", "2f", "\n", "\0", "\x7f", "\x85", "a", "cam1", "cam2", ".m3u8", "-1.ts", "é", "?", "#",
                     "\ud800"]),
    max_size=8,
).map("".join)  # fmt: skip


@given(hostile_segments)
@example("..;a/cam2/index.m3u8")
@example("%2e%2e/cam2/index.m3u8")
def test_nothing_that_belongs_lies_outside_however_the_server_reads_it(rest: str) -> None:
    base = DEFAULT.read("/live/cam1/index.m3u8").base
    if DEFAULT.belongs(base + rest, base):
        without_parameters = "/".join(segment.partition(";")[0] for segment in (base + rest).split("/"))
        for read in (base + rest, unquote(base + rest), without_parameters, (base + rest).replace("\\", "/")):
            assert (posixpath.normpath(read) + "/").startswith(base)
            assert "\n" not in read


@given(hostile_segments.map("/live/cam1{}".format))
def test_only_a_path_that_every_server_reads_alike_means_anything(path: str) -> None:
    meaning = DEFAULT.read(path)

    assert meaning.base == "" or paths.is_plain(path)
    assert DEFAULT.belongs(path, "/live/") is paths.is_plain(path)


@given(anything, anything)
def test_reading_never_fails(path: str, base: str) -> None:
    assert DEFAULT.read(path).base in path
    assert DEFAULT.belongs(path, base) <= path.startswith(base)


# --- templates ------------------------------------------------------------------------------------------------------

WORDS = ["{n}", "{a|aa}", "{a|ab}", "{appinst:a|b}", "{app:ab}", "{video:a|aa}"]
ANY = ["{app}", "{appinst}", "{video}", "{video...}", "{*}"]
PARTS = [
    ["", "a", "1-", "-"],
    ["", *ANY],
    ["-", "a", ".", "aa-", "b"],
    ["", *WORDS],
    ["", "-", "a", "1", ".m3u8", ".ts", ".mp4"],
]
parts = st.tuples(*map(st.sampled_from, PARTS)).map("".join) | st.sampled_from(["a", "b.m3u8", "a.ts", *ANY])
templates = st.lists(parts, min_size=1, max_size=4).map(lambda made: "/" + "/".join(made))


def is_valid(template: str) -> bool:
    with suppress(InvalidParameter):
        return bool(PathMap([template]))
    return False


@st.composite
def maps_and_paths(draw: st.DrawFn) -> tuple[list[str], str]:
    """A map, and a path that was made by one of its templates more often than not."""
    listed = draw(st.lists(templates.filter(is_valid), min_size=1, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        return listed, "/" + draw(st.text(alphabet="ab1-./", max_size=10))
    path = ""
    for token in paths.tokens(draw(st.sampled_from(listed))):
        words = token[1:-1].rpartition(":")[2].split("|")
        free = st.text(alphabet="ab1-/" if "..." in token else "ab1-", min_size=token != "{*}", max_size=4)
        if token == "{n}":
            path += draw(st.text(alphabet="01", min_size=1, max_size=3))
        else:
            path += token if token[0] != "{" else draw(free) if token in ANY else draw(st.sampled_from(words))
    return listed, path


@given(maps_and_paths())
@example((["/{app}/{video}a{a|aa}"], "/x/baaa"))
@example((["/{app}/{video...}a{a|aa}"], "/x/b/caaa"))
def test_a_map_reads_what_the_oracle_reads(made: tuple[list[str], str]) -> None:
    listed, path = made
    expected = paths.read(listed, path, is_start=kind_of(path) in STARTS) if paths.is_plain(path) else None

    meaning = PathMap(listed).read(path)

    assert (expected or ("", "", "", "")) == (meaning.app, meaning.appinst, meaning.video, meaning.base)


names = st.text(alphabet="abc12.é -", min_size=1, max_size=6)


@given(st.permutations(["app", "appinst", "video"]), names, names, names)
def test_what_is_filled_into_a_template_is_read_out_of_it(order: list[str], app: str, appinst: str, video: str) -> None:
    template = "/x/" + "/".join(f"_{{{field}}}_" for field in order) + "-{n}_{lo|hi}.ts"
    path = template.replace("{n}_{lo|hi}", "07_hi")
    path = path.replace("{app}", app).replace("{appinst}", appinst).replace("{video}", video)

    meaning = PathMap([template]).read(path)

    assert (app, appinst, video) == (meaning.app, meaning.appinst, meaning.video)


def test_where_the_files_name_names_the_app_no_other_apps_files_belong() -> None:
    swapped = PathMap(["/{video}/{app}.m3u8", "/{video}/{app}-{n}.ts"])
    base = swapped.read("/cam1/one.m3u8").base

    assert base == "/cam1/one"
    assert swapped.belongs("/cam1/one-7.ts", base)
    assert not swapped.belongs("/cam1/two.m3u8", base)


@given(maps_and_paths())
def test_a_start_belongs_to_itself_and_its_base_names_app_and_video(made: tuple[list[str], str]) -> None:
    listed, path = made
    meaning = PathMap(listed).read(path)
    if meaning.may_start:
        assert path.startswith(meaning.base)
        assert PathMap(listed).belongs(path, meaning.base)
        assert meaning.video in meaning.base
        assert meaning.app in meaning.base


UNREADABLE = {
    "begins with /": ["", "{app}/{video}"],
    "looks like a path": ["/{app}//{video}", "/{app}/../{video}", "/{app}/\n{video}"],
    "touch": ["/{app}/{video}{n}.ts", "/{app}/{*}{video}.ts", "/{app}/{}{video}"],
    "not closed": ["/{app}/{video", "/{app}/video}", "/{app}/{{video}}", "/{app}/{a/b}/{video}"],
    "two places for any text": ["/{app}_{video}.ts", "/{video...}-{*}"],
    "names a field twice": ["/{app}/{app}/{video}", "/{video...}/{video}", "/{app}/{app:a}/{video}"],
    "has no {video}": ["/{app}/x.m3u8", "/{app}/{video|audio}.ts"],
    "is no place": ["/{app}/{vidoe}", "/{}/{video}", "/{app:}/{video}", "/{app:a|}/{video}", "/{n:3}/{video}"],
    "surrogate": ["/{app}/{video}\ud800"],
    "longer than": ["/{video}" + "é" * TEMPLATE_BYTES_MAX],
}


@pytest.mark.parametrize(("problem", "template"), [(why, each) for why in UNREADABLE for each in UNREADABLE[why]])
def test_a_template_that_cannot_be_read_is_refused_with_its_reason(problem: str, template: str) -> None:
    with pytest.raises(InvalidParameter, match=re.escape(problem)) as refused:
        PathMap([template])

    assert refused.value.field == "path"


PIECES = [*ANY, *WORDS, "{", "}", "/", "|", ":", "(?P<app>", "\\", "[", "*", "-", "video", "\ud800"]


@given(
    anything | st.lists(st.sampled_from(PIECES)).map("".join).map("/".__add__), st.text(alphabet="ab1-/", max_size=20)
)
def test_a_weird_template_reads_paths_or_is_an_invalid_parameter(template: str, path: str) -> None:
    with suppress(InvalidParameter):
        PathMap([template]).read("/" + path)


def test_a_map_has_at_least_one_template_and_not_too_many() -> None:
    PathMap(["/{video}"] * TEMPLATES_MAX)
    for number in (0, TEMPLATES_MAX + 1):
        with pytest.raises(InvalidParameter):
            PathMap(["/{video}"] * number)


def test_no_path_takes_long_to_read() -> None:
    """With a guess at every place this would take centuries; without, a fortieth of what it may."""
    slow = [
        "/{video...}" + "/{*}" * 120 + "/x", "/{video...}" + "-{n}" * 100 + "x", "/{video}" + "/{*}a{aa|a}" * 40 + "/x",
        "/{video}-" + "{a|aa}-" * 60 + "x", "/x" + "{n}1" * 99 + "/{video}", "/{video...}/{app}-{n}-{n}/{*}-{n}-{n}/x",
    ]  # fmt: skip
    pieces = ["/a", "/aaa", "-", "-1", "1", "a", "/-1", "a-", "/a-a", "a-aa/", "-init", "/init-", "/init-", "/.", ";"]
    long_paths = ["/x" + (piece * 2048)[:2040] + end for piece in pieces for end in ("", "x", ".mp4", ".m4a")]
    read_by = [PathMap([template]) for template in slow] + [PathMap(slow), DEFAULT]

    begun = time.process_time()
    for path in long_paths:
        for each in read_by:
            each.read(path)
            each.belongs(path, "/")

    assert time.process_time() - begun < 2


# --- decoding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/hls/a.m3u8", "/hls/a.m3u8"), ("/hls/a.m3u8?key=K", "/hls/a.m3u8"), ("/a.m3u8?key=K?x=/../b%zz", "/a.m3u8"),
        ("/a%3Fb.mp4?c", "/a?b.mp4"), ("/100%25.mp4", "/100%.mp4"), ("/a%23b+c%20d.mp4", "/a#b+c d.mp4"),
        ("/%D1%84ilm%F0%9F%8E%AC", "/фilm🎬"), ("/ф", "/ф"), ("/%2541", "/%41"), ("/...", "/..."), ("/?", "/"),
        ("/.well-known/a..b/..c/d.", "/.well-known/a..b/..c/d."), ("/live/cam1/", "/live/cam1/"), ("/a;x=1", "/a;x=1"),
        ("/" + "%41" * 2047, "/" + "A" * 2047), ("/" + "é" * 1023 + "a?" + "q" * 9999, "/" + "é" * 1023 + "a"),
    ],
)  # fmt: skip
def test_a_target_is_decoded_once_and_without_its_query(target: str, path: str) -> None:
    assert decoded_path(target) == path


@pytest.mark.parametrize(
    "target",
    ["", "*", "a/b", "?/a", "http://h/a", "%2Fa", "//h/a", "/a//b", "/a//", "/.", "/..", "/a/./b", "/a/..", "/a/../b",
     "/%2e%2E/b", "/.%2e/b", "/a/%2e", "/..;/b", "/a/..;x=1", "/.;/b", "/%2e%2e%3Bx/b", "/a%2fb", "/a%2Fb", "/a%5cb",
     "/a%5Cb", "/a\\b", "/..\\b", "/a%00", "/a\0", "/a%0d%0aX:1", "/a\tb", "/a%7f", "/a%C2%85b", "/a\x9f", "/%", "/a%2",
     "/a%zz", "/a%u0041", "/%%32e", "/a% 41", "/a%２０b", "/%ff", "/%c3", "/%c0%af", "/%c0%ae%c0%ae/", "/%ed%a0%80",
     "/\ud800", "/%f4%90%80%80", "/a#b", "/a#?b", "/a%252fb", "/%252E%252e/b", "/a%255Cb", "/" + "a" * 2048,
     "/" + "é" * 1024, "/" + "%C3%A9" * 1024],
)  # fmt: skip
def test_a_target_that_servers_read_in_two_ways_is_refused(target: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        decoded_path(target)

    assert refused.value.field == "path"


@given(hostile_segments.map("/".__add__) | hostile_segments | anything)
def test_a_target_is_decoded_as_the_oracle_decodes_it(target: str) -> None:
    decoded = None
    with suppress(InvalidParameter):
        decoded = decoded_path(target)

    assert paths.decoded(target) == decoded


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4), st.text(alphabet="?/%.&=a#", max_size=9))
def test_a_plain_path_survives_being_encoded_and_a_map_takes_what_was_decoded(segments: list[str], query: str) -> None:
    path = "/" + "/".join(segments)
    assume(paths.is_plain(path))

    assert decoded_path(f"{quote(path)}?{query}") == path
    assert PathMap(["/{video...}"]).read(path).video in (path[1:], "")
    assert PathMap(["/{video...}"]).belongs(path, "/")
