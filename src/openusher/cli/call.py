"""`usher call`: sign a SEVU command, send it, show the reply."""

from __future__ import annotations

import difflib
import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from openusher.cli.credentials import read_signer
from openusher.cli.options import AsJson
from openusher.cli.output import Exit, err, fail, out, print_json
from openusher.cli.signed import SignedText, signed_command
from openusher.sevu.codes import UNKNOWN_COMMAND
from openusher.sevu.command import COMMON_MEMBERS
from openusher.sevu.registry import COMMANDS

_TIMEOUT_S = 60.0


def call(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help=f"One of {', '.join(COMMANDS)}.", show_default=False)
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="The command's parameters.", show_default=False)
    ] = None,
    url: Annotated[str, typer.Option(help="Where the API is.", envvar="USHER_URL")] = "http://127.0.0.1:8088/stable/",
    credentials: Annotated[
        Path | None,
        typer.Option(help="A file with what usher account create --json printed.", envvar="USHER_CREDENTIALS"),
    ] = None,
    cdn: Annotated[int | None, typer.Option(help="The account's number, where there is no --credentials.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Its API key, where there is no --credentials.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with its secret, where there is no --credentials; - reads stdin.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Sign with the published credentials of usher demo.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Also print the exact text that is signed, and an equal curl line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a SEVU command, send it and show the reply; exit status 3 if the reply says failure.

    \b
    Example: usher call sevu.errorcount key=mystream.53ffc996dd39d5.39102367 success=1 --demo
    """
    signer = read_signer(credentials=credentials, cdn=cdn, api_key=api_key, secret_file=secret_file, demo=demo)
    text = signed_command(command, _read_parameters(parameters or []), signer)
    if show:
        # With --json, stdout is the reply alone.
        _show(text, url, err if as_json else out)
    reply = _post(url, text.sent)
    if as_json:
        print_json(reply)
    else:
        out.print(json.dumps(reply, indent=2, ensure_ascii=False), markup=False)
    _warn(command, reply)
    if reply.get("status") != "success":
        raise typer.Exit(Exit.NO)


def _show(text: SignedText, url: str, console: Console) -> None:
    console.print("[bold]The text that is signed:[/]")
    console.print(text.signed, markup=False)
    console.print("[bold]The same with curl[/] (good until the timestamp is too old):")
    console.print(f"curl --data-urlencode {shlex.quote('json=' + text.sent)} {shlex.quote(url)}", markup=False)
    console.print("[bold]The reply:[/]")


def _warn(command: str, reply: dict[str, object]) -> None:
    """Point at what was probably mistyped: the command, or a parameter that the node says it did not know."""
    if command not in COMMANDS and reply.get("code") == UNKNOWN_COMMAND.number:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        err.print(f"Did you mean {near[0]}?" if near else f"The commands are {', '.join(COMMANDS)}.")
    ignored = reply.get("ignored")
    if isinstance(ignored, list):
        err.print(f"{command} does not know, and ignored: {', '.join(map(str, ignored))}", markup=False)


def _read_parameters(pairs: list[str]) -> dict[str, str | int]:
    parameters: dict[str, str | int] = {}
    given: set[str] = set()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            fail(f"{pair}: cannot read it; give parameters as name=value", Exit.USAGE)
        # To a node, names that differ in case are one.
        if name.lower() in COMMON_MEMBERS:
            fail(f"{name}: usher call says this itself, so that it fits the signature; leave it out", Exit.USAGE)
        if name.lower() in given:
            fail(f"{name}: is given twice; give it once", Exit.USAGE)
        given.add(name.lower())
        parameters[name] = value
    return parameters


def _post(url: str, text: str) -> dict[str, object]:
    if not url.startswith(("http://", "https://")):
        fail(
            f"--url {url}: begins with neither http:// nor https://; give it as http://127.0.0.1:8088/stable/",
            Exit.USAGE,
        )
    # Late, since it takes as long to load as all the rest of this command.
    import httpx

    try:
        answer = httpx.post(url, data={"json": text}, timeout=_TIMEOUT_S)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        fail(f"{url} does not answer ({error}); is the node running? usher serve starts one", Exit.UNREACHABLE)
    try:
        reply = answer.json()
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        fail(f"{url} answered with status {answer.status_code}, but not in the API's form; is this its path?")
    return reply
