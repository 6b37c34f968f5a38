"""Read a signed JSON object from its raw text: its members, and where its `signature` stands.

What is signed is the text, not the values (SEVU facts, 1.2), so the text must be read where it lies. The reader never
recurses, goes over the text once, and bounds what it takes: depth 32, numbers of 20 digits. `json` and msgspec raise
RecursionError on 60 kB of `[`, and both take numbers and texts that our stores do not.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn

import msgspec

from openusher.sevu import codes
from openusher.sevu.refusal import refused

DEPTH_MAX = 32
DIGITS_MAX = 20

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class JsonObject(msgspec.Struct, frozen=True, kw_only=True):
    """What the text holds. `members` are by lower-case name, without the signature; `spelling` says how each name was
    written. `signatures` are the values of the top-level signature members, `signed_text` the text without them."""

    members: dict[str, JsonValue]
    spelling: dict[str, str]
    signatures: list[JsonValue]
    signed_text: bytes

    def __repr__(self) -> str:
        return f"JsonObject({len(self.signed_text)} bytes)"


_SPACE = r"[ \t\n\r]*+"
_STRING = r'"([^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"'
_INTEGER = r"-?(?:0|[1-9][0-9]*+)"

_START = re.compile(rf"{_SPACE}\{{{_SPACE}")
_NAME = re.compile(rf"{_STRING}{_SPACE}:{_SPACE}")
# Groups: 1 string, 2 number with fraction or exponent, 3 whole number, 4 word, 5 opening bracket.
_VALUE = re.compile(
    rf"{_STRING}|({_INTEGER}(?:\.[0-9]++(?:[eE][+-]?[0-9]++)?|[eE][+-]?[0-9]++))|({_INTEGER})"
    rf"|(true|false|null)|([{{\[]){_SPACE}"
)
_AFTER_VALUE = re.compile(rf"{_SPACE}([,}}\]])")
# Nearly all members of a command are a name and a text without escapes: one match reads both.
_PLAIN = r'"([^"\\\x00-\x1f]*+)"'
_PLAIN_MEMBER = re.compile(rf"{_PLAIN}{_SPACE}:{_SPACE}{_PLAIN}")
_AFTER_MEMBER = re.compile(rf"{_SPACE}([,}}]){_SPACE}")
_SPACES = re.compile(_SPACE)
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))",
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def read_object(raw: bytes) -> JsonObject:
    """Read one JSON object, and nothing after it, from the raw bytes of the form field.

    Names compare without regard to case after their escapes are read: the same name again wins, as in PHP; the same
    name in another case is refused, the signature excepted, for the verifier refuses a second one in any case.

    Raises CommandRefused (malformed request), saying where: not UTF-8, a byte order mark, not JSON, not an object,
    too deep, a number of more digits or larger than a double, NUL, or half a surrogate pair.
    """
    return _Reader(_decoded(raw)).object()


def _decoded(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise refused(codes.MALFORMED_REQUEST, "the JSON text begins with a byte order mark; leave it out")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        problem = f"the JSON text is not UTF-8 at byte {error.start}"
    raise refused(codes.MALFORMED_REQUEST, problem)


class _Reader:
    """One pass over one text. `_cuts` are the places to leave out of what is signed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._members: dict[str, JsonValue] = {}
        self._spelling: dict[str, str] = {}
        self._signatures: list[JsonValue] = []
        self._cuts: list[tuple[int, int]] = []

    def object(self) -> JsonObject:
        text = self._text
        start = _START.match(text)
        if start is None:
            raise refused(codes.MALFORMED_REQUEST, "the JSON text is not an object; it has to begin with {")
        at = start.end()
        if text[at : at + 1] == "}":
            at += 1
        else:
            at = self._members_from(at)
        if _spaces_end(text, at) != len(text):
            self._fail(at, "something follows the object")
        return JsonObject(
            members=self._members,
            spelling=self._spelling,
            signatures=self._signatures,
            signed_text=self._signed_text(),
        )

    def _members_from(self, at: int) -> int:
        """Read the members of the outermost object; return where it ends."""
        text = self._text
        comma: int | None = None
        while True:
            name_at = at
            member = _PLAIN_MEMBER.match(text, at)
            if member is not None:
                name, value, end = member[1], member[2], member.end()
            else:
                name, at = self._name(at)
                value, end = self._value(at)
            after = _AFTER_MEMBER.match(text, end)
            if after is None:
                self._fail(end, "expected , or }")
            if self._put(name, value, name_at):
                # The first member goes with the comma behind it, any other with the comma before it.
                first_end = after.end() if after[1] == "," else end
                self._cuts.append((name_at, first_end) if comma is None else (comma, end))
            if after[1] == "}":
                return after.end(1)
            comma, at = after.start(1), after.end()

    def _put(self, name: str, value: JsonValue, at: int) -> bool:
        """Keep a member of the outermost object; say whether it is a signature."""
        # Only ASCII has case here: str.lower() would make a KELVIN SIGN the k of `key`.
        lower = name.lower() if name.isascii() else name
        if lower == "signature":
            self._signatures.append(value)
            return True
        if self._spelling.setdefault(lower, name) != name:
            self._fail(at, "a member's name comes twice, in different case")
        self._members[lower] = value
        return False

    def _signed_text(self) -> bytes:
        parts: list[str] = []
        at = 0
        for start, end in self._cuts:
            # Cuts of neighbours can overlap by a comma where several signatures stand; those are refused anyway.
            parts.append(self._text[at : max(at, start)])
            at = end
        parts.append(self._text[at:])
        return "".join(parts).encode()

    def _value(self, at: int) -> tuple[JsonValue, int]:
        """Read the value that begins at `at`, with all inside it; return it and where it ends."""
        match = _VALUE.match(self._text, at)
        if match is None:
            self._fail(at, "expected a value")
        if match.lastindex != 5:
            return self._scalar(match), match.end()
        return self._container(match)

    def _container(self, match: re.Match[str]) -> tuple[JsonValue, int]:
        """Read the list or object whose bracket is `match`, going down and up by a list of our own.

        `open_containers` are those around the value at hand, outermost first, each with the name under which it
        hangs in the one before.
        """
        text = self._text
        open_containers: list[tuple[list[JsonValue] | dict[str, JsonValue], str]] = []
        name = ""
        value: JsonValue
        while True:
            # At a value, matched but not yet read.
            at = match.end()
            if match.lastindex == 5:
                opened: list[JsonValue] | dict[str, JsonValue] = [] if match[5] == "[" else {}
                if len(open_containers) + 2 > DEPTH_MAX:
                    self._fail(match.start(), f"nested deeper than {DEPTH_MAX}")
                if text[at : at + 1] != ("]" if match[5] == "[" else "}"):
                    open_containers.append((opened, name))
                    if isinstance(opened, dict):
                        name, at = self._name(at)
                    match = self._next_value(at)
                    continue
                value, at = opened, at + 1
            else:
                value = self._scalar(match)
            # A value is complete: hang it up, and close what closes after it.
            while True:
                if not open_containers:
                    return value, at
                container, container_name = open_containers[-1]
                if isinstance(container, list):
                    container.append(value)
                else:
                    container[name] = value
                closing = "]" if isinstance(container, list) else "}"
                after = _AFTER_VALUE.match(text, at)
                if after is None or after[1] not in (",", closing):
                    self._fail(at, f"expected , or {closing}")
                at = after.end()
                if after[1] == ",":
                    at = _spaces_end(text, at)
                    break
                open_containers.pop()
                value, name = container, container_name
            if isinstance(container, dict):
                name, at = self._name(at)
            match = self._next_value(at)

    def _next_value(self, at: int) -> re.Match[str]:
        match = _VALUE.match(self._text, at)
        if match is None:
            self._fail(at, "expected a value")
        return match

    def _name(self, at: int) -> tuple[str, int]:
        match = _NAME.match(self._text, at)
        if match is None:
            self._fail(at, "expected a member's name in double quotes, and a colon")
        return self._unescaped(match[1], at), match.end()

    def _scalar(self, match: re.Match[str]) -> JsonValue:
        group = match.lastindex
        if group == 1:
            return self._unescaped(match[1], match.start())
        if group == 4:
            return _WORDS[match[4]]
        number = match[0]
        if len(number) > DIGITS_MAX and sum(map(str.isdigit, number)) > DIGITS_MAX:
            self._fail(match.start(), f"a number has more than {DIGITS_MAX} digits")
        if group == 3:
            return int(number)
        value = float(number)
        if math.isinf(value):
            self._fail(match.start(), "a number is too large")
        return value

    def _unescaped(self, raw: str, at: int) -> str:
        if "\\" not in raw:
            return raw

        def character(escape: re.Match[str]) -> str:
            if escape.lastindex == 4:
                return _SHORT_ESCAPES.get(escape[4], escape[4])
            if escape.lastindex == 2:
                high, low = int(escape[1], 16), int(escape[2], 16)
                return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
            point = int(escape[3], 16)
            if point == 0:
                self._fail(at, "a text holds NUL")
            if 0xD800 <= point <= 0xDFFF:
                self._fail(at, "a text holds half a surrogate pair")
            return chr(point)

        return _ESCAPE.sub(character, raw)

    def _fail(self, at: int, problem: str) -> NoReturn:
        raise refused(codes.MALFORMED_REQUEST, f"the JSON text at character {at + 1}: {problem}")


def _spaces_end(text: str, at: int) -> int:
    match = _SPACES.match(text, at)
    return match.end() if match else at
