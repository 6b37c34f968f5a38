"""The servers that are measured: real processes, started, awaited by their readiness line, ended by their id."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from bench.constant import READY as CONSTANT_READY
from bench.empty import READY as EMPTY_READY
from openusher.cli.credentials import Signer
from openusher.cli.serve import READY as NODE_READY
from openusher.model.account import Secret
from openusher.settings import LogKind

_START_S_MAX = 120.0
_READY_LOOK_S = 0.005
_STOP_S_MAX = 60.0
_ROOT = Path(__file__).parents[1]
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Account(msgspec.Struct, frozen=True):
    """Who asks in the bench: a signer and an edge's token."""

    signer: Signer
    edge_token: Secret


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def descriptors_max() -> int:
    """How many descriptors a process of this machine may have; those that are started here take as many."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Server:
    """A started server. `start_s` is from the start of its process to its readiness line."""

    def __init__(self, process: subprocess.Popen[str], ready: str, errors: Path, workers: int = 1) -> None:
        """Waits until each of its `workers` has said that it is ready."""
        self._process = process
        self._began = time.monotonic()
        self.was_killed = False
        lines = _first_lines(process, workers)
        if len(lines) < workers or not all(line.startswith(ready) for line in lines):
            raise ServerFailed(f"a server did not start; its last words:\n{errors.read_text()[-2000:]}")
        self.start_s = time.monotonic() - self._began
        url = urlsplit(lines[0].removeprefix(ready).split()[0])
        self.host, self.port = str(url.hostname), int(url.port or 0)

    def await_ready(self) -> float:
        """Return once a node says that it decides and counts, with the seconds since the start of its process. Raises
        ServerFailed."""
        while time.monotonic() - self._began < _START_S_MAX:
            with closing(HTTPConnection(self.host, self.port, timeout=_START_S_MAX)) as asking:
                asking.request("GET", "/readyz")
                # It answers once it is ready, or after a while that it is not.
                if asking.getresponse().status == HTTPStatus.OK:
                    return time.monotonic() - self._began
            time.sleep(_READY_LOOK_S)
        raise ServerFailed(f"a node was not ready within {_START_S_MAX:.0f} s; ask usher check")

    def kill(self) -> None:
        """End it as a power cut does, and return once it is no more."""
        self.was_killed = True
        self._process.kill()
        self._process.wait()

    @property
    def cpu_s(self) -> float:
        """CPU time this process has used, its children not included."""
        return _cpu_s(self._process.pid)

    def node_cpu_s(self) -> float:
        """CPU time of this process and of those it has started."""
        return self.cpu_s + sum(_cpu_s(child) for child in self._children())

    def resident_mb(self) -> float:
        return _resident_mb(self._process.pid)

    def child_resident_mb(self, part: str) -> float:
        """Of the process it started for `part`: `ledger` or `attemptlog`."""
        runs = f"openusher.{part}."
        return sum(
            _resident_mb(child) for child in self._children() if runs in Path(f"/proc/{child}/cmdline").read_text()
        )

    def _children(self) -> set[int]:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}


class ServerFailed(Exception):
    """A server did not start or did not end well."""


@contextmanager
def constant_server(folder: Path) -> Iterator[Server]:
    with running("constant", "bench.constant", [], CONSTANT_READY, folder) as server:
        yield server


@contextmanager
def empty_server(folder: Path) -> Iterator[Server]:
    with running("empty", "bench.empty", [], EMPTY_READY, folder) as server:
        yield server


@contextmanager
def node(data: Path, log: LogKind, *more: str) -> Iterator[Server]:
    """A real `usher serve` on `data`, with these flags too, while the context lasts."""
    flags = ["serve", "--data", str(data), "--port", "0", "--log", log.value, *more]
    with running(f"serve-{log.value}", "openusher", flags, NODE_READY, data.parent) as server:
        yield server


@contextmanager
def running(
    name: str,
    module: str,
    flags: list[str],
    ready: str,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    workers: int = 1,
) -> Iterator[Server]:
    """A Python module that serves, while the context lasts; each of its `workers` prints a line that begins with
    `ready` and goes on with its URL. What it complains of goes to `folder`."""
    errors = folder / f"{name}.log"
    with errors.open("ab") as stderr:
        # A session of its own: Ctrl-C reaches the bench only, which then ends this one by its process id.
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            cwd=_ROOT,
            env={**os.environ, **(environment or {})},
        )
    try:
        server = Server(process, ready, errors, workers)
        yield server
    except BaseException:
        _end(process)
        raise
    if _end(process) and not server.was_killed:
        raise ServerFailed(f"{name} ended with status {process.returncode}:\n{errors.read_text()[-2000:]}")


def _end(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        return process.wait(_STOP_S_MAX)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _first_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    """So many lines, or fewer where it ends or takes too long."""
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + _START_S_MAX
    while said.count(b"\n") < number and time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.01)[0]:
            said += os.read(process.stdout.fileno(), 4096)
    return said.decode().splitlines()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def create_account(data: Path, name: str = "bench") -> Account:
    """Make the bench's account with the command that an operator would use."""
    shown = usher("account", "create", name, "--data", str(data))
    return Account(Signer(shown["cdn"], shown["api_key"], Secret(shown["secret"])), Secret(shown["edge_token"]))


def create_edge(data: Path, account: Account) -> str:
    """Make an nginx edge; its token."""
    return str(usher("edge", "create", str(account.signer.cdn), "--kind", "nginx", "--data", str(data))["token"])


def usher(*arguments: str) -> dict[str, Any]:
    """What a command says as JSON. Raises ServerFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "openusher", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    if done.returncode:
        raise ServerFailed(f"usher {' '.join(arguments[:2])}: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said
