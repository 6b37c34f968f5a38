"""`usher repair`: mend the attempt log of a stopped node where that is safe."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import Exit, err, fail, out, print_json
from openusher.cli.progress import saying
from openusher.errors import SetupError, StoreError
from openusher.settings import Settings


def repair(
    backups: Annotated[
        Path | None,
        typer.Option("--backups", metavar="DIR", help="A folder of backups, to take blocks from that are lost here."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Mend the attempt log of a stopped node, so that it holds what the ledger says.

    A new log is put together of the parts that can be read; blocks that are missing or wrong are put back from the
    ledger, where their attempts still are, or from a backup. Only if that makes it whole it takes the place of the
    damaged one, which is kept. Where it does not, nothing is changed, the exit status is 3, and a restore is what is
    left. The ledger is never changed.

    \b
    Example: usher repair --backups /mnt/backups/usher
    """
    if not (yes or dry_run or (sys.stdin.isatty() and not as_json)):
        fail("nobody can be asked here: give --yes to repair, or --dry-run to see what would be done", Exit.USAGE)
    try:
        asyncio.run(_repair(settings_of(data=data), backups, dry_run=dry_run, yes=yes, as_json=as_json))
    except SetupError as error:
        fail(str(error))
    except StoreError as error:
        fail(f"{error}; nothing was changed")
    except OSError as error:
        fail(f"{error.filename or settings_of(data=data).data}: {error.strerror}")


async def _repair(settings: Settings, backups: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from openusher.backup.manifest import backup_folders, find_backup, readable_backups
    from openusher.ledger.folder import hold_folder
    from openusher.ledger.sqlite import SqliteLedger
    from openusher.repair.mending import Mending

    folder = hold_folder(settings.data, create=False)
    try:
        found = []
        if backups is not None:
            found = list(readable_backups(backups)) if backup_folders(backups) else [find_backup(backups)]
        ledger = await SqliteLedger.open(folder.ledger_file)
        try:
            with saying() as tell:
                mending = Mending(
                    settings.data, ledger, found, memory_bytes_max=settings.log_memory_bytes_max, tell=tell
                )
                try:
                    outcome = await mending.prepare()
                except BaseException:
                    mending.discard()
                    raise
        finally:
            await ledger.close()
        wanted = outcome.is_needed and not outcome.lost and not dry_run
        if not as_json:
            _show(outcome)
        repaired = wanted and (yes or _agrees())
        kept_as = mending.apply() if repaired else None
        mending.discard()
    finally:
        folder.release()
    if as_json:
        kept = None if kept_as is None else str(kept_as)
        print_json({**msgspec.to_builtins(outcome), "repaired": repaired, "kept_as": kept})
    else:
        _show_end(outcome, kept_as, repaired=repaired)
    if outcome.lost or wanted != repaired:
        raise typer.Exit(Exit.NO)


def _agrees() -> bool:
    return typer.confirm("Put the mended log in the place of the damaged one?", err=True)


def _show(outcome: Any) -> None:
    for said in (*outcome.unreadable, *outcome.mended, *outcome.lost):
        out.print(f"- {said}", markup=False)


def _show_end(outcome: Any, kept_as: Path | None, *, repaired: bool) -> None:
    if outcome.lost:
        err.print(
            "usher: nothing was changed. Blocks that are lost here may be in a backup: give --backups DIR. Where none "
            "has them, usher restore makes a new data folder of the last backup.",
            markup=False,
        )
    elif not outcome.is_needed:
        out.print("Sound: there is nothing to repair.")
    elif kept_as is not None:
        out.print(f"Repaired. The damaged log is kept as {kept_as}; remove it when you are content.", markup=False)
    elif repaired:
        # There was none.
        out.print("Repaired.")
    else:
        out.print("Nothing was changed.")
