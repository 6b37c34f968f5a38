"""Runs a node behind HTTP: the public socket, the admin socket, and a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn

from openusher.errors import SetupError
from openusher.ledger.folder import ADMIN_SOCKET
from openusher.node import Seams, open_node
from openusher.settings import Settings
from openusher.web.admin import admin_app
from openusher.web.app import PublicApp
from openusher.web.connection import BoundedConnection

_BACKLOG = 2_048
# Requests under way may finish; a commit takes milliseconds, a count at most its own limit.
_SHUTDOWN_S_MAX = 15
# The commit's thread must get the GIL back soon after its fsync; the default of 5 ms would be most of a batch's time.
_SWITCH_INTERVAL_S = 0.0005


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None],
    seams: Seams = Seams(),  # noqa: B008
) -> None:
    """Run until SIGTERM or SIGINT. Calls `on_ready` with the node's URL once both sockets answer. Raises SetupError."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    async with open_node(settings, seams=seams) as usher:
        listening = _listen(settings.host, settings.port)
        with listening, admin_listener(settings.data) as admin_listening:
            admin = _AdminServer(_config(admin_app(usher), settings))
            public = _PublicServer(_config(PublicApp(usher, settings), settings), _url(listening), on_ready)
            serving_admin = asyncio.get_running_loop().create_task(admin.serve(sockets=[admin_listening]))
            try:
                await public.serve(sockets=[listening])
            finally:
                admin.should_exit = True
                await serving_admin


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        loop="uvloop",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=_SHUTDOWN_S_MAX,
    )


class _PublicServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, url: str, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._url = url
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready(self._url)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As in the base class, but a signal that ended us cleanly is not raised again: the exit status is 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class _AdminServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the public server's; this one ends when that one has."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def admin_listener(data: Path) -> Generator[socket.socket, None, None]:
    """The admin socket in the data folder, for its owner only; removed at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, short_path(data) as folder:
        (data / ADMIN_SOCKET).unlink(missing_ok=True)
        listening.bind(f"{folder}/{ADMIN_SOCKET}")
        (data / ADMIN_SOCKET).chmod(0o600)
        listening.listen(_BACKLOG)
        try:
            yield listening
        finally:
            (data / ADMIN_SOCKET).unlink(missing_ok=True)


@contextlib.contextmanager
def short_path(folder: Path) -> Generator[str, None, None]:
    """A short name for `folder` while the context lasts: a socket's path has at most 107 bytes, a folder's may have
    more."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
