"""What a data folder knows of its last backup, for metrics and `usher status`: a timer that no longer runs is seen."""

from __future__ import annotations

import calendar
import os
import time
from pathlib import Path

import msgspec

from openusher.backup.manifest import Backup
from openusher.ledger.folder import give_to_owner

_FILE = "last-backup.json"


class LastBackup(msgspec.Struct, frozen=True):
    """A backup that was finished: its name, when it was begun (UTC), and the last attempt in it."""

    backup: str
    made_at: str
    attempt: int

    @property
    def made_s(self) -> int:
        """As unix seconds. Raises ValueError."""
        return calendar.timegm(time.strptime(self.made_at, "%Y-%m-%d %H:%M:%S"))


def remember_backup(data: Path, backup: Backup) -> None:
    """Note in the data folder that `backup` was made of it. Raises OSError."""
    last = LastBackup(backup.name, backup.manifest.made_at, backup.manifest.cut.attempt)
    unfinished = data / f".{_FILE}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as writing:
        give_to_owner(descriptor, data)
        writing.write(msgspec.json.encode(last))
    unfinished.rename(data / _FILE)


def last_backup(data: Path) -> LastBackup | None:
    """The last one; None where there was none, or nobody can tell."""
    try:
        last = msgspec.json.decode((data / _FILE).read_bytes(), type=LastBackup)
        return last if last.made_s else None
    except (OSError, ValueError):
        return None
