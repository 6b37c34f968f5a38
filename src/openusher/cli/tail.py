"""`usher tail`: attempts as they are decided."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import msgspec
import typer

from openusher.cli.attemptfilters import in_flags, search_of, takes_live_filters
from openusher.cli.attemptrows import decision, shown
from openusher.cli.connect import admin, ask_lines
from openusher.cli.options import AsJson, Data, ShowPass, settings_of
from openusher.cli.output import Exit, err, fail, json_line, plain
from openusher.model.attempt import Reason
from openusher.model.block import attempt_of
from openusher.settings import Settings
from openusher.sevu.attempts import attempt_members

_DECISION_WIDTH = max(len(reason) for reason in Reason)


@takes_live_filters
def tail(
    cdn: Annotated[
        int | None,
        typer.Argument(metavar="[CDN]", help="The account's cdn number; without it, all accounts.", show_default=False),
    ] = None,
    show_pass: ShowPass = False,
    data: Data = None,
    as_json: AsJson = False,
    **filters: Any,
) -> None:
    """Show attempts that match every filter as they are decided, until Ctrl-C: when, account, decision, address, key,
    user and video. A terminal that is too slow is told how many it has missed; no decision waits for it.

    \b
    Example: usher tail 158 --refused --ip 192.0.2.0/24
    """
    search = search_of(filters) | ({} if cdn is None else {"cdn": cdn})
    try:
        asyncio.run(_tail(settings_of(data=data), search, show_pass=show_pass, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _tail(settings: Settings, search: dict[str, Any], *, show_pass: bool, as_json: bool) -> None:
    async with admin(settings, running=True) as client:
        async for lines in ask_lines(client, "POST", "/tail", search, put=in_flags):
            for line in lines:
                content = msgspec.json.decode(line)
                match content:
                    case list():
                        sys.stdout.write(_shown(content, show_pass=show_pass, as_json=as_json) + "\n")
                    case {"lost": lost}:
                        err.print(f"[yellow]{lost:,} attempts came too fast to be shown[/]")
                    case {"stopping": True}:
                        fail("the node has stopped; usher serve starts it", Exit.UNREACHABLE)
                    case {"error": error}:
                        fail(error)
                    case _ if err.is_terminal:
                        err.print("Listening; Ctrl-C ends.")
            sys.stdout.flush()
    fail("the node has stopped answering", Exit.UNREACHABLE)


def _shown(content: list[Any], *, show_pass: bool, as_json: bool) -> str:
    attempt = attempt_of(content)
    row = {"cdn": attempt.cdn, **shown(attempt_members(attempt), show_pass=show_pass)}
    if as_json:
        return json_line(row)
    passes = [row["pass"]] if show_pass else []
    words = [
        row["datetime"],
        str(row["cdn"]),
        f"{decision(row['reason']):<{_DECISION_WIDTH}}",
        f"{row['ip']:<15}",
        row["key"] or "-",
        row["user"] or "-",
        *passes,
        row["video"],
    ]
    return "  ".join(map(plain, words))
