"""`usher backup`: a copy of ledger and attempt log as of one moment, from a node that runs or not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from openusher.beside import give_way
from openusher.cli.connect import admin, ask
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import Exit, err, fail, out, print_fields, print_json, print_table
from openusher.cli.progress import bytes_done, shown_bytes, under_way
from openusher.errors import SetupError
from openusher.settings import Settings


def backup(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of backups; made where it is missing.", show_default=False)
    ],
    keep: Annotated[int, typer.Option(min=0, help="Afterwards remove all but the newest so many; 0 removes none.")] = 0,
    show: Annotated[bool, typer.Option("--list", help="List the backups in DIR, and make none.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file of the backups in DIR with its digest, and make none.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Back up the data folder of a node, which may run or not, into a new folder in DIR.

    What an earlier backup in DIR has alike is not copied again, and each is whole by itself. A backup holds secrets in
    clear (passes, the keys that sign), as the data folder does; only its owner can read it.

    \b
    Example: usher backup /mnt/backups/usher --keep 14
    """
    if show and verify:
        fail("--list and --verify: give one of them", Exit.USAGE)
    try:
        if show:
            _list(directory, as_json=as_json)
        elif verify:
            _verify(directory, as_json=as_json)
        else:
            asyncio.run(_back_up(settings_of(data=data), directory, keep=keep, as_json=as_json))
    except SetupError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or directory}: {error.strerror}; nothing of this backup is kept")


def _list(directory: Path, *, as_json: bool) -> None:
    from openusher.backup.manifest import backup_folders, read_backup

    rows: list[list[Any]] = []
    for folder in backup_folders(directory):
        try:
            manifest = read_backup(folder).manifest
        except SetupError as error:
            err.print(f"usher: {error}", markup=False)
            continue
        if as_json:
            print_json({"backup": folder.name, **_told(manifest)})
        rows.append([folder.name, manifest.made_at, f"{manifest.cut.attempt:,}", shown_bytes(manifest.size)])
    if not as_json:
        print_table(["backup", "made (UTC)", "attempts", "size"], rows, whole=("backup",))


def _verify(directory: Path, *, as_json: bool) -> None:
    from openusher.backup.making import find_damage
    from openusher.backup.manifest import backup_folders, find_backup, read_backup

    folders = backup_folders(directory) or [find_backup(directory).folder]
    damaged = 0
    for folder in folders:
        try:
            with bytes_done(folder.name, total=read_backup(folder).manifest.size) as progress:
                faults = find_damage(folder, progress=progress)
        except SetupError as error:
            faults = [str(error)]
        damaged += bool(faults)
        if as_json:
            print_json({"backup": folder.name, "faults": faults})
            continue
        out.print(f"{folder.name}: {'damaged' if faults else 'as it was made'}", markup=False)
        for fault in faults:
            out.print(f"- {fault}", markup=False)
    if damaged:
        raise typer.Exit(Exit.NO)


async def _back_up(settings: Settings, directory: Path, *, keep: int, as_json: bool) -> None:
    from openusher.backup.files import locked
    from openusher.backup.last import remember_backup
    from openusher.backup.making import Versions, make_backup, prepare_directory, prune, size_of
    from openusher.backup.staging import Staged

    began = time.monotonic()
    give_way()
    async with admin(settings, with_log=True) as client:
        prepare_directory(directory, data=settings.data)
        # Both: the node stages one at a time, and somebody may name one folder for two nodes.
        with locked(settings.data), locked(directory):
            try:
                with under_way("The node copies its ledger …"):
                    answer = await ask(client, "POST", "/backup")
                staged = msgspec.convert(answer["staged"], Staged)
                with bytes_done("Copying", total=size_of(staged, data=settings.data)) as progress:
                    made = await asyncio.to_thread(
                        make_backup,
                        directory,
                        staged,
                        data=settings.data,
                        by=msgspec.convert(answer["versions"], Versions),
                        progress=progress,
                    )
            finally:
                await ask(client, "DELETE", "/backup")
            try:
                remember_backup(settings.data, made.backup)
            except OSError as error:
                err.print(f"usher: {settings.data}: the backup is made, but not noted: {error.strerror}", markup=False)
            removed = prune(directory, keep=keep) if keep else []
    manifest = made.backup.manifest
    took_s = round(time.monotonic() - began, 1)
    if as_json:
        told = {"backup": made.backup.name, **_told(manifest)}
        print_json({**told, "new_bytes": made.new_bytes, "seconds": took_s, "removed": removed})
        return
    print_fields(
        {
            "backup": made.backup.folder,
            "attempts": f"{manifest.cut.attempt:,}",
            "size": f"{shown_bytes(manifest.size)}, {shown_bytes(made.new_bytes)} of it new",
            "took": f"{took_s} s",
            **({"removed": ", ".join(removed)} if removed else {}),
        }
    )


def _told(manifest: Any) -> dict[str, Any]:
    """What a program may want to know of a backup; its files are in its manifest."""
    return {
        "made_at": manifest.made_at,
        "usher": manifest.usher,
        "engine": manifest.engine,
        "schema": manifest.schema,
        "cut": msgspec.to_builtins(manifest.cut),
        "bytes": manifest.size,
    }
