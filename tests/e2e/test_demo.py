"""`usher demo`, as a new user meets it: it agrees with the page, and the commands that it prints work as printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.nodes import usher

_ROOT = Path(__file__).resolve().parents[2]
_STARTED = "The node stays up on"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("log", ["chdb", "ledger"])
def test_the_demo_agrees_with_the_page_and_with_what_it_sent(log: str) -> None:
    done = usher("demo", "--log", log, cwd=_ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    left, right = _columns(done.stdout)
    assert json.loads(left).items() ^ json.loads(right).items() <= {
        ("handle_time", json.loads(left)["handle_time"]),
        ("handle_time", json.loads(right)["handle_time"]),
    }
    assert list(json.loads(left)) == list(json.loads(right))
    assert json.loads(right)["error_count"] == 4
    rows = re.findall(r"│ (.+?) +│ (\d+) +│ (\d+) +│", done.stdout)
    assert len(rows) == 10
    assert all(sent == counted for _, sent, counted in rows)
    # What it shows to go on with goes on in the same way.
    assert ("demo --keep --log ledger\n" in done.stdout) == (log == "ledger")


def _columns(text: str) -> tuple[str, str]:
    """Both sides of the table that shows the page's reply and ours."""
    lines = re.findall(r"^│ (.*?) *│ (.*?) *│$", text.split("Counted by reason")[0], re.MULTILINE)
    return "\n".join(left for left, _ in lines), "\n".join(right for _, right in lines)


@pytest.mark.client
def test_the_commands_that_the_demo_prints_work_as_printed() -> None:
    port = _free_port()
    first = usher("demo", "--log", "ledger", "--port", str(port), cwd=_ROOT)
    keep, call, php = re.findall(r"^  (.+)$", first.stdout.split("Go on with:")[1], re.MULTILINE)
    kept = subprocess.Popen(shlex.split(keep), cwd=_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _await_line(kept, _STARTED)
        called = subprocess.run(call, shell=True, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)
        asked = subprocess.run(php, shell=True, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)
    finally:
        # As a terminal does: Ctrl-C reaches the demo and its node at once.
        os.killpg(kept.pid, signal.SIGINT)
        status = kept.wait(60)

    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["error_count"] == 4
    assert "[error_count] => 4" in asked.stdout
    assert "[code] => 2051" in asked.stdout
    assert status == 0


def _await_line(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout is not None
    # Not select(): lines that came with an earlier one wait in the stream's own buffer, where select() sees nothing.
    overdue = threading.Timer(90, process.kill)
    overdue.start()
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(start):
            overdue.cancel()
            return
    overdue.cancel()
    raise AssertionError(f"the demo did not say {start!r}: {seen}")


def test_sigterm_ends_the_demo_its_node_and_its_folder(tmp_path: Path) -> None:
    """To the demo alone, as a supervisor sends it: its node hears of it from the demo only."""
    arguments = [sys.executable, "-m", "openusher", "demo", "--log", "ledger"]
    process = subprocess.Popen(
        arguments,
        cwd=_ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    while "Issuing tickets" not in process.stderr.readline():
        assert process.poll() is None
    (lock,) = tmp_path.glob("usher-demo-*/data/lock")
    node = json.loads(lock.read_text())["pid"]
    process.terminate()
    status = process.wait(30)

    assert (status, list(tmp_path.iterdir())) == (143, [])
    assert not Path(f"/proc/{node}").exists()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
