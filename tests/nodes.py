"""A real node as a process of its own: started, awaited by its readiness line, stopped by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from openusher.cli.main import app
from tests.sevuclient import Account, Connection

_START_S_MAX = 60.0
_STOP_S_MAX = 30.0
_READY = "usher is ready on "
_SERVE = ("-m", "openusher", "serve")


class Node:
    """A started node. Logs go to `serve.log` beside its data folder.

    `command` is what Python runs in the place of `usher serve`, `within` what runs Python, `settings` go into its
    environment, `descriptors` it inherits.
    """

    def __init__(
        self,
        data: Path,
        *flags: str,
        command: tuple[str, ...] = _SERVE,
        within: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.data = data
        self.log_file = data.with_name(f"{data.name}.serve.log")
        self._arguments = [*within, sys.executable, *command, "--data", str(data), "--port", "0", *flags]
        self._environment = {**os.environ, "COLUMNS": "200", **(settings or {})}
        self._descriptors = descriptors
        self.process: subprocess.Popen[str]
        self.url = ""

    def start(self) -> Node:
        """Start the process and return once it says that it is ready."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                pass_fds=self._descriptors,
            )
        line = self._read_line()
        assert line.startswith(_READY), f"the node did not start: {line!r}\n{self.log_file.read_text()[-4000:]}"
        self.url = line.removeprefix(_READY).split(" ", 1)[0]
        return self

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + _START_S_MAX
        # Not select, which takes no descriptor above 1,023: a test may have thousands of connections open.
        readable = select.poll()
        readable.register(self.process.stdout, select.POLLIN)
        while time.monotonic() < deadline and self.process.poll() is None:
            if readable.poll(200):
                return self.process.stdout.readline()
        return self.process.stdout.readline() if self.process.poll() is not None else ""

    def stop(self) -> int:
        """End it as an operator would (SIGTERM) and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_S_MAX)
        finally:
            self._end()

    def kill(self) -> None:
        """kill -9, and reap."""
        self.process.kill()
        self._end()

    def end(self) -> None:
        """Kill it where it still runs, or was ever started."""
        if hasattr(self, "process"):
            self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it has logged in all its runs, or only events of that name. Each line must be one JSON object."""
        events: list[dict[str, Any]] = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [event for event in events if name in ("", event["event"])]

    def child(self, part: str) -> int | None:
        """The id of its process that runs `part` (`ledger` or `attemptlog`); None while there is none."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                # It may end meanwhile.
                if f"openusher.{part}." in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        return None

    def create_account(self, name: str, *flags: str) -> Account:
        """Make an account with the command that an operator would use, in this process: nearly every test needs one."""
        made = usher_here("account", "create", name, "--data", str(self.data), "--json", *flags)
        assert made.returncode == 0, made.stderr
        return Account(**json.loads(made.stdout))

    def connect(self) -> Connection:
        return Connection(self.url)


def usher(*arguments: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the `usher` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "openusher", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
    )


def usher_here(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """As `usher`, in this process: a tenth of the time, and no terminal of any width."""
    invoke = partial(CliRunner().invoke, app, arguments, input=stdin)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        done = invoke()
    else:
        # Whose loop this is, as Playwright has one here, must not be in the way of the command's.
        with ThreadPoolExecutor(1) as beside:
            done = beside.submit(invoke).result()
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@contextmanager
def running_node(data: Path, *flags: str, command: tuple[str, ...] = _SERVE) -> Iterator[Node]:
    """A node on `data` while the context lasts; it must end with status 0."""
    node = Node(data, *flags, command=command).start()
    try:
        yield node
    except BaseException:
        node._end()
        raise
    assert node.stop() == 0, node.log_file.read_text()[-4000:]
