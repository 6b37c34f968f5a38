"""Patterns of app and video names: pipe lists with `*`, the one matcher that decides them everywhere.

The ledger calls `Pattern.matches`; the attempt log gets the same alternatives translated to its own LIKE. Rulings:
SEVU, "wildcards" and "lengths": `*` matches any characters, `/` too; case-sensitive; all else stands for itself.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from openusher.errors import InvalidParameter

ALTERNATIVES_MAX = 64
STARS_MAX = 16


class Pattern(msgspec.Struct, frozen=True):
    """A list of alternatives; each is a tuple of the literal pieces between its stars (one piece: no star)."""

    alternatives: tuple[tuple[str, ...], ...]

    def matches(self, name: str) -> bool:
        """Say whether any alternative matches the whole of `name`.

        Each alternative runs over `name` once and never goes back, so the worst case is the length of the pattern
        times that of `name`, whatever stars it has.
        """
        for pieces in self.alternatives:
            if len(pieces) == 1:
                if name == pieces[0]:
                    return True
            elif _matches_pieces(pieces, name):
                return True
        return False


def _matches_pieces(pieces: tuple[str, ...], name: str) -> bool:
    """Match two pieces or more, a star between each two."""
    first, last = pieces[0], pieces[-1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    # Taking each middle piece at its left-most place leaves the most room for those after it, so nothing is retried.
    at, end = len(first), len(name) - len(last)
    for piece in pieces[1:-1]:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def is_pattern(text: str) -> bool:
    """Say whether `text` as a search filter is a pattern, and not an exact name."""
    return "*" in text or "|" in text


@lru_cache(maxsize=4096)
def parse_pattern(field: str, text: str) -> Pattern:
    """Read a pipe list such as `my_video.mp4|my_folder/*`. Empty alternatives match nothing and are dropped.

    Raises InvalidParameter naming `field`: more than 64 alternatives, more than 16 `*` in one, or nothing in it.
    """
    alternatives = [part for part in text.split("|") if part]
    if not alternatives:
        raise InvalidParameter(field, "names nothing; give a name, or * for any")
    if len(alternatives) > ALTERNATIVES_MAX:
        raise InvalidParameter(field, f"has more than {ALTERNATIVES_MAX} alternatives")
    if any(part.count("*") > STARS_MAX for part in alternatives):
        raise InvalidParameter(field, f"has more than {STARS_MAX} * in one alternative")
    return Pattern(tuple(tuple(part.split("*")) for part in alternatives))
