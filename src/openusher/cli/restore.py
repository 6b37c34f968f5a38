"""`usher restore`: a data folder made from a backup."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import fail, print_fields, print_json
from openusher.cli.progress import bytes_done, shown_bytes, under_way
from openusher.errors import SetupError, StoreError
from openusher.settings import Settings


def restore(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of backups, or one backup's own.", show_default=False)
    ],
    backup: Annotated[
        str, typer.Option(help="The backup to take, as usher backup --list names it; the newest where it is left out.")
    ] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a new data folder from a backup, checked from end to end; it can then be served.

    The folder must be missing or empty. What happened after the backup is unknown to the restored node: tickets issued
    and revoked since, and uses taken since, which may be given again. If it is ended before it is done, begin it again.

    \b
    Example: usher restore /mnt/backups/usher --data /var/lib/usher-restored
    """
    try:
        asyncio.run(_restore(settings_of(data=data), directory, name=backup, as_json=as_json))
    except (SetupError, StoreError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or directory}: {error.strerror}; nothing was restored")


async def _restore(settings: Settings, directory: Path, *, name: str, as_json: bool) -> None:
    from openusher.backup.manifest import find_backup
    from openusher.backup.restoring import copy_backup, finish_restore, new_folder

    began = time.monotonic()
    found = find_backup(directory, name=name)
    with new_folder(settings.data):
        with bytes_done("Copying", total=found.manifest.size) as progress:
            copy_backup(found, settings.data, progress=progress)
        with under_way("Checking ledger and log, block by block …"):
            await finish_restore(found, settings.data, memory_bytes_max=settings.log_memory_bytes_max)
    took_s = round(time.monotonic() - began, 1)
    cut = found.manifest.cut
    if as_json:
        told = {"backup": found.name, "made_at": found.manifest.made_at, "attempts": cut.attempt}
        print_json({**told, "bytes": found.manifest.size, "data": str(settings.data), "seconds": took_s})
        return
    print_fields(
        {
            "restored": found.folder,
            "made (UTC)": found.manifest.made_at,
            "attempts": f"{cut.attempt:,}",
            "size": shown_bytes(found.manifest.size),
            "took": f"{took_s} s, checked",
            "next": f"usher serve --data {settings.data}",
        }
    )
