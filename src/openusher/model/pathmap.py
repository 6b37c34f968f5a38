"""Path maps: what a URL's path means to an edge, and which files belong to one video.

A map is an ordered list of templates; the first that matches says app, appinst and video. In a template stands

    {app} {appinst} {video}   for a part of the path between slashes or, beside other text, for the most of one
    {video...}                likewise, and may hold slashes
    {*}                       likewise, of no interest; also for nothing
    {n}                       for all the digits that stand there
    {ts|m4s}                  for one of these words; {appinst:play|live} for one that is also the appinst

and all else for itself. Of the first three lines a part holds one place at most, and no two places touch: so it is no
guess where one ends, and no path takes long to read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.limits import URL_BYTES_MAX, checked_text

TEMPLATES_MAX = 32
TEMPLATE_BYTES_MAX = 512
# What is remembered of a map: some 300 KB at most.
_KNOWN_PATHS, _KNOWN_CHARACTERS_MAX = 512, 200


class Kind(StrEnum):
    """What a file is to a player. A viewer starts with a playlist or a whole file; the others follow."""

    PLAYLIST = "playlist"
    SEGMENT = "segment"
    KEY = "key"
    FILE = "file"
    OTHER = "other"


_STARTS = frozenset((Kind.PLAYLIST, Kind.FILE))
_EXTENSIONS = {
    Kind.PLAYLIST: ("m3u8", "mpd"),
    Kind.SEGMENT: ("ts", "m2ts", "m4s", "m4f", "cmfv", "cmfa", "cmft", "dash", "aac", "ac3", "ec3", "vtt", "webvtt"),
    Kind.KEY: ("key",),
    Kind.FILE: ("mp4", "m4v", "m4a", "mov", "webm", "mkv", "flv", "f4v", "avi", "mpg", "mpeg", "3gp",
                "mp3", "ogg", "oga", "ogv", "opus", "flac", "wav"),
}  # fmt: skip
_KINDS = {f".{extension}": kind for kind, extensions in _EXTENSIONS.items() for extension in extensions}
# Segments with a whole file's extension: heads of fragmented MP4 (ffmpeg, nginx-vod, shaka, GPAC), nginx-rtmp's DASH,
# MediaMTX. A whole file taken for one cannot be played, so these names are as narrow as packagers allow.
_SEGMENT_NAME = re.compile(
    r"(?:init(?:[-_.].*)?|.*[-_.](?:dash)?init)\.(?:mp4|m4v|m4a)"
    r"|.*-[0-9]+\.m4[va]|[0-9a-f]{12}_[a-z]+[0-9]*_(?:seg|part)[0-9]+\.mp4"
)

# ScaleEngine's and Wowza's. Any other folder is part of the video's name: else one user's `film.mp4` were everybody's.
_INSTANCE = "{appinst:play|live|sevu|_definst_}"
# Playlists with a folder of their own. No name that a stream may have, such as `main`: its folder may be all streams'.
_OWN = "{playlist|index|master|manifest|prog_index|llhls|ts:playlist}"
DEFAULT_TEMPLATES = (
    # ScaleEngine and Wowza; with `/<app>/play/sestoreN/<user>/<path>.mp4/playlist.m3u8`.
    f"/{{app}}/{_INSTANCE}/{{video...}}/{{playlist|manifest}}.{{m3u8|mpd}}",
    f"/{{app}}/{_INSTANCE}/{{video...}}/chunklist{{*}}.m3u8",
    f"/{{app}}/{{video...}}/{_OWN}.{{m3u8|mpd}}",
    "/{app}/{video...}/chunklist{*}.m3u8",
    # SRS: the folder `/live/cam1/` beside `/live/cam1.mpd` and `/live/cam1.m3u8`.
    "/{app}/{video}/{video|audio}-{n}.m4s",
    "/{app}/{video}/{video|audio}-init.mp4",
    "/{app}/{video...}/init.mp4",
    # nginx-rtmp and SRS: the files of all streams in one folder.
    "/{app}/{video...}-{n}.{ts|m4s|m4v|m4a|key}",
    "/{app}/{video...}-init.{mp4|m4v|m4a}",
    "/{app}/{video...}.{m3u8|mpd|flv|vtt|jpg|png}",
    # Whole files keep their extension, as ScaleEngine names them.
    "/{app}/{video...}",
)


class Meaning(msgspec.Struct, frozen=True):
    """What a path means. `base` is what all files of one video begin with: a folder, with its last slash, or, where the
    file's own name names the video, the path up to the end of that name. It is empty where nothing was read."""

    kind: Kind
    app: str
    appinst: str
    video: str
    base: str

    @property
    def may_start(self) -> bool:
        """Whether a viewer without a session starts with it."""
        return self.kind in _STARTS and self.base != ""


