"""Attempts as the commands show them: which fields, without passes, and safe wherever they are opened."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, TextIO

from openusher.cli.output import plain, print_table

# As sevu.errorlog has them, the pass after the user.
_FIELDS = ("id", "datetime", "key", "user", "pass", "ip", "app", "video", "appinst", "success", "reason", "server_ip",
           "pageurl", "refurl", "user_agent")  # fmt: skip
# What a spreadsheet takes for a formula, also in the widths of East Asian scripts [OWASP, CSV injection].
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Shown = dict[str, Any]


def fields(*, show_pass: bool) -> list[str]:
    """The names of an attempt's fields, in order."""
    return [name for name in _FIELDS if show_pass or name != "pass"]


def shown(members: dict[str, Any], *, show_pass: bool) -> Shown:
    """What of a row of sevu.errorlog is shown. A pass that names nobody before a `|` is its own user, and is hidden
    there too."""
    row = {name: members[name] for name in fields(show_pass=show_pass)}
    if not show_pass and row["user"] == members["pass"]:
        row["user"] = ""
    return row


def print_attempts(rows: Iterable[Shown], *, show_pass: bool) -> None:
    """A table of what tells attempts apart; all the rest is in JSON and CSV."""
    columns = ["id", "datetime", "reason", "key", "user", *(["pass"] if show_pass else []), "ip", "video"]
    heads = ["id", "when (UTC)", "decision", *columns[3:]]
    print_table(heads, [[decision(row[name]) if name == "reason" else row[name] for name in columns] for row in rows])


def decision(reason: str) -> str:
    """A reason as people read it, none included."""
    return reason or "accepted"


class CsvRows:
    """Writes rows as CSV, one a line, under a line with their names."""

    def __init__(self, file: TextIO, names: list[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(names)

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        self._writer.writerows([csv_cell(value) for value in row] for row in rows)


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula, and no terminal for a command."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if value.startswith(_FORMULA) else text
