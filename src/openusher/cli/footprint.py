"""What a node takes of its machine: memory of its processes, disk of its data folder."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path

from openusher.ledger.folder import LEDGER_FILE, LOG_FOLDER

# Of /proc and stat(2).
_KIB, _DISK_BLOCK = 1024, 512


def memory_bytes(pids: dict[str, int]) -> dict[str, int]:
    """The resident memory of each process; one that has ended meanwhile is left out."""
    found: dict[str, int] = {}
    for name, pid in pids.items():
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    found[name] = int(line.split()[1]) * _KIB
    return found


def folder_bytes(data: Path) -> dict[str, int]:
    """What the parts of a data folder take on the disk: ledger, log, and the rest."""
    found: Counter[str] = Counter({"ledger": 0, "log": 0, "other": 0})
    # Merges and checkpoints remove files and folders meanwhile: os.walk passes over a folder that has gone, where
    # Path.rglob raises (Python 3.11).
    for folder, folders, files in os.walk(data):
        for file in (Path(folder, name) for name in (*folders, *files)):
            with suppress(OSError):
                found[_part(file.relative_to(data).parts[0])] += file.lstat().st_blocks * _DISK_BLOCK
    return dict(found)


def _part(name: str) -> str:
    if name.startswith(LEDGER_FILE):
        return "ledger"
    return "log" if name == LOG_FOLDER else "other"


def disk_bytes(data: Path) -> dict[str, int]:
    """How much is free on the disk of a data folder, and how large that is."""
    disk = shutil.disk_usage(data)
    return {"free": disk.free, "size": disk.total}


def shown_bytes(number: int) -> str:
    """In the unit that people would say it in."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}" if number < 10 * size else f"{number / size:.0f} {unit}"
    return f"{number} B"
