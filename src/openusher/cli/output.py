"""How the commands speak: tables for people, JSON for programs, errors that say what to try next."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


class Exit(IntEnum):
    """The exit statuses of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO = 3
    UNREACHABLE = 4


EXITS = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the answer is no, 4 not reachable."

# Without emoji: a pass may hold ":smile:", and what a call shows must be what it signed.
out = Console(highlight=False, soft_wrap=True, emoji=False)
# No terminal: 80 columns would be taken for granted.
_wide = Console(width=10_000, highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def fail(message: str, status: Exit = Exit.FAILED) -> NoReturn:
    """Say on stderr what went wrong and end with `status`."""
    err.print(f"[bold red]usher:[/] {escape(message)}")
    raise typer.Exit(status)


def plain(text: str) -> str:
    """`text` with all that does not print as itself spelt out, as `\\x1b` or `\\u202e`: what a viewer sent must not
    move a terminal's cursor, colour what follows, or turn around what stands beside it."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def json_line(content: Any) -> str:
    """`content` as JSON on one line, in which as little is raw as in `plain`."""
    text = json.dumps(content, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def counted(number: int, thing: str) -> str:
    """How many there are, with an s where it is not one."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def confirm(question: str, *, yes: bool) -> None:
    """Before what cannot be undone: ask on the terminal; where there is none --yes has to be given. Ends the command
    where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} There is nobody to ask here: give --yes", Exit.USAGE)
    if not typer.confirm(question, err=True):
        fail("nothing was changed", Exit.NO)


def print_json(content: Any) -> None:
    """One object on one line, for programs."""
    sys.stdout.write(json_line(content) + "\n")


def print_fields(fields: dict[str, Any]) -> None:
    """Name and value, one a line. Not a table: those cut what is too long, and a secret is shown only once."""
    width = max(map(len, fields))
    for name, value in fields.items():
        out.print(f"{name:<{width}}  {plain(str(value))}", markup=False)


def print_table(columns: list[str], rows: list[list[Any]], *, title: str = "", whole: tuple[str, ...] = ()) -> None:
    """A narrow terminal breaks what is long, except in the columns that are kept `whole`, to be copied from; a file or
    a pipe has each row on one line, unless COLUMNS says how wide it is."""
    table = Table(title=title or None, title_justify="left", title_style="bold")
    for column in columns:
        # By default it would be cut, and what is cut cannot be given to the next command.
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    (out if has_width else _wide).print(table)
