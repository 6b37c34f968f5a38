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
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare how many rows each block has, not what stands in them.")
    ] = False,
    log: Annotated[
        LogKind | None,
        typer.Option(help="As for usher serve; a running node knows.  [env var: USHER_LOG; default: chdb]"),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check the ledger, and compare the attempt log with it block by block; the node may run or not.

    Prints each fault with its repair, and ends with exit status 3 if there is any.

    \b
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
