"""`usher check`: do ledger and attempt log hold what they must?"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from openusher.cli.connect import admin, ask
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import Exit, out, print_json
from openusher.settings import LogKind, Settings


def check(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what reads every page and row.")] = False,
    log: Annotated[LogKind | None, typer.Option(help="As the node is run. [default: chdb]")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Compare ledger and attempt log, block by block, on a running or a stopped node. Exit status 3 if not sound.

    Example: usher check --quick
    """
    answer = asyncio.run(_check(settings_of(data=data, log=log), quick))
    if as_json:
        print_json(answer)
    elif answer["faults"]:
        for fault in answer["faults"]:
            out.print(f"- {fault}", markup=False)
    else:
        out.print("Sound: ledger and attempt log hold what they must.")
    if answer["faults"]:
        raise typer.Exit(Exit.NO)


async def _check(settings: Settings, quick: bool) -> Any:
    async with admin(settings, with_log=True) as client:
        return await ask(client, "POST", "/check", {"quick": quick})
