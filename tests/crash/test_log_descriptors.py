"""The door closes each descriptor of a log process once: the number may be a viewer's connection by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# A process that cannot open its log, started as the door does, on the loop that the door runs on.
_START = """
import gc, pathlib, sys, uvloop
from openusher.attemptlog.embedded.child import launch
from openusher.errors import SetupError

async def fail():
    try:
        await launch(pathlib.Path(sys.argv[1]), memory_bytes_max=10**9)
    except SetupError:
        print("refused")

uvloop.run(fail())
gc.collect()
"""


def test_a_log_process_that_ends_takes_no_descriptor_of_others_along(tmp_path: Path) -> None:
    folder, trace = tmp_path / "log", tmp_path / "trace"
    folder.write_text("no folder")
    command = ["strace", "-f", "-qq", "-e", "trace=close", "-o", str(trace)]
    ran = subprocess.run(
        [*command, sys.executable, "-c", _START, str(folder)], capture_output=True, text=True, check=True
    )
    door = trace.read_text().split(maxsplit=1)[0]
    closed = [line for line in trace.read_text().splitlines() if line.startswith(f"{door} ") and "close(" in line]

    assert ran.stdout == "refused\n"
    assert len(closed) > 10
    assert [line for line in closed if "EBADF" in line] == []
