"""Paths by the book: decoded one character after the other, and templates by trying every length, the longest first."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator, Sequence

BYTES_MAX = 2048


def decoded(target: str) -> str | None:
    """The path of a request target; None for one that servers may read in two ways."""
    path, octets = target.split("?", 1)[0], bytearray()
    while path:
        character, path = path[0], path[1:]
        if character == "%":
            escape, path = path[:2], path[2:]
            if len(escape) < 2 or any(digit not in string.hexdigits for digit in escape):
                return None
            if chr(int(escape, 16)) in "/\\":
                return None
            octets.append(int(escape, 16))
        elif character == "#" or "\ud800" <= character <= "\udfff":
            return None
        else:
            octets += character.encode()
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if is_plain(text) and len(octets) <= BYTES_MAX else None


def is_plain(path: str) -> bool:
    """Whether each segment of a decoded path is a name: to a server on Windows, to one that drops what follows a `;`,
    and to one that decodes again."""
    first, *segments = path.split("/")
    if first or not segments or "" in segments[:-1]:
        return False
    if any(unicodedata.category(character) == "Cc" or character == "\\" for character in path):
        return False
    again = path.lower()
    return not (
        any(escape in again for escape in ("%2e", "%2f", "%5c"))
        or any(segment.split(";")[0] in (".", "..") for segment in segments)
    )


def read(templates: Sequence[str], path: str, *, is_start: bool) -> tuple[str, str, str, str] | None:
    """App, appinst, video and base by the first template that fits; None if none does."""
    for template in templates:
        spans = next(fits(list(tokens(template)), path, 0), None)
        if spans is not None:
            named = {name: path[begin:end] for name, (begin, end) in spans.items()}
            end = max(spans[name][1] for name in spans if name != "appinst")
            base = path[: path.rindex("/") + 1] if is_start and "/" in path[end:] else path[:end]
            return named.get("app", ""), named.get("appinst", ""), named["video"], base
    return None


def tokens(template: str) -> Iterator[str]:
    """Places with their braces, and what stands between them character for character."""
    while template:
        length = template.index("}") + 1 if template[0] == "{" else 1
        yield template[:length]
        template = template[length:]


Spans = dict[str, tuple[int, int]]


def fits(left: list[str], path: str, at: int) -> Iterator[Spans]:
    """Every way in which what is left of a template fits the path from `at` on."""
    if not left:
        if at == len(path):
            yield {}
        return
    token, *after = left
    name, ends = wanted(token, path, at)
    for end in ends:
        for spans in fits(after, path, end):
            yield spans | {name: (at, end)} if name else spans


def wanted(token: str, path: str, at: int) -> tuple[str, list[int]]:
    """The field that a token fills, if any, and where it may end, the longest first."""
    if not token.startswith("{"):
        return "", [at + 1] if path.startswith(token, at) else []
    place = token[1:-1]
    if place == "n":
        digits = len(path) - at - len(path[at:].lstrip("0123456789"))
        return "", [at + digits] if digits else []
    if place == "video...":
        return "video", [end for end in range(len(path), at, -1) if path[end - 1] != "/"]
    slash = path.find("/", at)
    longest = len(path) if slash < 0 else slash
    if place == "*":
        return "", list(range(longest, at - 1, -1))
    if place in ("app", "appinst", "video"):
        return place, list(range(longest, at, -1))
    name, colon, words = place.partition(":")
    fitting = [word for word in (words if colon else place).split("|") if path.startswith(word, at)]
    return name if colon else "", [at + max(map(len, fitting))] if fitting else []
