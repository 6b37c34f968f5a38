"""How many attempts a node is filled with, as it is said on the command line."""

from __future__ import annotations

import typer


def attempts_of(size: str) -> int:
    """The number that `20k`, `1m` or `10m` stands for. Raises typer.BadParameter."""
    unit = {"k": 1_000, "m": 1_000_000}.get(size[-1:].lower(), 1)
    digits = size if unit == 1 else size[:-1]
    if not digits.isdigit() or not int(digits):
        raise typer.BadParameter("give a number of attempts such as 20k, 1m or 10m")
    return int(digits) * unit
