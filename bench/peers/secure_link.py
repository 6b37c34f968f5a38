"""nginx's secure_link: a link with a hash over its expiry and the viewer's address, checked without any store.

What sites use today where nothing is counted. It answers from its configuration, writes its access log as Debian's
does, and runs a worker a core.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

import msgspec

from bench import traffic
from bench.process import Address, ServerFailed

BODY = "ok"
_SECRET = "bench"
_START_S_MAX, _STOP_S_MAX, _LOOK_S = 10.0, 10.0, 0.02
_LINKS = 100_000
_EXPIRES_S = 4_102_444_800
_CONFIGURATION = """
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  # As many as one connection of the bench sends.
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      secure_link $arg_md5,$arg_expires;
      secure_link_md5 "$secure_link_expires$uri$remote_addr {secret}";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 410; }}
      return 200 {body};
    }}
  }}
}}
"""


def link(path: str, *, address: str, expires_s: int = _EXPIRES_S) -> str:
    """What a site puts into its page for the viewer at `address`."""
    digest = md5(f"{expires_s}{path}{address} {_SECRET}".encode()).digest()
    return f"{path}?md5={urlsafe_b64encode(digest).rstrip(b'=').decode()}&expires={expires_s}"


def write_links(folder: Path, *, tickets: int) -> Path:
    """What viewers ask for, one a line."""
    links = folder / "links.txt"
    with links.open("wb") as lines:
        for n in range(min(_LINKS, tickets)):
            path = f"/{traffic.APPS[n % len(traffic.APPS)]}/live/cam{n % traffic.CAMERAS}/{n}/index.m3u8"
            lines.write(msgspec.json.encode({":path": link(path, address="127.0.0.1")}) + b"\n")
    return links


def nginx_program() -> str:
    """Debian keeps it where only root's PATH leads. Raises ServerFailed where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise ServerFailed("nginx is not installed; `make packages` installs it")
    return program


@contextmanager
def secure_link_server(folder: Path) -> Iterator[Address]:
    """An nginx with this check while the context lasts; all that it writes is in `folder`."""
    program = nginx_program()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    # Where it is root's, its workers would not be, and could not write their log.
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, port=port, secret=_SECRET, body=BODY, user=user))
    process = subprocess.Popen(
        [program, "-p", str(folder), "-e", str(folder / "nginx-error.log"), "-c", str(file)],
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
