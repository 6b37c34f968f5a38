"""Makes a data folder of a backup: files verified, ledger and log compared, and only then a folder that can be served.

Everything is put together in one folder inside the new data folder. The ledger, which makes that a data folder, is
moved out of it last; a restore that was killed before has left nothing that could be served, and is begun again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openusher.attemptlog.embedded import open_embedded_log
from openusher.backup.files import Progress, copy_file, make_folders, sync_folder, sync_folders_below
from openusher.backup.manifest import LEDGER, LOG, Backup
from openusher.consistency import find_log_faults
from openusher.errors import BackupDamaged, LogDamaged, SetupError
from openusher.ledger.folder import LEDGER_FILE, LOG_FOLDER, RESTORING_FOLDER, hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.ledger.sqlite.store import renew_incarnation, schema_version

_COUNT_S_MAX = 900.0


@contextmanager
def new_folder(data: Path) -> Iterator[None]:
    """Hold `data`, which is missing or empty, or what a broken-off restore has left; nobody can serve it meanwhile.

    Raises SetupError for any other folder, which is left as it was.
    """
    folder = hold_folder(data, half_restored=True)
    try:
        if folder.ledger_file.exists():
            raise SetupError(f"{data}: is a data folder already; name a new one with --data")
        _clear(data)
        try:
            yield
        except BaseException:
            # Past that it is whole, and whatever failed was only to tidy up.
            if not folder.ledger_file.exists():
                _clear(data)
            raise
    finally:
        folder.release()


def _clear(data: Path) -> None:
    """Remove what a restore that was broken off has left."""
    for left in (data / RESTORING_FOLDER, data / LOG_FOLDER):
        if left.exists():
            shutil.rmtree(left)


def copy_backup(backup: Backup, data: Path, *, progress: Progress) -> None:
    """Copy a backup into the new folder `data`, and see that every file is as it was when the backup was made.

    Raises BackupDamaged, SetupError when it is from a newer Usher, OSError.
    """
    if backup.manifest.schema > schema_version():
        raise SetupError(
            f"{backup.folder}: was made by Usher {backup.manifest.usher} (schema {backup.manifest.schema}, this one "
            f"knows {schema_version()}); install that version or a newer one"
        )
    place_of = data / RESTORING_FOLDER
    place_of.mkdir(mode=0o700)
    for place, stored in backup.manifest.files.items():
        make_folders((place_of / place).parent, below=place_of)
        try:
            copied = copy_file(backup.folder / place, place_of / place, progress=progress)
        except FileNotFoundError:
            raise BackupDamaged(f"{backup.folder / place}: is missing; take another backup") from None
        if copied != stored:
            raise BackupDamaged(f"{backup.folder / place}: has changed since the backup was made; take another backup")
    for place, target in backup.manifest.links.items():
        make_folders((place_of / place).parent, below=place_of)
        (place_of / place).symlink_to(target)


async def finish_restore(backup: Backup, data: Path, *, memory_bytes_max: int) -> None:
    """Give the copied ledger a name of its own, compare it with its log, and make `data` a data folder.

    Raises BackupDamaged when the two do not hold what they must, SetupError, LogUnavailable, OSError.
    """
    place_of = data / RESTORING_FOLDER
    renew_incarnation(place_of / LEDGER)
    if faults := await _find_faults(backup, place_of, memory_bytes_max=memory_bytes_max):
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise BackupDamaged(f"{backup.folder}: does not hold what it must; take another backup{listed}")
    _move_out(place_of, data)


async def _find_faults(backup: Backup, place_of: Path, *, memory_bytes_max: int) -> list[str]:
    ledger = await SqliteLedger.open(place_of / LEDGER)
    try:
        stats = await ledger.stats()
        faults = await ledger.check(quick=False)
        if (stats.last_attempt_id, stats.shipped_block) != (backup.manifest.cut.attempt, backup.manifest.cut.block):
            faults.append("its ledger ends elsewhere than its manifest says")
        if not (place_of / LOG).exists():
            if stats.shipped_block:
                faults.append("its log is missing")
            return faults
        log = open_embedded_log(
            place_of / LOG, memory_bytes_max=memory_bytes_max, count_s_max=_COUNT_S_MAX, by_time=False
        )
        try:
            await log.start()
            faults.extend(fault.found for fault in await find_log_faults(ledger, log, quick=False))
        except LogDamaged as error:
            faults.append(str(error))
        finally:
            await log.close()
    finally:
        await ledger.close()
    return faults


def _move_out(place_of: Path, data: Path) -> None:
    # What a migration keeps of an older schema is in the backup.
    for kept in place_of.glob(f"{LEDGER}.before-schema-*"):
        kept.unlink()
    sync_folders_below(place_of)
    if (place_of / LOG).exists():
        (place_of / LOG).rename(data / LOG_FOLDER)
        sync_folder(data)
    (place_of / LEDGER).rename(data / LEDGER_FILE)
    sync_folder(data)
    shutil.rmtree(place_of)
    sync_folder(data)
