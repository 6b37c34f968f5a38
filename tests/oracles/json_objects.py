"""What the SEVU endpoint takes as JSON, said by way of Python's own `json`: slow and recursive, but not ours."""

from __future__ import annotations

import json
import math


class Refuse(ValueError):
    """The text is not taken."""


def read(raw: bytes) -> dict[str, object]:
    """The members of the object in `raw` by lower-case name, the signature included. Raises Refuse."""
    try:
        pairs = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_Pairs,
            parse_constant=_refuse,
            parse_int=_whole,
            parse_float=_fraction,
        )
    except (ValueError, RecursionError) as error:
        raise Refuse(str(error)) from None
    if not isinstance(pairs, _Pairs):
        raise Refuse("not an object")
    _check(pairs, 1)
    written: dict[str, str] = {}
    members: dict[str, object] = {}
    for name, value in pairs:
        lower = "".join(c.lower() if "A" <= c <= "Z" else c for c in name) if name.isascii() else name
        if lower != "signature" and written.setdefault(lower, name) != name:
            raise Refuse("in different case")
        members[lower] = _plain(value)
    return members


class _Pairs(list[tuple[str, object]]):
    """An object with all its members, the repeated ones too."""


def _refuse(word: str) -> object:
    raise Refuse(word)


def _whole(text: str) -> int:
    if sum(c.isdigit() for c in text) > 20:
        raise Refuse("digits")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if sum(c.isdigit() for c in text) > 20 or math.isinf(value):
        raise Refuse("number")
    return value


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        if any(c == "\0" or 0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise Refuse("text")
    elif isinstance(value, list):
        if depth > 32:
            raise Refuse("depth")
        for member in value:
            if isinstance(value, _Pairs):
                _check(member[0], depth)
                _check(member[1], depth + 1)
            else:
                _check(member, depth + 1)


def _plain(value: object) -> object:
    if isinstance(value, _Pairs):
        return {name: _plain(member) for name, member in value}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value