class PathMap:
    """Reads paths as they are after decoding, without their query."""

    def __init__(self, templates: Sequence[str] = DEFAULT_TEMPLATES) -> None:
        """Raises InvalidParameter("path", …) for a template that cannot be read."""
        if not 0 < len(templates) <= TEMPLATES_MAX:
            raise InvalidParameter("path", f"give 1 to {TEMPLATES_MAX} templates")
        self._patterns = [_pattern(template) for template in templates]
        # A crowd asks for the same files.
        self._known = lru_cache(maxsize=_KNOWN_PATHS)(self._read)

    def read(self, path: str) -> Meaning:
        """What `path` means. One that no template knows, or not every server reads alike, has no base or video."""
        return self._known(path) if len(path) <= _KNOWN_CHARACTERS_MAX else self._read(path)

    def _read(self, path: str) -> Meaning:
        kind = kind_of(path)
        for pattern in self._patterns if _is_plain(path) else ():
            if (found := pattern.fullmatch(path)) is not None:
                names = found.groupdict()
                folder, end = path.rindex("/") + 1, max(found.end(name) for name in names if name != "appinst")
                base = path[: folder if end < folder and kind in _STARTS else end]
                return Meaning(kind, names.get("app", ""), names.get("appinst", ""), names["video"], base)
        return Meaning(kind, "", "", "", "")

    def belongs(self, path: str, base: str) -> bool:
        """Whether `path` is one of the files of the video whose start had this `base`."""
        if not base or not path.startswith(base):
            return False
        return _is_plain(path) if base.endswith("/") else self.read(path).base == base


def kind_of(path: str) -> Kind:
    """By the file's extension, in whatever case, and by names that only segments have."""
    name = path[path.rfind("/") + 1 :].lower()
    kind = _KINDS.get(name[name.rfind(".") :], Kind.OTHER)
    return Kind.SEGMENT if kind is Kind.FILE and _SEGMENT_NAME.fullmatch(name) else kind


# Java's servers drop a segment's `;…` before they resolve `..`, and some proxies have a path decoded twice.
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|//|/\.\.?(?:;[^/]*)?(?:/|\Z)|%(?:2[EeFf]|5[Cc])")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%2[Ff]")


def _is_plain(path: str) -> bool:
    """Whether every server reads it alike."""
    # In a fifth of the expression's time, which is then for paths where there is something to look at.
    usual = path.isprintable() and not ("/." in path or "//" in path or "\\" in path or "%" in path)
    return path.startswith("/") and (usual or _NOT_PLAIN.search(path) is None)


def decoded_path(raw: str) -> str:
    """The path of a request target. Raises InvalidParameter("path", …) for one that not every server reads alike."""
    path = raw.partition("?")[0]
    if "#" in path or _BAD_ESCAPE.search(path):
        raise InvalidParameter("path", "holds #, an encoded slash, or a % that encodes nothing")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeError:
        raise InvalidParameter("path", "is no UTF-8") from None
    if not _is_plain(decoded):
        raise InvalidParameter("path", "has no / first, or holds //, a dot segment, backslash or control character")
    return checked_text("path", decoded, bytes_max=URL_BYTES_MAX)


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    checked_text("path", template, bytes_max=TEMPLATE_BYTES_MAX)
    if not _is_plain(template) or "}{" in template:
        raise InvalidParameter("path", "a template begins with /, looks like a path, and no two of its places touch")
    try:
        pattern = re.compile("".join("/" + _part(part) for part in template[1:].split("/")))
    except re.error:
        raise InvalidParameter("path", "a template names a field twice") from None
    if "video" not in pattern.groupindex:
        raise InvalidParameter("path", "a template has no {video}")
    return pattern


_FIELDS = ("app", "appinst", "video")
# A `{video...}` that ended in a slash would make a file's base look like a folder's.
_ANY_TEXT = {**{name: f"(?P<{name}>[^/]+)" for name in _FIELDS}, "video...": "(?P<video>.*[^/])", "*": "[^/]*"}


def _part(part: str) -> str:
    """It is tried once at a place, and `{video...}` is one a template: a path costs its length times the template's."""
    pieces = re.split(r"\{([^{}]*)\}", part)
    literals, places = pieces[::2], pieces[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise InvalidParameter("path", "a brace in a template is not closed")
    if sum(place in _ANY_TEXT for place in places) > 1:
        raise InvalidParameter("path", "a part of a template has two places for any text")
    pieces[::2], pieces[1::2] = map(re.escape, literals), map(_place, places)
    expression = "".join(pieces)
    return expression if "video..." in places else f"(?>{expression}(?![^/]))"


def _place(place: str) -> str:
    if place == "n" or place in _ANY_TEXT:
        return _ANY_TEXT.get(place, "[0-9]++")
    field, _, words = place.partition(":")
    named = field in _FIELDS
    # The longest first, since the others are not tried after it.
    listed = sorted((words if named else place).split("|"), key=len, reverse=True)
    if "" in listed or not (named or "|" in place):
        raise InvalidParameter(
            "path",
            f"{{{place}}} is no place of a template; give {{app}}, {{appinst}}, {{video}}, {{video...}}, {{n}}, {{*}} "
            "or words such as {ts|m4s}",
        )
    expression = "(?>" + "|".join(map(re.escape, listed)) + ")"
    return f"(?P<{field}>{expression})" if named else expression
