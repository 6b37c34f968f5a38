"""Patterns by the textbook: a table of which parts of the pattern match which parts of the name."""

from __future__ import annotations


def matches(pattern: str, name: str) -> bool:
    """SEVU rulings, "wildcards": a pipe list; `*` is any characters, `/` too; all else, case included, is itself."""
    return any(matches_one(alternative, name) for alternative in pattern.split("|") if alternative)


def matches_one(alternative: str, name: str) -> bool:
    # reached[j]: the part of the alternative read so far matches the first j characters of the name.
    reached = [True] + [False] * len(name)
    for wanted in alternative:
        if wanted == "*":
            reached = [any(reached[: j + 1]) for j in range(len(name) + 1)]
        else:
            reached = [False] + [reached[j] and name[j] == wanted for j in range(len(name))]
    return reached[-1]
