"""`usher ticket`: issue tickets, look at them, revoke them, take over those that were sold elsewhere."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from openusher.cli.connect import ask_node
from openusher.cli.credentials import read_secret_file
from openusher.cli.options import AsJson, Data, Yes, settings_of
from openusher.cli.output import EXITS, confirm, err, out, plain, print_fields, print_json, print_table
from openusher.cli.ticketfile import import_file
from openusher.model.ticket import TicketState

app = typer.Typer(
    help="Issue tickets, look at them, revoke them, and take over those sold elsewhere.\n\n"
    "Example: usher ticket list 158 --state open",
    epilog=EXITS,
    no_args_is_help=True,
)

Cdn = Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)]
Key = Annotated[str, typer.Option("--key", help="The ticket's key.", show_default=False)]
ShowPass = Annotated[bool, typer.Option("--show-pass", help="Show the passes too, which else are left out.")]


@app.command("request", short_help="Issue a ticket.", epilog=EXITS)
def request(
    cdn: Cdn,
    video: Annotated[str, typer.Option(help="What it opens: a name, or a pattern such as 'films/*'.")],
    app_name: Annotated[str, typer.Option("--app", help="The application; * is any.")] = "*",
    ip: Annotated[str, typer.Option(help="From where: an address, a net, auto (the first that uses it).")] = "auto",
    uses: Annotated[int, typer.Option(help="How often it may be used; 0 is any number.")] = 1,
    expire: Annotated[str, typer.Option(help="Until when: '2027-01-31 20:00:00' (UTC), '+1 week'.")] = "+1 week",
    user: Annotated[str, typer.Option(help="The user that a drawn pass names, in front of a |.")] = "",
    pass_file: Annotated[
        Path | None, typer.Option(help="A file with the pass; - reads stdin. Without it one is drawn.")
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="How many may watch with it at once; 0 is any number.")] = 0,
    newest_wins: Annotated[
        bool, typer.Option("--newest-wins", help="At --max-sessions a new viewer ends the oldest, and is not refused.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Issue a ticket, as sevu.request does. Prints it with its key and its pass.

    \b
    Example: usher ticket request 158 --video 'films/*' --user user123 --uses 3
    """
    password = read_secret_file(pass_file, flag="--pass-file") if pass_file else _drawn_pass(user)
    wanted = {
        "app": app_name,
        "video": video,
        "pass": password,
        "ip": ip,
        "uses": uses,
        "expire": expire,
        "max_sessions": max_sessions,
        "newest_wins": newest_wins,
    }
    made = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/tickets", wanted)["ticket"]
    _print_ticket(made, show_pass=True, as_json=as_json)


@app.command("status", short_help="Show one ticket.", epilog=EXITS)
def status(cdn: Cdn, key: Key, show_pass: ShowPass = False, data: Data = None, as_json: AsJson = False) -> None:
    """Show a ticket as it stands, as sevu.status does.

    \b
    Example: usher ticket status 158 --key films__.154d3ce7c75f98.40022036
    """
    found = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/tickets/status", {"key": key})
    _print_ticket(found, show_pass=show_pass, as_json=as_json)


@app.command("revoke", short_help="End a ticket for ever.", epilog=EXITS)
def revoke(cdn: Cdn, key: Key, yes: Yes = False, data: Data = None, as_json: AsJson = False) -> None:
    """End a ticket for ever, at once, and the sessions of its viewers, as sevu.revoke does.

    \b
    Example: usher ticket revoke 158 --key films__.154d3ce7c75f98.40022036 --yes
    """
    confirm("Nobody can watch with it any more, and who watches is ended. Revoke the ticket?", yes=yes)
    revoked = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/tickets/revoke", {"key": key})
    if as_json:
        _print_ticket(revoked, show_pass=False, as_json=True)
    else:
        out.print(f"The ticket {revoked['key']} is revoked.", markup=False)


@app.command("list", short_help="List tickets, the newest first.", epilog=EXITS)
def list_tickets(
    cdn: Cdn,
    key: Annotated[str, typer.Option(help="Those with this key, or a pattern of it: 'cam1.*'.")] = "",
    app_name: Annotated[str, typer.Option("--app", help="Those that open something of this application.")] = "",
    video: Annotated[str, typer.Option(help="Those that open this video.")] = "",
    user: Annotated[str, typer.Option(help="Those of this user, as a pass names him.")] = "",
    state: Annotated[TicketState | None, typer.Option(help="Those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the newest first.")] = 100,
    before: Annotated[str, typer.Option(metavar="KEY", help="Older than the ticket of this key.")] = "",
    show_pass: ShowPass = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the tickets of an account that match, the newest first. With --json and --show-pass the lines are what usher
    ticket import takes.

    \b
    Example: usher ticket list 158 --video films/intro.mp4 --state open
    """
    search = {"key": key, "app": app_name, "video": video, "user": user, "before": before}
    body = {**search, "state": state, "limit": limit + 1 if limit < 10_000 else limit}
    found = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/tickets/list", body)
    more, found = len(found) > limit, found[:limit]
    rows = [ticket if show_pass else _without_pass(ticket) for ticket in found]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        columns = ["key", "app", "video", "ip", "uses", "expires (UTC)", "state", *(["pass"] if show_pass else [])]
        fields = ["key", "app", "video", "ip", "uses", "expire_date", "state", *(["pass"] if show_pass else [])]
        cells = [[_cell(row, field) for field in fields] for row in rows]
        print_table(columns, cells, whole=("key",))
    if more:
        err.print(f"There are more: --before {rows[-1]['key']} goes on from here.", markup=False)


app.command("import", short_help="Take over a file of tickets sold elsewhere.", epilog=EXITS)(import_file)


def _drawn_pass(user: str) -> str:
    return f"{user}|{secrets.token_hex(8)}" if user else secrets.token_hex(8)


def _without_pass(ticket: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ticket.items() if name != "pass"}


def _cell(ticket: dict[str, Any], field: str) -> str:
    if field == "uses":
        return "any" if ticket["unlimited"] else f"{ticket['uses']} of {ticket['uses_limit']}"
    return plain(str(ticket[field]))


def _print_ticket(ticket: dict[str, Any], *, show_pass: bool, as_json: bool) -> None:
    shown = ticket if show_pass else _without_pass(ticket)
    if as_json:
        print_json(shown)
    else:
        print_fields({name: plain(str(value)) for name, value in shown.items()})
