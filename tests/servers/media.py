"""Small HLS, DASH and MP4 media, made by ffmpeg, and ffmpeg as a player that counts the frames it gets."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FRAMES_A_SECOND = 10

_MAKE_S_MAX = 60.0
_PLAY_S_MAX = 60.0
_STOP_S_MAX = 10.0
_LOOK_S = 0.02
_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning")


# --- made -----------------------------------------------------------------------------------------------------------


def make_hls(folder: Path, *, seconds: int, segment_s: int = 2, fmp4: bool = False, one_file: bool = False) -> Path:
    """Write a VOD playlist `index.m3u8` with its segments into `folder`, and return the playlist.

    Segments are `segment000.ts` and so on; with `fmp4` they are `segment000.m4s` and so on, after one `init.mp4`. With
    `one_file` they are ranges of `whole.ts`.
    """
    kind = ["-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4"] if fmp4 else []
    kind += ["-hls_flags", "single_file"] if one_file else []
    segments = folder / ("whole.ts" if one_file else "segment%03d.m4s" if fmp4 else "segment%03d.ts")
    form = ["-f", "hls", "-hls_time", str(segment_s), "-hls_playlist_type", "vod", *kind]
    return _make(folder / "index.m3u8", [*form, "-hls_segment_filename", str(segments)], seconds, segment_s)


def make_dash(folder: Path, *, seconds: int) -> Path:
    """Write a static `manifest.mpd` with its segments of two seconds into `folder`, and return the manifest.

    Stream 0 is video, stream 1 audio: `init-stream0.m4s`, `chunk-stream0-00001.m4s` and so on.
    """
    return _make(folder / "manifest.mpd", ["-f", "dash", "-seg_duration", "2"], seconds, 2)


def make_film(file: Path, *, seconds: int) -> Path:
    """Write an MP4 that can be played while it loads, its index first, and return it."""
    return _make(file, ["-f", "mp4", "-movflags", "+faststart"], seconds, 2)


def _make(file: Path, form: Sequence[str], seconds: int, keyframe_s: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = ("-f", "lavfi", "-i", f"testsrc=size=64x36:rate={FRAMES_A_SECOND}")
    tone = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000")
    every = str(keyframe_s * FRAMES_A_SECOND)
    # A key frame where each segment is to begin and nowhere else: segments are cut at key frames only.
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1", "-b:v", "20k")
    keyframes = ("-g", every, "-keyint_min", every, "-sc_threshold", "0")
    audio = ("-c:a", "aac", "-b:a", "16k")
    made = subprocess.run(
        ["ffmpeg", *_QUIET, "-y", *picture, *tone, "-t", str(seconds), *video, *keyframes, *audio, *form, str(file)],
        capture_output=True,
        text=True,
        timeout=_MAKE_S_MAX,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return file


# --- played ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a player got: `frames` of video decoded, and what it said (`stderr`: warnings and errors)."""

    frames: int
    ended_well: bool
    stderr: str

    @property
    def http_errors(self) -> tuple[int, ...]:
        """The HTTP statuses from 400 up that it was answered with, in order; a try again counts again."""
        return tuple(int(status) for status in re.findall(r"HTTP error (\d{3})", self.stderr))


class Player:
    """An ffmpeg that plays in the background; `playing` starts one."""

    def __init__(self, process: subprocess.Popen[bytes], progress: IO[bytes], said: IO[bytes]) -> None:
        self.process = process
        self._progress = progress
        self._said = said

    def frames(self) -> int:
        """Frames of video decoded so far; a few tenths of a second old while it plays."""
        counts = re.findall(r"^frame=\s*(\d+)", _written(self._progress), re.MULTILINE)
        return int(counts[-1]) if counts else 0

    def await_frames(self, count: int, *, timeout_s: float = 20.0) -> None:
        """Return once `count` frames are decoded; AssertionError where it ends or `timeout_s` pass before."""
        deadline = time.monotonic() + timeout_s
        while self.frames() < count:
            playing = self.process.poll() is None and time.monotonic() < deadline
            # The last frames may have been counted between the two looks.
            assert playing or self.frames() >= count, f"{self.frames()} frames of {count}:\n{_written(self._said)}"
            time.sleep(_LOOK_S)

    def wait(self, *, timeout_s: float = _PLAY_S_MAX) -> Played:
        """What it got once it has ended by itself; where it has not after `timeout_s`, it is stopped.

        It has ended well where it was not stopped and had nothing to complain of. ffmpeg's exit status alone does
        not tell: it leaves out segments that it cannot get, and ends with 0.
        """
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.stop()
        said = _written(self._said)
        return Played(frames=self.frames(), ended_well=status == 0 and not said, stderr=said)

    def stop(self) -> Played:
        """End it (SIGTERM, then kill) and return what it got; it has not ended well, even had it just ended."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_S_MAX)
        self.process.kill()
        self.process.wait()
        return Played(frames=self.frames(), ended_well=False, stderr=_written(self._said))


@contextmanager
def playing(
    source: str | Path,
    *,
    seek_s: float = 0,
    user_agent: str | None = None,
    options: Sequence[str] = (),
    realtime: bool = False,
) -> Iterator[Player]:
    """A player of a file or URL while the context lasts; it is stopped where it still plays then.

    `seek_s` is where it begins, 0 the start; the first segments are read all the same, to learn what is in them. In an
    HLS playlist of MP4 segments ffmpeg 5.1 cannot seek: it gets the segments but no frame of them.

    `options` are ffmpeg's own for the input, such as `("-headers", "X-Pass: one\\r\\n")`, `("-referer", url)` or
    `("-cookies", "pass=one; path=/;")`; like `user_agent` they are for URLs. `realtime` plays a second a second,
    otherwise as fast as it comes.
    """
    asked = ["-re"] if realtime else []
    asked += ["-ss", str(seek_s)] if seek_s else []
    asked += ["-user_agent", user_agent] if user_agent is not None else []
    progress = ("-progress", "pipe:1", "-stats_period", "0.1")
    # Passthrough: otherwise frames are made up or dropped to keep the rate, and counted so.
    out = ("-fps_mode", "passthrough", "-f", "null", "-")
    # A local manifest whose path is relative is looked for beside itself and not found.
    name = str(source.resolve()) if isinstance(source, Path) else source
    with tempfile.TemporaryFile() as reports, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["ffmpeg", *_QUIET, *progress, "-threads", "1", *asked, *options, "-i", name, *out],
            stdin=subprocess.DEVNULL,
            stdout=reports,
            stderr=said,
        )
        player = Player(process, reports, said)
        try:
            yield player
        finally:
            player.stop()


def frames_of(
    source: str | Path,
    *,
    seek_s: float = 0,
    user_agent: str | None = None,
    options: Sequence[str] = (),
    realtime: bool = False,
    timeout_s: float = _PLAY_S_MAX,
) -> Played:
    """Play a file or URL to its end, for `timeout_s` at most; arguments as of `playing`, result as of `Player.wait`."""
    with playing(source, seek_s=seek_s, user_agent=user_agent, options=options, realtime=realtime) as player:
        return player.wait(timeout_s=timeout_s)


def _written(file: IO[bytes]) -> str:
    # Read at a place: ffmpeg shares the file's position and would write on from wherever a plain read ends.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
