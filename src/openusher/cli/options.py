"""Options that several commands share, and how flags become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from openusher.cli.output import Exit, fail
from openusher.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder.  [env var: USHER_DATA; default: usher-data]", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")]


def settings_of(**flags: Any) -> Settings:
    """Settings from the environment and the flags that were given; ends the command on one that is wrong."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        fail("; ".join(_sentence(fault["loc"], fault["input"], fault["msg"]) for fault in error.errors()), Exit.USAGE)


def _sentence(place: tuple[int | str, ...], given: Any, problem: str) -> str:
    """pydantic's finding as one of ours: the setting, what was given, what is taken."""
    name = ".".join(map(str, place))
    taken = problem.replace("Input should", "it should")
    return f'--{name.replace("_", "-")} (or USHER_{name.upper()}): cannot take "{given}"; {taken}'
