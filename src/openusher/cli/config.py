"""`usher config`: which settings are in force and where each comes from; is a file good?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from openusher.cli.options import AsJson, Config, configured, takes_settings
from openusher.cli.output import EXITS, Exit, fail, out, print_json, print_table
from openusher.cli.sources import configure_from
from openusher.errors import SetupError
from openusher.web.tls import Certificate

app = typer.Typer(invoke_without_command=True)


@app.callback(epilog=EXITS)
@takes_settings
def show(context: typer.Context, config: Config = None, as_json: AsJson = False, **flags: Any) -> None:
    """Show the settings that usher serve would take here, and whether each comes from a flag, from the environment,
    from the file, or is a default.

    \b
    Example: usher config --json
    """
    if context.invoked_subcommand is not None:
        return
    found = configured(config, **flags)
    values = found.settings.model_dump(mode="json")
    if as_json:
        for name, place in found.places.items():
            print_json({"setting": name, "value": values[name], "from": place.source, "where": place.name})
        return
    rows = [[name, _shown(values[name]), place.name or place.source] for name, place in found.places.items()]
    print_table(["setting", "value", "from"], rows)


@app.command("check", short_help="Say whether a file's settings are good.", epilog=EXITS)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file with settings.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say whether a TOML file's settings are good, whatever flags and environment say, and whether its certificate and
    key are a pair; exit status 3 if they are not.

    \b
    Example: usher config check /etc/usher/usher.toml
    """
    if not os.path.isfile(file):
        fail(f"{file}: no such file")
    try:
        settings = configure_from(file).settings
        if settings.tls_cert is not None and settings.tls_key is not None:
            Certificate(settings.tls_cert, settings.tls_key)
        faults = []
    except SetupError as error:
        faults = str(error).splitlines()
    if as_json:
        print_json({"file": str(file), "faults": faults})
    else:
        for fault in faults or [f"{file}: good"]:
            out.print(fault, markup=False)
    if faults:
        raise typer.Exit(Exit.NO)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
