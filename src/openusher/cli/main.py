"""The `usher` command: its subcommands and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from openusher import __version__
from openusher.cli import (
    account,
    attempts,
    backup,
    call,
    check,
    codes,
    config,
    demo,
    edge,
    key,
    repair,
    restore,
    serve,
    session,
    status,
    tail,
    ticket,
)
from openusher.cli.output import EXITS

app = typer.Typer(
    name="usher",
    help="A ticket authority for video streams: decides who may watch, and counts every attempt exactly.",
    epilog=EXITS,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for name, command, summary in (
    ("serve", serve.serve, "Run a node."),
    ("call", call.call, "Sign a SEVU command, send it, show the reply."),
    ("status", status.status, "Show how a node is doing, on one screen."),
    ("tail", tail.tail, "Show attempts as they are decided."),
    ("check", check.check, "Check that ledger and attempt log hold what they must."),
    ("repair", repair.repair, "Mend the attempt log of a stopped node."),
    ("backup", backup.backup, "Copy ledger and attempt log as of one moment."),
    ("restore", restore.restore, "Make a data folder from a backup."),
    ("codes", codes.codes, "Print the table of the API's codes."),
    ("demo", demo.demo, "See the main job done on a throw-away node."),
):
    app.command(name, short_help=summary, epilog=EXITS)(command)
app.add_typer(config.app, name="config", short_help="Show which settings are in force, and from where.")
app.add_typer(account.app, name="account", short_help="Make and look after accounts.")
app.add_typer(key.app, name="key", short_help="Make and look after API keys.")
app.add_typer(ticket.app, name="ticket", short_help="Issue tickets, look at them, take over those sold elsewhere.")
app.add_typer(edge.app, name="edge", short_help="Make and look after edges: media servers that ask.")
app.add_typer(attempts.app, name="attempts", short_help="Count, list and export attempts.")
app.add_typer(session.app, name="session", short_help="See who watches now, and end sessions.")


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
