"""Real servers that ask Usher for each file, started with the very configuration that `usher edge create` prints."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from openusher.ledger.folder import ADMIN_SOCKET, short_path
from tests.nodes import Node, usher_here
from tests.servers.guarded import Site
from tests.servers.nginx import nginx_command, running_nginx
from tests.servers.ports import free_port, takes_a_connection
from tests.sevuclient import Account

_START_S_MAX = 20.0
_STOP_S_MAX = 5.0
_LOOK_S = 0.02

_numbers = itertools.count(1)


class Front(NamedTuple):
    """How a test runs one kind of server."""

    kind: str
    # The edge's options beside where it listens and whom it asks, with the test's folder in them.
    options: Callable[[Path], list[str]]
    # Writes the configuration into the folder, and says what runs the server.
    command: Callable[[Path, str], list[str]]
    # How long its configuration waits for Usher, and how long a test does.
    patience: tuple[str, str]
    # The option that says where it listens.
    listen: str = "listen=127.0.0.1:{port}"
    # Its media lie on a server behind it, not in a folder of its own.
    has_origin: bool = True
    can_open: bool = False
    # What it takes for a yes, and what its viewers get where Usher is away.
    yes: Collection[int] = (200,)
    away: int = 503
    # It keeps a ticket in the query from the origin, and writes a log.
    cuts_query: bool = True
    writes_log: bool = True


def _envoy(folder: Path, snippet: str) -> list[str]:
    (folder / "envoy.yaml").write_text(snippet)
    quiet = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--file-flush-interval-msec", "50")
    return [program("envoy"), "-c", str(folder / "envoy.yaml"), *quiet]


def _caddy(folder: Path, snippet: str) -> list[str]:
    # Else it would listen for its own API on a port that every Caddy takes.
    assert snippet.count("\n{\n") == 1
    (folder / "Caddyfile").write_text(snippet.replace("\n{\n", "\n{\n\tadmin off\n"))
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _haproxy(folder: Path, snippet: str) -> list[str]:
    (folder / "haproxy.cfg").write_text(snippet)
    (folder / "usher.lua").write_text(usher_here("edge", "lua").stdout)
    return [program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def _traefik(folder: Path, snippet: str) -> list[str]:
    (folder / "usher.yaml").write_text(snippet)
    # What is to be added to the static configuration stands in the comments.
    trusted = re.search(r"^# .*trustedIPs: \[ (.*) \]", snippet, re.MULTILINE)
    nets = trusted[1].replace('"', "").split(", ") if trusted else []
    port = re.search(r'entryPoints: \[ "port-(\d+)" \]', snippet)
    assert port is not None
    return [
        sys.executable,
        str(Path(__file__).parent / "traefikstandin.py"),
        str(folder / "usher.yaml"),
        port[1],
        *nets,
    ]


FRONTS = {
    front.kind: front
    for front in (
        Front(
            "caddy",
            lambda folder: [f"log={folder}/access.log", "bind=127.0.0.1"],
            _caddy,
            ("response_header_timeout 5s", "response_header_timeout 1s"),
            # With its scheme, for which Caddy gets no certificate.
            listen="listen=http://127.0.0.1:{port}",
            has_origin=False,
        ),
        Front(
            "envoy",
            lambda folder: [f"log={folder}/access.log"],
            _envoy,
            ("timeout: 5s", "timeout: 1s"),
            can_open=True,
        ),
        Front(
            "haproxy",
            # It logs to a socket, or as here to where it says what it has to say.
            lambda folder: [f"lua={folder}/usher.lua", "log=stdout format raw local0"],
            _haproxy,
            (" 1000\n", " 300\n"),
            can_open=True,
        ),
        Front(
            "nginx",
            lambda folder: [f"log={folder}/usher.log", f"error_log={folder}/usher-error.log"],
            nginx_command,
            ("proxy_read_timeout 5s", "proxy_read_timeout 1s"),
            has_origin=False,
            can_open=True,
            yes=range(200, 300),
        ),
        # A stand-in, without a log and without a patience of its own.
        Front(
            "traefik",
            lambda folder: [],
            _traefik,
            ("", ""),
            listen="entry_point=port-{port}",
            yes=range(200, 300),
            away=500,
            cuts_query=False,
            writes_log=False,
        ),
    )
}


def program(name: str) -> str:
    """Where it is. It must be there: what cannot be tried is not known to work."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', '')}:/usr/sbin")
    assert found is not None, f"{name} is not installed; `make test` installs it"
    return found


class Running:
    """A started server; all that it writes is in `folder`, what it says in `said.log` there."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process

    def stop(self) -> None:
        for end in (self.process.terminate, self.process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S_MAX)
                return


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[Running]:
    """A server while the context lasts. AssertionError where it ends or takes no connection on `port` in time."""
    said = folder / "said.log"
    with said.open("wb") as log:
        # A home of its own, for what servers keep there.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    server = Running(folder, process)
    try:
        deadline = time.monotonic() + _START_S_MAX
        while not takes_a_connection(port):
            assert process.poll() is None, f"{command[0]} ended:\n{said.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"{command[0]} took no connection:\n{said.read_text()[-4000:]}"
            time.sleep(_LOOK_S)
        yield server
    finally:
        server.stop()


class Origin(NamedTuple):
    """A server of media that lets everybody in; it logs what it was asked for, a target a line."""

    address: str
    log: Path


@contextmanager
def running_origin(media: Path, folder: Path) -> Iterator[Origin]:
    port = free_port()
    http = f"""
    log_format asked '$request_uri';
    server {{ listen 127.0.0.1:{port}; root {media}; access_log {folder}/asked.log asked; }}
    """
    with running_nginx(folder, http, [port]):
        yield Origin(f"127.0.0.1:{port}", folder / "asked.log")


def posted(node: Node, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the node's admin API answers, by which the `usher` command does its work."""
    with short_path(node.data) as folder:
        transport = httpx.HTTPTransport(uds=f"{folder}/{ADMIN_SOCKET}")
        with httpx.Client(transport=transport, base_url="http://admin", timeout=20) as client:
            reply = client.post(path, json=body)
    assert reply.is_success, reply.text
    made: dict[str, Any] = reply.json()
    return made


@contextmanager
def fronted(
    front: Front,
    node: Node,
    media: Path,
    origin: Origin,
    folder: Path,
    *options: str,
    changed: Callable[[str], str] = lambda snippet: snippet,
) -> Iterator[Site]:
    """An account of its own on `node`, and a server of the front's kind that asks it; `usher=…` has it ask another."""
    folder.mkdir(parents=True, exist_ok=True)
    account = Account(**posted(node, "/accounts", {"name": f"{front.kind}-{next(_numbers)}"}))
    port = free_port()
    told = [
        f"usher={node.url.removeprefix('http://')}",
        front.listen.format(port=port),
        f"origin={origin.address}" if front.has_origin else f"root={media}",
        "cookie_secure=off",
        *front.options(folder),
    ]
    set_to: dict[str, list[str]] = {name: [value] for name, _, value in (option.partition("=") for option in told)}
    for name, given in itertools.groupby(sorted(options), key=lambda option: option.partition("=")[0]):
        set_to[name] = [option.partition("=")[2] for option in given]
    edge = posted(node, f"/accounts/{account.cdn}/edges", {"kind": front.kind, "options": set_to})
    with running(front.command(folder, changed(edge["snippet"])), folder, port) as server:
        yield Site(node, account, server, f"http://127.0.0.1:{port}", edge["edge"])
