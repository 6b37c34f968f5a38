"""A real nginx with a test's own configuration: checked, started, awaited, stopped by its process id."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import takes_a_connection

_START_S_MAX = 10.0
# Requests that still run when it is to stop are let finish for so long, then cut off.
_FINISH_MS_MAX = 300
_STOP_S_MAX = 5.0
_LOOK_S = 0.02
_MIME_TYPES = Path("/etc/nginx/mime.types")
_STREAM_TYPES = {
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "ts": "video/mp2t",
    "m4s": "video/iso.segment",
}
_TEMP_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """A started nginx; all that it writes is in `folder`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process

    def error_log(self) -> str:
        """What it has complained of, from `warn` up."""
        return _text(self.folder / "error.log")

    def access_log(self) -> str:
        """One line a request, in nginx's `combined` form.

        A line may be written a moment after the client has its answer; once nginx has stopped, all are there.
        """
        return _text(self.folder / "access.log")

    def stop(self) -> None:
        """Let requests that still run finish for a moment, then end it and its workers; once ended, nothing is done."""
        for sent in (signal.SIGQUIT, signal.SIGTERM):
            self.process.send_signal(sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S_MAX)
                return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running_nginx(folder: Path, http: str, ports: Sequence[int]) -> Iterator[Nginx]:
    """An nginx whose `http` block holds the text `http`, while the context lasts.

    `folder` is made where it is missing and may be used again; `ports` are those of 127.0.0.1 that `http` listens on.
    Nothing of the machine's own configuration is read but the list of MIME types; no dynamic module is loaded.

    Raises as `running_configuration`.
    """
    with running_configuration(folder, _configuration(folder, http), ports) as nginx:
        yield nginx


@contextmanager
def running_configuration(folder: Path, configuration: str, ports: Sequence[int]) -> Iterator[Nginx]:
    """An nginx with a whole configuration, which says with `in_folder` where its own files are.

    Raises AssertionError with nginx's own words where it refuses the configuration, ends, or has not taken a
    connection on each of `ports` after 10 s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for log in ("error.log", "access.log", "nginx.pid"):
        # What an earlier one left would be read as this one's.
        (folder / log).unlink(missing_ok=True)
    command = _command(folder, configuration)
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=_START_S_MAX, check=False)
    assert checked.returncode == 0, f"nginx refuses its configuration:\n{checked.stderr}"
    # A group of its own, so that the workers can be killed with a master that does not stop.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    nginx = Nginx(folder, process)
    try:
        _await_ready(nginx, ports)
        yield nginx
    finally:
        nginx.stop()


def nginx_command(folder: Path, http: str) -> list[str]:
    """Write a configuration with this text in its `http` block into `folder`, and say what runs an nginx by it."""
    return _command(folder, _configuration(folder, http))


def _command(folder: Path, configuration: str) -> list[str]:
    (folder / "nginx.conf").write_text(configuration)
    return [_program(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def _program() -> str:
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found is not None, "nginx is not installed; `make packages` installs it"
    return found


def in_folder(folder: Path) -> str:
    """What stands outside of all blocks, so that it can be awaited and stopped."""
    return f'daemon off;\nmaster_process on;\nworker_shutdown_timeout {_FINISH_MS_MAX}ms;\npid "{folder}/nginx.pid";'


def temp_paths(folder: Path) -> str:
    """What stands in the block of HTTP, so that no file of the machine's own nginx is touched."""
    return "\n".join(f'    {name}_temp_path "{folder}/{name}";' for name in _TEMP_PATHS)


def _configuration(folder: Path, http: str) -> str:
    known = _MIME_TYPES.read_text()
    missing = {end: kind for end, kind in _STREAM_TYPES.items() if not re.search(rf"\s{end}\b", known)}
    # Without this line root's workers would be another user's, to whom a test's folder is closed.
    user = "user root;" if os.geteuid() == 0 else ""
    types = " ".join(f"{kind} {end};" for end, kind in missing.items())
    return f"""\
{in_folder(folder)}
worker_processes 2;
{user}
error_log "{folder}/error.log" warn;
events {{}}
http {{
    include "{_MIME_TYPES}";
    types {{ {types} }}
    access_log "{folder}/access.log";
{temp_paths(folder)}
{http}
}}
"""


def _await_ready(nginx: Nginx, ports: Sequence[int]) -> None:
    deadline = time.monotonic() + _START_S_MAX
    while not (_has_bound(nginx) and all(takes_a_connection(port) for port in ports)):
        status = nginx.process.poll()
        assert status is None, f"nginx ended with status {status}:\n{nginx.error_log()}"
        assert time.monotonic() < deadline, (
            f"nginx took no connection on each of {list(ports)} within {_START_S_MAX:.0f} s:\n{nginx.error_log()}"
        )
        time.sleep(_LOOK_S)


def _has_bound(nginx: Nginx) -> bool:
    # It writes its id after it has bound all of its ports; a connection alone may have been taken by another server.
    return _text(nginx.folder / "nginx.pid").strip() == str(nginx.process.pid)


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""
