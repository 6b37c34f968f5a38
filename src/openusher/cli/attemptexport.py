"""`usher attempts export`: all attempts that match, as of one moment, in a file."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from openusher.cli.attemptfiles import AttemptFile, Format, attempt_file, format_of, open_for
from openusher.cli.attemptfilters import in_flags, search_of, takes_filters
from openusher.cli.connect import admin, ask_lines
from openusher.cli.options import Cdn, Data, ShowPass, settings_of
from openusher.cli.output import Exit, err, fail, json_line
from openusher.cli.sigterm import ENDED_BY_SIGTERM, cancelled_by_sigterm
from openusher.model.attempt import Attempt
from openusher.model.block import attempt_of
from openusher.settings import Settings

Told = Callable[[int, int], None]

_BROKEN_OFF = "the export broke off: the node has stopped answering; export again"


@takes_filters
def export(
    cdn: Cdn,
    format_: Annotated[
        Format | None, typer.Option("--format", help="What to write; without it, as the name of FILE ends, or csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file to make; - or none is stdout.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace FILE where there is one.")] = False,
    show_pass: ShowPass = False,
    data: Data = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON; on stderr where the rows are on stdout.")
    ] = False,
    **filters: Any,
) -> None:
    """Write all attempts that match every filter, each once, in order of their numbers, as of the moment of the call.

    Attempts may arrive meanwhile, and millions may be written: memory does not grow. FILE is there when it is whole.

    \b
    Example: usher attempts export 158 --from 2026-10-01 --to 2026-11-01 --output october.parquet
    """
    output = None if str(output) == "-" else output
    format_ = format_ or (format_of(output) if output else None) or Format.CSV
    if output is None and format_ is Format.PARQUET:
        fail("--format parquet: is no stream; give --output FILE", Exit.USAGE)
    if output is not None and output.exists() and not yes:
        fail(f"--output {output}: is there already; give another name, or --yes to replace it", Exit.USAGE)
    settings, search = settings_of(data=data), search_of(filters)
    began = time.monotonic()
    try:
        with open_for(output, sys.stdout.buffer) as into:
            file = attempt_file(into, format_, show_pass=show_pass)
            try:
                with _progress(is_shown=err.is_terminal and not (output is None and sys.stdout.isatty())) as told:
                    cut = asyncio.run(_written(settings, cdn, search, file, told))
                file.close()
            except BaseException:
                file.drop()
                raise
    except OSError as error:
        if output is None:
            # Whoever read it has gone, which typer knows how to say.
            raise
        fail(f"--output {output}: cannot write it: {error.strerror}")
    except asyncio.CancelledError:
        raise typer.Exit(ENDED_BY_SIGTERM) from None
    summary = {
        "attempts": cut["attempts"],
        "last_id": cut["last_id"],
        "format": format_.value,
        "output": "-" if output is None else str(output),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        (sys.stderr if output is None else sys.stdout).write(json_line(summary) + "\n")
    else:
        err.print(
            f"Exported {cut['attempts']:,} attempts: all that match up to number {cut['last_id']}, "
            f"in {summary['seconds']} s.",
            markup=False,
        )


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[Told]:
    """How far it is, on the terminal; what is yielded takes how many are written, and of how many."""
    if not is_shown:
        yield lambda written, of: None
        return
    # Late, as in progress.py.
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f} attempts"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("export", total=0)
        yield lambda written, of: progress.update(task, completed=written, total=of)


async def _written(
    settings: Settings, cdn: int, search: dict[str, Any], file: AttemptFile, told: Told
) -> dict[str, Any]:
    """Write what comes; return the cut. Ends the command unless all have come."""
    async with cancelled_by_sigterm(), admin(settings, with_log=True) as client:
        coming = ask_lines(client, "POST", f"/accounts/{cdn}/attempts/export", search, put=in_flags)
        async with aclosing(coming):
            return await _write_all(coming, file, told)


async def _write_all(coming: AsyncGenerator[list[bytes], None], file: AttemptFile, told: Told) -> dict[str, Any]:
    cut: dict[str, Any] = {}
    written, exported = 0, None
    async for lines in coming:
        attempts: list[Attempt] = []
        for line in lines:
            content = msgspec.json.decode(line)
            match content:
                case list():
                    attempts.append(attempt_of(content))
                case {"error": error}:
                    fail(error)
                case {"exported": exported}:
                    pass
                case _:
                    cut = content
        if attempts:
            file.write(attempts)
            written += len(attempts)
        told(written, cut.get("attempts", 0))
    if exported != written:
        fail(_BROKEN_OFF)
    return cut
