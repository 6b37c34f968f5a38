"""The `usher` command: its subcommands and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from openusher import __version__
from openusher.cli import account, call, check, codes, demo, serve, status

app = typer.Typer(
    name="usher",
    help="A ticket authority for video streams: decides who may watch, and counts every attempt exactly.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 the answer is no, 4 not reachable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.add_typer(account.app, name="account")
app.command("call")(call.call)
app.command("codes")(codes.codes)
app.command("status")(status.status)
app.command("check")(check.check)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"usher {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    return


def main() -> None:
    """The entry point of the console script."""
    app()
