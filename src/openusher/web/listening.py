"""The sockets on which a node answers: those that a supervisor hands over, or else its own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator, MutableMapping
from pathlib import Path

from openusher.errors import SetupError
from openusher.ledger.folder import ADMIN_SOCKET, short_path
from openusher.logs import event_log
from openusher.settings import Settings

# Who comes while the loop is busy, or the node restarts, waits there; the kernel cuts it to net.core.somaxconn.
BACKLOG = 65_535
# As systemd numbers what it hands over (sd_listen_fds(3)).
_FIRST_DESCRIPTOR = 3

log = event_log()


@contextlib.contextmanager
def public_listeners(
    settings: Settings, environment: MutableMapping[str, str] = os.environ
) -> Generator[list[socket.socket], None, None]:
    """Where media servers and sites ask. Closed at the end; what was handed over stays open where it came from, and
    who comes meanwhile waits there for the next node.

    Raises SetupError for an address that cannot be had, and for something handed over that is no listening socket.
    """
    with contextlib.ExitStack() as opened:
        listening = [opened.enter_context(each) for each in _handed_over(environment)]
        if listening:
            log.info("node.sockets_taken", sockets=", ".join(map(_name, listening)))
        else:
            listening.append(opened.enter_context(own_listener(settings.host, settings.port, flag="--port")))
        yield listening


def _handed_over(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """None where this process has not been started so. Its own processes do not see it: the variables are taken."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment["LISTEN_FDS"])
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    return [_listening(descriptor) for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count)]


def _listening(descriptor: int) -> socket.socket:
    try:
        handed = socket.socket(fileno=descriptor)
        handed.set_inheritable(False)
        if handed.type == socket.SOCK_STREAM and handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return handed
    except OSError as error:
        raise SetupError(f"descriptor {descriptor} was handed over, but is no socket: {error.strerror}") from error
    raise SetupError(f"descriptor {descriptor} was handed over, but does not listen; use ListenStream= and Accept=no")


def own_listener(host: str, port: int, *, flag: str) -> socket.socket:
    """A socket on that address. Raises SetupError, which names the `flag` to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {flag}") from error
    return listening


def url_of(listening: socket.socket, *, scheme: str = "http") -> str:
    """Where a socket answers, as it is asked for."""
    return f"unix:{_name(listening)}" if listening.family == socket.AF_UNIX else f"{scheme}://{_name(listening)}"


def _name(listening: socket.socket) -> str:
    if listening.family == socket.AF_UNIX:
        return str(listening.getsockname())
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def admin_listener(data: Path) -> Generator[socket.socket, None, None]:
    """The admin socket in the data folder, for its owner only; removed at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, short_path(data) as folder:
        (data / ADMIN_SOCKET).unlink(missing_ok=True)
        listening.bind(f"{folder}/{ADMIN_SOCKET}")
        (data / ADMIN_SOCKET).chmod(0o600)
        listening.listen(BACKLOG)
        try:
            yield listening
        finally:
            (data / ADMIN_SOCKET).unlink(missing_ok=True)
