"""Runs an `usher` command that is killed before it changes the disk for the n-th time: `python -m … N ARGUMENTS`.

With N 0 it is not killed, and tells on stderr how often it would have changed it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any

# What Python says before it does it (audit events): making, moving, linking and removing of names, opening for writing.
_CHANGES = frozenset(
    {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate", "shutil.rmtree"}
)


def changes_of(*arguments: str) -> int:
    """How often the command, which is run to its end, changes the disk."""
    done = _run(0, *arguments)
    assert done.returncode == 0, done.stderr
    return int(re.findall(r"^changes: (\d+)$", done.stderr, re.MULTILINE)[-1])


def killed_at(moment: int, *arguments: str) -> bool:
    """Run the command until its so manieth change; False where it ended before."""
    return _run(moment, *arguments).returncode == -signal.SIGKILL


def _run(kill_at: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", __name__, str(kill_at), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _count_changes(kill_at: int) -> list[int]:
    counted = [0]

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _CHANGES or opens:
            counted[0] += 1
            if counted[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    return counted


def main() -> None:
    kill_at = int(sys.argv.pop(1))
    from openusher.cli.main import app

    counted = _count_changes(kill_at)
    try:
        app()
    finally:
        sys.stderr.write(f"changes: {counted[0]}\n")


if __name__ == "__main__":
    main()
