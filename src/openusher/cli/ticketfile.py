"""`usher ticket import`: hands a file over to the node, piece by piece, and tells what is wrong with its lines."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from openusher.cli.connect import admin, send_file
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import Exit, err, fail, out, plain, print_json
from openusher.cli.progress import bytes_done
from openusher.settings import Settings

_PIECE_BYTES = 64 * 1024


def import_file(
    cdn: Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A ticket a line, as JSON; - reads stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge the file, and take nothing over.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take over tickets that were sold elsewhere: all of a file, or none where a line is faulty; each such line is
    named. A line is a JSON object with key, pass, app, video, ip, uses (those left; 0 is any number) and expire_date,
    and may have active, uses_limit, unlimited, max_sessions, newest_wins, created_date and used_date.

    \b
    Example: usher ticket import 158 tickets.jsonl --dry-run
    """
    with ExitStack() as opened:
        try:
            source = sys.stdin.buffer if str(file) == "-" else opened.enter_context(file.open("rb"))
        except OSError as error:
            fail(f"{file}: cannot read it: {error.strerror}", Exit.USAGE)
        judged = asyncio.run(_hand_over(settings_of(data=data), cdn, source, dry_run=dry_run))
    for fault in judged["faults"]:
        if as_json:
            print_json(fault)
        else:
            err.print(_sentence(fault), markup=False)
    if judged["faulty"]:
        unnamed = judged["faulty"] - len(judged["faults"])
        also = f", of which the last {unnamed:,} are not named here" if unnamed else ""
        message = f"{judged['faulty']:,} of {judged['tickets']:,} lines are faulty{also}; nothing was taken over"
        fail(message, Exit.NO if dry_run else Exit.FAILED)
    if as_json:
        print_json({"tickets": judged["tickets"], "imported": judged["imported"]})
        return
    done = "taken over" if judged["imported"] else "could be taken over; nothing was, since this was a dry run"
    out.print(f"{judged['tickets']:,} ticket{'' if judged['tickets'] == 1 else 's'} {done}.")


def _sentence(fault: dict[str, Any]) -> str:
    parts = [f"line {fault['line']}", *filter(None, [fault["member"]]), fault["problem"]]
    given = f" (given: {plain(fault['given'])})" if fault["given"] else ""
    return ": ".join(map(plain, parts)) + given


async def _hand_over(settings: Settings, cdn: int, source: BinaryIO, *, dry_run: bool) -> Any:
    with bytes_done("judging", total=_size_of(source)) as told:
        async with admin(settings) as client:
            path = f"/accounts/{cdn}/tickets/import{'?dry_run=1' if dry_run else ''}"
            return await send_file(client, path, _pieces_of(source, told))


async def _pieces_of(source: BinaryIO, told: Callable[[int], None]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(source.read, _PIECE_BYTES):
        yield piece
        told(len(piece))


def _size_of(source: BinaryIO) -> int | None:
    """None of a pipe, whose end nobody knows."""
    return os.fstat(source.fileno()).st_size or None
