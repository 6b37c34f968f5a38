"""`usher demo`: the main job on a throw-away node, beside what ScaleEngine's page says it must answer."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from openusher.cli import page
from openusher.cli.demonode import DemoNode
from openusher.cli.demotraffic import Traffic
from openusher.cli.output import err, fail, out, print_table
from openusher.cli.sigterm import ENDED_BY_SIGTERM, cancelled_by_sigterm
from openusher.settings import LogKind

PORT_KEPT = 8088
_SAMPLE = Path(__file__).parent / "samples" / "errorcount.php"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the node up afterwards, until Ctrl-C.")] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port of the node that --keep leaves up.")
    ] = PORT_KEPT,
    log: Annotated[LogKind, typer.Option(help="Count in chdb or in the ledger alone.")] = LogKind.CHDB,
) -> None:
    """Issue tickets, decide several thousand attempts and count them, on a real node with a throw-away data folder.

    Prints the reply to the request on ScaleEngine's page of sevu.errorcount beside the page's, then the counts by
    reason beside what was sent. Exit status 1 if anything does not agree.

    \b
    Example: usher demo --log ledger
    """
    try:
        agrees = asyncio.run(_demo_in_folder(keep=keep, port=port, log=log))
    except asyncio.CancelledError:
        raise typer.Exit(ENDED_BY_SIGTERM) from None
    if not agrees:
        fail("the counts above do not agree with what was sent")


async def _demo_in_folder(*, keep: bool, port: int, log: LogKind) -> bool:
    """SIGTERM ends it as Ctrl-C does, node and folder with it."""
    async with cancelled_by_sigterm():
        with tempfile.TemporaryDirectory(prefix="usher-demo-") as folder:
            return await _demo(Path(folder), keep=keep, port=port, log=log)


async def _demo(folder: Path, *, keep: bool, port: int, log: LogKind) -> bool:
    began = time.monotonic()
    err.print("Starting a node with a throw-away data folder …")
    async with DemoNode.started(folder / "data", port=port if keep else 0, log=log) as node:
        traffic = Traffic(node.url, await node.create_page_account())
        await node.import_page_ticket()
        err.print("Issuing tickets and sending attempts …")
        await asyncio.to_thread(traffic.issue_tickets)
        spent_s = await asyncio.to_thread(traffic.send_attempts)
        out.print(f"Sent {traffic.sent} attempts with {traffic.tickets} tickets to {node.url}.")
        agrees = _show_page_reply(await asyncio.to_thread(traffic.ask, "sevu.errorcount", page.QUESTION))
        agrees &= _show_reasons(
            traffic, await asyncio.to_thread(traffic.ask, "sevu.errorcount", {"group_by": "reason"})
        )
        out.print(
            f"{traffic.sent / spent_s:,.0f} attempts a second, each on disk before it was answered, "
            f"from one client in {spent_s:.1f} s; {time.monotonic() - began:.0f} s in all."
        )
        _show_commands(port, log)
        if keep and agrees:
            out.print(f"The node stays up on {node.url}; Ctrl-C ends it.")
            sys.stdout.flush()
            await node.wait()
    return agrees


def _show_page_reply(reply: dict[str, object]) -> bool:
    """The reply beside the page's: same members, same order, same values; only handle_time may differ."""
    left = json.dumps(page.ANSWER, indent=2).splitlines()
    right = json.dumps(reply, indent=2).splitlines()
    length = max(len(left), len(right))
    rows = [
        [a, b] for a, b in zip(left + [""] * (length - len(left)), right + [""] * (length - len(right)), strict=True)
    ]
    print_table(["the page says", "this node says"], [list(row) for row in rows], title="sevu.errorcount")
    return _timeless(reply) == _timeless(page.ANSWER)


def _timeless(reply: dict[str, object] | dict[str, str | int]) -> list[tuple[str, object]]:
    return [(name, None if name == "handle_time" else value) for name, value in reply.items()]


def _show_reasons(traffic: Traffic, reply: dict[str, object]) -> bool:
    groups = reply.get("groups")
    counted = {group["value"]: group["count"] for group in groups} if isinstance(groups, list) else {}
    # Largest first, ties by name, as sevu.errorcount has them.
    reasons = sorted(set(counted) | set(traffic.sent_by_reason), key=lambda reason: (-counted.get(reason, 0), reason))
    rows = [
        [reason or "(accepted)", traffic.sent_by_reason.get(reason, 0), counted.get(reason, 0)] for reason in reasons
    ]
    rows.append(["all", traffic.sent, reply.get("error_count", 0)])
    print_table(["reason", "sent", "counted"], rows, title="Counted by reason")
    return all(sent == count for _, sent, count in rows)


def _show_commands(port: int, log: LogKind) -> None:
    program = Path(sys.argv[0])
    # What `python -m openusher` runs is no command that one could type.
    by_python = program.name == "__main__.py"
    usher = f"{_shown(Path(sys.executable))} -m openusher" if by_python else _shown(program)
    kept = "" if port == PORT_KEPT else f" --port {port}"
    kept += "" if log is LogKind.CHDB else f" --log {log}"
    url = f"http://127.0.0.1:{port}/stable/"
    out.print("Go on with:")
    out.print(f"  {usher} demo --keep{kept}")
    out.print(f"  {usher} call sevu.errorcount key={page.KEY} success=1 --demo --url {url}")
    out.print(f"  php {_shown(_SAMPLE)} {url}")


def _shown(path: Path) -> str:
    """As one would type it in a shell: relative where it lies below this folder. Links are left as they are: behind its
    link, a virtual environment's python is another one."""
    whole = Path(os.path.abspath(path))
    below = whole.is_relative_to(Path.cwd())
    return shlex.quote(str(whole.relative_to(Path.cwd()) if below else whole))
