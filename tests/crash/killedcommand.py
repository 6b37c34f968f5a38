"""Runs an `usher` command that is killed before it changes the disk for the n-th time: `python -m … N ARGUMENTS`.

With N 0 it is not killed, and tells on stderr how often it would have changed it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

# What Python says before it does it (audit events): making, moving, linking and removing of names, opening for writing.
_CHANGES = frozenset(
    {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate", "shutil.rmtree"}
)


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
