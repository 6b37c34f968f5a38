"""What the figures were measured on: figures of two machines, or of one disk and another, are not alike."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import apsw
import msgspec

_SYNCS = 300
_PACKAGES = ("openusher", "apsw", "chdb-core", "uvicorn", "httptools", "uvloop", "msgspec")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and of what a run was made. `fsync_*`: 4 KiB appended and synced on the data folder's disk."""

    date: str
    commit: str
    cpu: str
    cpus: int
    memory_gb: float
    kernel: str
    python: str
    sqlite: str
    packages: dict[str, str]
    load_average: float
    fsync_p50_ms: float
    fsync_p99_ms: float


def look_at_machine(folder: Path) -> Machine:
    p50, p99 = fsync_ms(folder)
    return Machine(
        date=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        commit=_commit(),
        cpu=_cpu(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        packages={name: version(name) for name in _PACKAGES},
        load_average=round(os.getloadavg()[0], 2),
        fsync_p50_ms=p50,
        fsync_p99_ms=p99,
    )


def fsync_ms(folder: Path) -> tuple[float, float]:
    """How long the folder's disk takes to sync 4 KiB that were appended: p50 and p99."""
    file = folder / "fsync"
    took: list[float] = []
    with file.open("wb", buffering=0) as appended:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            appended.write(b"x" * 4096)
            os.fdatasync(appended.fileno())
            took.append(1000 * (time.perf_counter() - began))
    file.unlink()
    took.sort()
    return round(took[_SYNCS // 2], 3), round(took[_SYNCS * 99 // 100], 3)


def _commit() -> str:
    """The commit that was measured, and whether anything was changed since; empty outside a checkout."""
    root = Path(__file__).parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "src", "bench"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
