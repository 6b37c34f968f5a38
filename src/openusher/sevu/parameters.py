"""Read a command's parameters by the rules that all commands share (SEVU rulings, "null and empty").

An optional parameter that is null or '' counts as left out; '0' and 0 are values. A text may come as a whole number,
for PHP and Perl clients send digits unquoted; any other type is an error that names the parameter.
"""

from __future__ import annotations

from openusher.errors import InvalidParameter
from openusher.model.limits import INTEGER_MAX, checked_text
from openusher.sevu.dates import read_instant
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.refusal import missing_fields

FLAG_TAKEN = "give 1 or 0"


class Parameters:
    """The parameters of one command, by lower-case name. It remembers which names were asked for, so that it can
    tell which the command does not know."""

    def __init__(self, members: dict[str, JsonValue], spelling: dict[str, str]) -> None:
        self._members = members
        self._spelling = spelling
        self._known: set[str] = set()

    def require(self, *names: str) -> None:
        """Raise CommandRefused (0006) with all of `names` that are left out."""
        members = self._members
        missing = [name for name in names if members.get(name) in (None, "")]
        if missing:
            raise missing_fields(missing)

    def text(self, name: str, *, bytes_max: int) -> str | None:
        """A text of at most `bytes_max` bytes of UTF-8, or None where it is left out. Raises InvalidParameter."""
        given = self._given(name)
        if given is None:
            return None
        if not isinstance(given, str):
            if isinstance(given, bool) or not isinstance(given, int):
                raise InvalidParameter(name, f"{_type_name(given)} was given; give a text")
            given = str(given)
        return checked_text(name, given, bytes_max=bytes_max)

    def whole(self, name: str, *, most: int = INTEGER_MAX) -> int | None:
        """A whole number from 0 to `most`, also as a text of digits; None if left out. Raises InvalidParameter."""
        given = self._given(name)
        if given is None:
            return None
        number = whole_number(given)
        if number is None:
            raise InvalidParameter(name, f"not a whole number; give one from 0 to {most}")
        if number > most:
            raise InvalidParameter(name, f"larger than {most}; give a whole number from 0 to {most}")
        return number

    def flag(self, name: str) -> bool | None:
        """1, 0, '1', '0', true or false; None where it is left out. Raises InvalidParameter."""
        given = self._given(name)
        if given is None:
            return None
        if isinstance(given, int | str) and given in (0, 1, "0", "1"):
            return given in (1, "1")
        raise InvalidParameter(name, f"neither yes nor no; {FLAG_TAKEN}")

    def instant(self, name: str, *, now_s: int) -> int | None:
        """A date in unix seconds (see `dates`), or None where it is left out. Raises InvalidParameter."""
        given = self._given(name)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise InvalidParameter(name, f"{_type_name(given)} was given; give a date as text or unix seconds")
        return read_instant(name, given, now_s=now_s)

    def text_is(self, name: str, text: str) -> bool:
        """Whether it is given as this very text."""
        return self._given(name) == text

    def know(self, *names: str) -> None:
        """Take `names` as known though they are not read."""
        self._known.update(names)

    def ignored(self) -> tuple[str, ...]:
        """The names nobody asked for, as they were written and in that order. Ask when all has been read."""
        if self._spelling.keys() <= self._known:
            return ()
        return tuple(written for name, written in self._spelling.items() if name not in self._known)

    def _given(self, name: str) -> JsonValue:
        self._known.add(name)
        given = self._members.get(name)
        return None if given == "" else given


def whole_number(given: JsonValue) -> int | None:
    """`given` as a number from 0, if it is a whole one or a text of up to 20 digits; else None."""
    if isinstance(given, bool):
        return None
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= 20:
        return int(given)
    return given if isinstance(given, int) and given >= 0 else None


def _type_name(given: JsonValue) -> str:
    match given:
        case bool():
            return "true or false"
        case float():
            return "a number with a fraction"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "something else"
