"""A node under a supervisor that speaks as systemd does: it takes the sockets it is handed, and says how it stands."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nodes import Node
from tests.sevuclient import Account

# As systemd starts a service: the sockets from descriptor 3 on, and their number for this process only. In bash, which
# knows descriptors above 9.
_HANDED_OVER = 'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http; exec 3<&"$0" && exec "$@"'
NewNode = Callable[..., Node]
RATE_A_S = 1_000
# Before the restart and after it; and in all, however long that takes.
REQUESTS_BESIDE, REQUESTS_MAX = 1_000, 30_000
# Beyond the time without a node, in which what waited is worked off. On a slow machine more wait than the kernel has
# places for (net.core.somaxconn, 4,096): those try again after a second.
_WORKED_OFF_S_MAX = 2.0


def handed_over(listening: socket.socket) -> tuple[str, ...]:
    return ("bash", "-c", _HANDED_OVER, str(listening.fileno()))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """What the supervisor listens on, and keeps."""
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as opened:
        yield opened


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Each viewer who waits takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the supervisor hears the node."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "notify"))
        opened.settimeout(30)
        yield opened


def said(supervisor: socket.socket) -> dict[str, str]:
    """The next that the node says, but for signs of life."""
    while (text := supervisor.recv(4_096).decode()) == "WATCHDOG=1":
        pass
    return dict(line.split("=", 1) for line in text.splitlines())


def listener_node(new_node: NewNode, data: Path, listening: socket.socket) -> Node:
    return new_node(data, "--log", "ledger", within=handed_over(listening), descriptors=(listening.fileno(),))


# --- sockets --------------------------------------------------------------------------------------------------------


class Viewers:
    """Asks the door `RATE_A_S` times a second, each time over a new connection, whatever became of the others."""

    def __init__(self, port: int, account: Account) -> None:
        self._port = port
        body = json.dumps({"app": "live", "video": "cam1", "ip": "192.0.2.1", "key": "k"})
        lines = ["POST /v1/authorize HTTP/1.1", "host: usher", "connection: close"]
        lines += [f"authorization: Bearer {account.edge_token}", f"content-length: {len(body)}", "", body]
        self._request = "\r\n".join(lines).encode()
        self.sent = 0
        self.sent_max = REQUESTS_MAX
        self.waits_s: list[float] = []
        self.refused: list[str] = []

    async def ask_all(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as asked:
            while self.sent < self.sent_max:
                await asyncio.sleep(began + self.sent / RATE_A_S - time.monotonic())
                asked.create_task(self._ask())
                self.sent += 1

    async def _ask(self) -> None:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request)
            answer = await reader.read()
            writer.close()
        except OSError as error:
            self.refused.append(str(error))
            return
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.refused.append(answer[:100].decode() or "nothing")
        self.waits_s.append(time.monotonic() - began)


@pytest.mark.usefixtures("many_descriptors")
def test_a_restart_under_load_refuses_nobody_and_nobody_waits_longer_than_it_takes(
    new_node: NewNode, tmp_path: Path, listening: socket.socket
) -> None:
    node = listener_node(new_node, tmp_path / "data", listening).start()
    account = node.create_account("site")
    viewers = Viewers(listening.getsockname()[1], account)
    asking = threading.Thread(target=lambda: asyncio.run(viewers.ask_all()))
    asking.start()
    while viewers.sent < REQUESTS_BESIDE:
        time.sleep(0.01)
    began = time.monotonic()
    assert node.stop() == 0
    stopped_s = time.monotonic() - began
    node.start()
    away_s = time.monotonic() - began
    viewers.sent_max = min(viewers.sent + REQUESTS_BESIDE, REQUESTS_MAX)
    asking.join(60)

    assert viewers.refused == []
    assert len(viewers.waits_s) == viewers.sent
    assert viewers.sent < REQUESTS_MAX
    print(f"stopped after {stopped_s:.2f} s, ready after {away_s:.2f} s, longest wait {max(viewers.waits_s):.2f} s")
    assert max(viewers.waits_s) < away_s + _WORKED_OFF_S_MAX
    with node.connect() as connection:
        assert connection.count(account) == viewers.sent
    assert node.stop() == 0


def test_sockets_that_are_handed_over_are_for_this_process_only(
    new_node: NewNode, tmp_path: Path, listening: socket.socket
) -> None:
    """Its variables are those of another: a shell that was started by systemd, say."""
    settings = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    node = new_node(tmp_path / "data", "--log", "ledger", settings=settings, descriptors=(listening.fileno(),)).start()
    port = int(node.url.rpartition(":")[2])
    assert node.stop() == 0

    assert port != listening.getsockname()[1]


def test_a_unix_socket_that_is_handed_over_is_answered_on(new_node: NewNode, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
        listening.bind(str(tmp_path / "http"))
        listening.listen()
        node = listener_node(new_node, tmp_path / "data", listening).start()
        asking.connect(str(tmp_path / "http"))
        asking.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = asking.recv(1_000)
        assert node.stop() == 0

    assert node.url == f"unix:{tmp_path}/http"
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("number", "said"), [("0", "is no socket: Socket operation on non-socket"), ("", "does not listen; use Listen")]
)
def test_what_is_handed_over_and_is_no_listening_socket_is_named(number: str, said: str, tmp_path: Path) -> None:
    with socket.socket() as silent, (tmp_path / "file").open("w") as file:
        descriptor = file.fileno() if number else silent.fileno()
        serve = (sys.executable, "-m", "openusher", "serve", "--log", "ledger")
        refused = subprocess.run(
            ["bash", "-c", _HANDED_OVER, str(descriptor), *serve],
            cwd=tmp_path, pass_fds=(descriptor,), capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip

    assert refused.returncode == 1
    assert f"usher: descriptor 3 was handed over, but {said}" in refused.stderr
    assert "Traceback" not in refused.stderr


# --- how it stands --------------------------------------------------------------------------------------------------


def test_a_supervisor_hears_when_a_node_answers_and_when_it_stops(
    new_node: NewNode, tmp_path: Path, supervisor: socket.socket
) -> None:
    settings = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    node = new_node(tmp_path / "data", "--log", "ledger", settings=settings).start()
    ready = said(supervisor)
    process = node.child("ledger")
    assert process is not None
    inherited = Path(f"/proc/{process}/environ").read_bytes()
    assert node.stop() == 0

    assert ready == {"READY": "1", "STATUS": f"Answers on {node.url}"}
    assert said(supervisor) == {"STOPPING": "1", "STATUS": "Stopping: SIGTERM"}
    # Only the node itself speaks for itself.
    assert b"NOTIFY_SOCKET" not in inherited


def test_a_supervisor_without_a_file_hears_it_too(new_node: NewNode, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        name = f"usher-test-{os.getpid()}-{time.monotonic_ns()}"
        supervisor.bind(f"\0{name}")
        supervisor.settimeout(30)
        node = new_node(tmp_path / "data", "--log", "ledger", settings={"NOTIFY_SOCKET": f"@{name}"}).start()
        assert said(supervisor)["READY"] == "1"
        assert node.stop() == 0


def test_a_node_that_hangs_gives_no_sign_of_life(new_node: NewNode, tmp_path: Path, supervisor: socket.socket) -> None:
    settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    node = new_node(tmp_path / "data", "--log", "ledger", settings=settings).start()
    signs, began = 0, time.monotonic()
    while signs < 10:
        signs += supervisor.recv(4_096) == b"WATCHDOG=1"
    spent_s = time.monotonic() - began
    os.kill(node.process.pid, signal.SIGSTOP)
    supervisor.settimeout(1)
    # At most one was on its way.
    with contextlib.suppress(TimeoutError):
        supervisor.recv(4_096)
    with pytest.raises(TimeoutError):
        supervisor.recv(4_096)
    os.kill(node.process.pid, signal.SIGCONT)
    assert node.stop() == 0

    # Each half of the time in which one is awaited.
    assert 1.5 < spent_s < 4


def test_a_watchdog_that_awaits_another_process_hears_nothing(
    new_node: NewNode, tmp_path: Path, supervisor: socket.socket
) -> None:
    settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    node = new_node(tmp_path / "data", "--log", "ledger", settings=settings).start()
    assert node.stop() == 0

    assert supervisor.recv(4_096).startswith(b"READY=1\n")
    assert supervisor.recv(4_096).startswith(b"STOPPING=1\n")


def test_a_supervisor_that_is_gone_ends_no_node(new_node: NewNode, tmp_path: Path) -> None:
    node = new_node(tmp_path / "data", "--log", "ledger", settings={"NOTIFY_SOCKET": str(tmp_path / "nobody")}).start()
    connection = http.client.HTTPConnection("127.0.0.1", int(node.url.rpartition(":")[2]))
    connection.request("GET", "/readyz")
    assert connection.getresponse().status == 200
    connection.close()
    assert node.stop() == 0
