"""Runs a node behind HTTP: the public socket, the admin socket, and a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import uvicorn

from openusher.errors import LedgerUnavailable, SetupError
from openusher.ledger.folder import ADMIN_SOCKET, short_path
from openusher.node import Seams, open_node
from openusher.settings import Settings, host_and_port
from openusher.web.admin import admin_app
from openusher.web.app import PublicApp
from openusher.web.connection import BoundedConnection
from openusher.web.edges.control import Controller
from openusher.web.edges.reconcile import Reconciler
from openusher.web.metrics.exposition import MetricsApp
from openusher.web.metrics.readings import Readings
from openusher.web.metrics.requests import RequestTally
from openusher.web.observed import Observer, each_of, seen, unseen
from openusher.web.shortway import Heads, ShortWayConnection, ShortWays
from openusher.web.signals import Signals

_BACKLOG = 2_048
# Requests under way may finish at the end; a commit takes milliseconds, a long count is given up.
_SHUTDOWN_S_MAX = 3
# What was given up may still say so.
_LAST_WORDS_S_MAX = 0.5

log = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None],
    seams: Seams = Seams(),  # noqa: B008
) -> None:
    """Run until SIGTERM or SIGINT. Calls `on_ready` with the node's URL once both sockets answer.

    Raises SetupError, and LedgerUnavailable when the ledger's process ended by itself.
    """
    _raise_descriptor_limit()
    signals = Signals()
    async with signals, open_node(settings, on_ledger_end=signals.ask_for_lost_ledger, seams=seams) as usher:
        with contextlib.ExitStack() as opened:
            listening = opened.enter_context(_listen(settings.host, settings.port, flag="--port"))
            admin_listening = opened.enter_context(admin_listener(settings.data))
            requests = RequestTally()
            # Whoever wants to see what is answered stands here.
            observe = each_of(requests.add)
            app = PublicApp(usher, settings)
            beside = (Controller(usher, app.controls), Reconciler(usher, app.shows))
            metrics = MetricsApp(Readings(usher, settings, requests, kicks=beside[0], reconciled=beside[1]))
            admin = _Server(http_config(admin_app(usher, metrics.route), settings, observe=observe), lambda: None)
            config = http_config(app, settings, short_way=app.short_way, observe=observe)
            public = _Server(config, lambda: on_ready(_url(listening)))
            others = [(admin, admin_listening)]
            if settings.metrics is not None:
                host, port = host_and_port(settings.metrics)
                metrics_listening = opened.enter_context(_listen(host, port, flag="--metrics"))
                others.append(
                    (_Server(http_config(metrics, settings, observe=observe), lambda: None), metrics_listening)
                )
                log.info("metrics.listening on %s/metrics", _url(metrics_listening))
            signals.end(public, *(server for server, _ in others))
            loop = asyncio.get_running_loop()
            serving = [loop.create_task(server.serve(sockets=[socket])) for server, socket in others]
            for part in beside:
                part.start()
            try:
                await public.serve(sockets=[listening])
            finally:
                for server, _ in others:
                    server.should_exit = True
                await asyncio.gather(*serving)
                for part in beside:
                    await part.close()
    if signals.ledger_is_lost:
        raise LedgerUnavailable("the ledger's process ended; start the node again")


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as the machine allows: the usual soft limit, kept for programs that call select, is a
    thousand, and every connection takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def http_config(
    app: Any, settings: Settings, *, short_way: ShortWays | None = None, observe: Observer = unseen
) -> uvicorn.Config:
    """How the server runs `app`, and shows each request to `observe` when it is answered."""
    # The server makes its connections itself and passes nothing on: a class with a node's settings.
    settled: dict[str, Any] = {"request_s_max": settings.request_s_max, "observe": staticmethod(observe)}
    if short_way is not None:
        settled |= {"short_way": staticmethod(short_way), "heads": Heads()}
        connection = type("Connection", (ShortWayConnection,), settled)
    else:
        connection = type("Connection", (BoundedConnection,), settled)
    return uvicorn.Config(
        seen(app, observe),
        http=connection,
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


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cast("type[BoundedConnection]", self.config.http_protocol_class).is_ending = True
        await super().shutdown(sockets=sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_S_MAX)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Left to `Signals`: the base class lets go of them while the node is still closing its stores."""
        yield


def _listen(host: str, port: int, *, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {flag}") from error
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
