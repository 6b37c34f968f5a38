"""Options that several commands share, and how flags become settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from openusher.cli.output import Exit, fail
from openusher.cli.sources import DEFAULT_FILE, FILE_VARIABLE, Configuration, configure, flag_of, variable_of
from openusher.errors import SetupError
from openusher.settings import Settings, operator_settings, type_of

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder.  [env var: USHER_DATA; default: usher-data]", show_default=False),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help=f'A TOML file with settings; "" reads none.  [env var: {FILE_VARIABLE}; default: {DEFAULT_FILE}, if any]',
        show_default=False,
    ),
]
Cdn = Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)]
ShowPass = Annotated[bool, typer.Option("--show-pass", help="Show the passes too, which else are left out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")]


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a flag for every setting, made from the settings class, in the place of its `**flags`."""
    return with_options(command, _setting_flags())


def with_options(command: Callable[..., None], options: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """Give `command` these options in the place of its `**keywords`."""
    own = inspect.signature(command, eval_str=True)
    parameters = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += options
    # typer reads both.
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _setting_flags() -> Iterator[inspect.Parameter]:
    for name, field in operator_settings().items():
        flag = f"{flag_of(name)}/--no-{flag_of(name)[2:]}" if type_of(field) is bool else flag_of(name)
        default = "" if field.default is None else f"; default: {field.default}"
        text = f"{field.description}  [env var: {variable_of(name)}{default}]"
        option = Annotated[type_of(field) | None, typer.Option(flag, help=text, show_default=False)]  # type: ignore[valid-type]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_SPAN_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(flag: str, text: str) -> int:
    """A span of time such as 90, 15m, 24h or 7d; ends the command on what is none."""
    read = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if read is None:
        fail(f'{flag}: cannot take "{text}"; give seconds, or a number with m, h or d, such as 24h', Exit.USAGE)
    return int(read[1]) * _SPAN_S[read[2]]


def settings_of(**flags: Any) -> Settings:
    """As `configured`, the settings alone."""
    return configured(None, **flags).settings


def configured(config: str | None, **flags: Any) -> Configuration:
    """Settings from the flags that were given, the environment and a file; ends the command on one that is wrong."""
    try:
        return configure({name: value for name, value in flags.items() if value is not None}, file=config)
    except SetupError as error:
        fail(str(error), Exit.USAGE)
