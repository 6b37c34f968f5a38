"""The options that say which attempts are meant, the same for every command about attempts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from openusher.cli.credentials import read_secret_file
from openusher.cli.options import with_options
from openusher.model.attempt import Reason

_A_TIME = 'YYYY-MM-DD hh:mm:ss (UTC), unix seconds, or steps from now such as "-1 day"'
_REASONS = ", ".join(f'"{reason}"' for reason in Reason if reason)


class _Filter(NamedTuple):
    """An option, and the parameter of sevu.errorcount and sevu.errorlog that it stands for (`pass_` for `pass`)."""

    parameter: str
    flag: str
    help: str
    kind: Any = str
    metavar: str | None = None
    least: int | None = None


_FILTERS = (
    _Filter("key", "--key", "Of the ticket with this key."),
    _Filter("user", "--user", "Of this user, as a pass names him before its first |."),
    # No --pass: everybody on the machine sees what a command was started with.
    _Filter("pass_", "--pass-file", "With the pass in this file; - reads stdin.", Path | None, "FILE"),
    _Filter("app", "--app", "Of this application; a name or a pattern such as 'acme-*'."),
    _Filter("video", "--video", "Of this video; a name or a pattern such as 'films/*|trailers/*'."),
    _Filter("ip", "--ip", "From this address or net."),
    _Filter("server_ip", "--server-ip", "Asked by the server of this address or net."),
    _Filter("success", "--success/--refused", "Accepted or refused ones only.", bool | None),
    _Filter("reason", "--reason", f"Refused for this reason: {_REASONS}."),
)
# Of what has been decided; what is yet to be has neither time nor number.
_OF_THE_PAST = (
    _Filter("starttime", "--from", f"At this time or later: {_A_TIME}.", metavar="TIME"),
    _Filter("endtime", "--to", "Before this time.", metavar="TIME"),
    _Filter("after_id", "--after-id", "Later than the attempt of this number.", int | None, least=0),
    _Filter("before_id", "--before-id", "Earlier than the one of this number.", int | None, least=0),
)
_FLAGS = {each.parameter.rstrip("_"): each.flag.partition("/")[0] for each in (*_FILTERS, *_OF_THE_PAST)}
_FLAGS |= {"limit": "--limit", "seek": "--seek"}


def takes_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` an option for every filter, in the place of its `**filters`; `search_of` reads them."""
    return with_options(command, map(_option, (*_FILTERS, *_OF_THE_PAST)))


def takes_live_filters(command: Callable[..., None]) -> Callable[..., None]:
    """As `takes_filters`, of attempts as they come."""
    return with_options(command, map(_option, _FILTERS))


def _option(each: _Filter) -> inspect.Parameter:
    told = typer.Option(each.flag, help=each.help, metavar=each.metavar, min=each.least, show_default=False)
    default = "" if each.kind is str else None
    return inspect.Parameter(
        each.parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[each.kind, told]
    )


def in_flags(error: str) -> str:
    """What the node says of a parameter, said of the option that the operator typed."""
    parameter, colon, problem = error.partition(": ")
    return f"{_FLAGS[parameter]}: {problem}" if colon and parameter in _FLAGS else error


def search_of(filters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of sevu.errorlog that were asked for; ends the command on a file that cannot be read."""
    search = {name: value for name, value in filters.items() if value not in ("", None)}
    if "pass_" in search:
        search["pass"] = read_secret_file(search.pop("pass_"), flag="--pass-file")
    return search
