"""`usher key`: give an account another API key, list its keys, revoke one."""

from __future__ import annotations

from typing import Annotated

import typer

from openusher.cli.connect import ask_node
from openusher.cli.options import AsJson, Data, Yes, settings_of
from openusher.cli.output import EXITS, confirm, err, fail, out, print_fields, print_json, print_table

app = typer.Typer(
    help="Make and look after API keys: what a site signs its commands with.\n\nExample: usher key create 158",
    epilog=EXITS,
    no_args_is_help=True,
)

Cdn = Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)]


@app.command("create", short_help="Give an account another API key.", epilog=EXITS)
def create(cdn: Cdn, data: Data = None, as_json: AsJson = False) -> None:
    """Give an account another API key and secret, so that a site can change keys without a gap. The secret is shown
    only now.

    \b
    Example: usher key create 158 --json > acme-key-2.json
    """
    made = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/keys")
    if as_json:
        print_json(made)
        return
    print_fields({field: made[field] for field in ("cdn", "api_key", "secret")})
    err.print("Keep the secret: it is not shown again.")


@app.command("list", short_help="List an account's API keys.", epilog=EXITS)
def list_keys(cdn: Cdn, data: Data = None, as_json: AsJson = False) -> None:
    """List an account's API keys: when each was made, and when it signed last, to the minute.

    \b
    Example: usher key list 158
    """
    keys = ask_node(settings_of(data=data), "GET", f"/accounts/{cdn}/keys")
    if as_json:
        for key in keys:
            print_json(key)
        return
    rows = [[key["api_key"], key["created_date"], key["used_date"]] for key in keys]
    print_table(["api_key", "made (UTC)", "used last (UTC)"], rows, whole=("api_key",))


@app.command("revoke", short_help="Refuse an API key for ever.", epilog=EXITS)
def revoke(
    api_key: Annotated[str, typer.Argument(metavar="API_KEY", help="The key, as usher key list shows it.")],
    yes: Yes = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Refuse an API key for ever, at once, with code 0001 as one that never was. With --yes also an account's last one,
    which leaves its sites without any.

    \b
    Example: usher key revoke APX4GKLM0RKQLSP2FBO1ROPKSSW47DZE
    """
    settings = settings_of(data=data)
    keys = ask_node(settings, "GET", "/keys")
    cdn = next((key["cdn"] for key in keys if key["api_key"] == api_key), None)
    if cdn is None:
        fail("there is no such API key; usher key list shows an account's")
    left = sum(key["cdn"] == cdn for key in keys) - 1
    stays = f"{left} other{'' if left == 1 else 's'} of account {cdn} stay{'s' if left == 1 else ''}."
    question = stays if left else f"It is the last one of account {cdn}: its sites could sign nothing."
    confirm(f"{question} Revoke it?", yes=yes)
    revoked = ask_node(settings, "POST", "/keys/revoke", {"api_key": api_key, "even_last": not left})
    if as_json:
        print_json(revoked)
        return
    out.print(f"The key is revoked. {stays}")
