"""`usher account`: make accounts, list and show them, disable and enable them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openusher.cli import key
from openusher.cli.connect import ask_node
from openusher.cli.credentials import read_secret_file
from openusher.cli.options import AsJson, Cdn, Data, Yes, settings_of
from openusher.cli.output import EXITS, confirm, counted, err, out, plain, print_fields, print_json, print_table

app = typer.Typer(
    help="Make and look after accounts, whether or not the node runs.\n\nExample: usher account create acme",
    epilog=EXITS,
    no_args_is_help=True,
)


@app.command("create", short_help="Make an account, or take one over.", epilog=EXITS)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name, for people; at most 128 bytes.")],
    cdn: Annotated[int, typer.Option(help="The number a site has with ScaleEngine, 1 to 2147483647; 0 draws one.")] = 0,
    api_key: Annotated[
        str, typer.Option(help="The API key a site has with ScaleEngine; without it one is drawn.")
    ] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the secret that signs now; - reads stdin. Without it one is drawn.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an account and print its cdn, api_key, secret and edge_token; the last two are shown only now.

    With --cdn, --api-key and --secret-file it takes over what a site has with ScaleEngine.

    \b
    Example: usher account create acme --json > acme.json
    """
    secret = read_secret_file(secret_file) if secret_file else ""
    made = ask_node(
        settings_of(data=data),
        "POST",
        "/accounts",
        {"name": name, "cdn": cdn, "api_key": api_key, "secret": secret},
        create=True,
    )
    if as_json:
        print_json(made)
        return
    print_fields({field: made[field] for field in ("name", "cdn", "api_key", "secret", "edge_token")})
    err.print("Keep secret and edge_token: they are not shown again.")


@app.command("list", short_help="List the accounts.", epilog=EXITS)
def list_accounts(data: Data = None, as_json: AsJson = False) -> None:
    """List the accounts: cdn, name, and whether it is active.

    \b
    Example: usher account list --json
    """
    accounts = ask_node(settings_of(data=data), "GET", "/accounts")
    if as_json:
        for account in accounts:
            print_json(account)
        return
    rows = [[account["cdn"], account["name"], "yes" if account["active"] else "disabled"] for account in accounts]
    print_table(["cdn", "name", "active"], rows)


@app.command("show", short_help="Show one account.", epilog=EXITS)
def show(cdn: Cdn, data: Data = None, as_json: AsJson = False) -> None:
    """Show an account: its API keys, its edges, how many tickets it has, and how many sessions while the node runs.

    \b
    Example: usher account show 158
    """
    found = ask_node(settings_of(data=data), "GET", f"/accounts/{cdn}")
    if as_json:
        print_json(found)
        return
    print_fields(
        {
            **found,
            "active": "yes" if found["active"] else "disabled",
            "keys": ", ".join(key["api_key"] for key in found["keys"]) or "none",
            "edges": ", ".join(map(str, found["edges"])) or "none",
        }
    )


@app.command("disable", short_help="Refuse an account everywhere.", epilog=EXITS)
def disable(cdn: Cdn, yes: Yes = False, data: Data = None, as_json: AsJson = False) -> None:
    """Refuse an account everywhere from now on: code 0001 at the API, status 401 at the door. The sessions of its
    viewers end, and what plays over a connection is dropped where it can be. What is recorded of it stays.

    \b
    Example: usher account disable 158 --yes
    """
    settings = settings_of(data=data)
    if not yes:
        found = ask_node(settings, "GET", f"/accounts/{cdn}")
        ending = f"{counted(found['sessions'], 'live session')} would end, and nobody of it gets in. "
        confirm(f"Account {cdn} is {plain(found['name'])}: {ending}Disable it?", yes=False)
    disabled = ask_node(settings, "POST", f"/accounts/{cdn}/disable")
    if as_json:
        print_json(disabled)
        return
    out.print(f"Account {cdn} is disabled; {counted(disabled['sessions_ended'], 'session')} ended.")


@app.command("enable", epilog=EXITS)
def enable(cdn: Cdn, data: Data = None, as_json: AsJson = False) -> None:
    """Let a disabled account in again.

    \b
    Example: usher account enable 158
    """
    enabled = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/enable")
    if as_json:
        print_json(enabled)
        return
    out.print(f"Account {cdn} is enabled.")


# What usher key create was called before there was usher key.
app.command("add-key", hidden=True, epilog=EXITS)(key.create)
