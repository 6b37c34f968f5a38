"""A real nginx with a bench's own configuration: started, awaited, stopped by its process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import Address, ServerFailed, descriptors_max

_START_S_MAX, _STOP_S_MAX, _LOOK_S = 10.0, 10.0, 0.02
_CONFIGURATION = """
daemon off;
{user}
worker_processes auto;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections {connections}; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  # As many as one connection of the bench sends.
  keepalive_requests 1000000000;
{http}
}}
"""


def nginx_program() -> str:
    """Debian keeps it where only root's PATH leads. Raises ServerFailed where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise ServerFailed("nginx is not installed; `make packages` installs it")
    return program


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def nginx(folder: Path, http: str, *, port: int, connections: int = 4_096) -> Iterator[Address]:
    """An nginx whose `http` block holds the text `http`, which listens on `port`, with a worker a core and so many
    connections a worker, while the context lasts; all that it writes is in `folder`. Raises ServerFailed."""
    # Where it is root's, its workers would not be, and could not write their log.
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    descriptors = descriptors_max()
    file.write_text(
        _CONFIGURATION.format(folder=folder, user=user, http=http, connections=connections, descriptors=descriptors)
    )
    process = subprocess.Popen(
        [nginx_program(), "-p", str(folder), "-e", str(folder / "nginx-error.log"), "-c", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_port(port, process, folder)
        yield Address("127.0.0.1", port)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S_MAX)
        if process.poll() is None:
            process.kill()
            process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(_LOOK_S)
    errors = folder / "nginx-error.log"
    raise ServerFailed(f"nginx did not start; its last words:\n{errors.read_text() if errors.exists() else ''}")
