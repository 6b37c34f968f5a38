"""`usher account`: make accounts, list them, disable and enable them, add keys."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from openusher.cli.connect import admin, ask
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import Exit, fail, out, print_json, print_table
from openusher.settings import Settings

app = typer.Typer(help="Make and look after accounts; works whether or not the node runs.", no_args_is_help=True)

Cdn = Annotated[int, typer.Argument(help="The account's cdn number.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    cdn: Annotated[int, typer.Option(help="The number a site already has with ScaleEngine; 0 draws one.")] = 0,
    api_key: Annotated[str, typer.Option(help="The API key a site already has.")] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the secret a site already has; - reads stdin.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an account and print its cdn, api_key, secret and edge_token. The last two are shown only now.

    Example: usher account create acme --cdn 158 --api-key APX4… --secret-file secret.txt --json
    """
    secret = _read_secret(secret_file) if secret_file else ""
    made = _ask(
        settings_of(data=data),
        "POST",
        "/accounts",
        {"name": name, "cdn": cdn, "api_key": api_key, "secret": secret},
        create=True,
    )
    if as_json:
        print_json(made)
        return
    print_table(["", ""], [[field, made[field]] for field in ("name", "cdn", "api_key", "secret", "edge_token")])
    out.print("Keep secret and edge_token: they are not shown again.")


@app.command("list")
def list_accounts(data: Data = None, as_json: AsJson = False) -> None:
    """List the accounts."""
    accounts = _ask(settings_of(data=data), "GET", "/accounts")
    if as_json:
        for account in accounts:
            print_json(account)
        return
    rows = [[account["cdn"], account["name"], "yes" if account["active"] else "disabled"] for account in accounts]
    print_table(["cdn", "name", "active"], rows)


@app.command("disable")
def disable(cdn: Cdn, data: Data = None) -> None:
    """Refuse an account everywhere, at once: 0001 at the API, 401 at the door. Its rows stay."""
    _ask(settings_of(data=data), "POST", f"/accounts/{cdn}/disable")
    out.print(f"Account {cdn} is disabled.")


@app.command("enable")
def enable(cdn: Cdn, data: Data = None) -> None:
    """Let a disabled account in again."""
    _ask(settings_of(data=data), "POST", f"/accounts/{cdn}/enable")
    out.print(f"Account {cdn} is enabled.")


@app.command("add-key")
def add_key(cdn: Cdn, data: Data = None, as_json: AsJson = False) -> None:
    """Give an account another API key, so that a site can change keys without a gap."""
    made = _ask(settings_of(data=data), "POST", f"/accounts/{cdn}/keys")
    if as_json:
        print_json(made)
        return
    print_table(["", ""], [[field, made[field]] for field in ("cdn", "api_key", "secret")])
    out.print("Keep the secret: it is not shown again.")


def _ask(settings: Settings, method: str, path: str, body: Any = None, *, create: bool = False) -> Any:
    async def run() -> Any:
        async with admin(settings, create=create) as client:
            return await ask(client, method, path, body)

    return asyncio.run(run())


def _read_secret(path: Path) -> str:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--secret-file {path}: cannot read it: {error}", Exit.USAGE)
    if not text.strip():
        fail(f"--secret-file {path}: is empty", Exit.USAGE)
    return text.strip()
