"""Runs a node behind HTTP: the public socket, the admin socket, and a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, cast

import uvicorn

from openusher import __version__
from openusher.errors import LedgerUnavailable, SetupError
from openusher.logs import event_log
from openusher.node import Seams, open_node
from openusher.settings import Settings, host_and_port
from openusher.web.accepting import Accepting
from openusher.web.admin import admin_app
from openusher.web.app import PublicApp
from openusher.web.connection import BoundedConnection
from openusher.web.edges.caller import Calling
from openusher.web.edges.control import Controller
from openusher.web.edges.reconcile import Reconciler
from openusher.web.listening import admin_listener, own_listener, public_listeners, url_of
from openusher.web.metrics.exposition import MetricsApp
from openusher.web.metrics.readings import Readings
from openusher.web.metrics.requests import RequestTally
from openusher.web.observed import Observer, each_of, seen, unseen
from openusher.web.onewrite import Turn
from openusher.web.reading import Reading
from openusher.web.requestlog import RequestLog
from openusher.web.shortway import Heads, ShortWayConnection, ShortWays
from openusher.web.signals import Signals
from openusher.web.supervisor import Supervisor
from openusher.web.tls import Certificate

# Requests under way may finish at the end; a commit takes milliseconds, a long count is given up.
_SHUTDOWN_S_MAX = 3
# From our end of a TLS connection to that of who asked.
_GOODBYE_S_MAX = 1.0
# What was given up may still say so.
_LAST_WORDS_S_MAX = 0.5

# Objects that the collector lets come before it looks at them, by Python's own rule 700; and of its looks at what is no
# longer young, to one at everything.
_YOUNG, _MIDDLE_A_WHOLE = 30_000, 25

log = event_log()


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
    _seldom_look_through_all()
    supervisor = Supervisor()
    signals = Signals(on_stop=supervisor.stopping)
    async with signals, open_node(settings, on_ledger_end=signals.ask_for_lost_ledger, seams=seams) as usher:
        with contextlib.ExitStack() as opened:
            listening = opened.enter_context(public_listeners(settings))
            requests = RequestTally()
            # Whoever wants to see what is answered stands here.
            observe = each_of(requests.add, RequestLog())
            app = PublicApp(usher, settings)
            controller, reconciler = Controller(usher, app.controls), Reconciler(usher, app.shows)
            metrics = MetricsApp(Readings(usher, settings, requests, kicks=controller, reconciled=reconciler))
            admin_config = http_config(admin_app(usher, metrics.route), settings, observe=observe)
            admin = _Server(admin_config, on_shutdown=usher.end_streams)
            others = [(admin, opened.enter_context(admin_listener(settings.data)))]
            if settings.metrics is not None:
                host, port = host_and_port(settings.metrics)
                metrics_listening = opened.enter_context(own_listener(host, port, flag="--metrics"))
                others.append((_Server(http_config(metrics, settings, observe=observe)), metrics_listening))
                log.info("metrics.opened", url=f"{url_of(metrics_listening)}/metrics")

            url = url_of(listening[0], scheme="http" if settings.tls_cert is None else "https")

            def tell_ready() -> None:
                log.info("node.started", version=__version__, url=url, data=settings.data.absolute(), log=settings.log)
                on_ready(url)
                supervisor.ready(f"Answers on {url}")

            public = _Server(http_config(app, settings, short_way=app.short_way, observe=observe), tell_ready)
            if settings.tls_cert is not None and settings.tls_key is not None:
                certificate = Certificate(settings.tls_cert, settings.tls_key)
                public.tls = certificate.context
                signals.reload = lambda: _reload(certificate, supervisor, url)
            signals.end(public, *(server for server, _ in others))
            async with _beside(supervisor, controller, reconciler), _served(others):
                await public.serve(sockets=listening)
    if signals.ledger_is_lost:
        raise LedgerUnavailable("the ledger's process ended; start the node again")


@contextlib.asynccontextmanager
async def _beside(supervisor: Supervisor, *parts: Calling) -> AsyncIterator[None]:
    """What runs while requests are answered."""
    saying_alive = asyncio.get_running_loop().create_task(supervisor.say_alive())
    for part in parts:
        part.start()
    try:
        yield
    finally:
        for part in parts:
            await part.close()
        saying_alive.cancel()


def _reload(certificate: Certificate, supervisor: Supervisor, url: str) -> None:
    supervisor.reloading()
    try:
        certificate.reload()
    except SetupError as error:
        log.error("tls.refused", error=error)
    else:
        log.info("tls.reloaded")
    supervisor.ready(f"Answers on {url}")


@contextlib.asynccontextmanager
async def _served(servers: list[tuple[_Server, socket.socket]]) -> AsyncIterator[None]:
    """Each on its socket."""
    loop = asyncio.get_running_loop()
    serving = [loop.create_task(server.serve(sockets=[listening])) for server, listening in servers]
    try:
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as the machine allows: the usual soft limit, kept for programs that call select, is a
    thousand, and every connection takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _seldom_look_through_all() -> None:
    """Let the collector of garbage look seldom, and at everything once in a minute or so under load. Requests leave
    next to nothing for it. With twenty thousand connections a look at everything stops the door for more than a second,
    and by Python's own rule there was one every other second when all asked at once; where thousands wait for the
    ledger, to look again and again at what was made for them took a tenth of the door's time."""
    _, middle, _ = gc.get_threshold()
    gc.set_threshold(_YOUNG, middle, _MIDDLE_A_WHOLE)


def http_config(
    app: Any, settings: Settings, *, short_way: ShortWays | None = None, observe: Observer = unseen
) -> uvicorn.Config:
    """How the server runs `app`, and shows each request to `observe` when it is answered."""
    # The server makes its connections itself and passes nothing on: a class with a node's settings.
    settled: dict[str, Any] = {"request_s_max": settings.request_s_max, "observe": staticmethod(observe)}
    if short_way is not None:
        settled |= {"short_way": staticmethod(short_way), "heads": Heads(), "turn": Turn(), "reading": Reading()}
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
    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None] = lambda: None,
        on_shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_shutdown = on_shutdown
        self.tls: ssl.SSLContext | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As in the base class, which gives a handshake and the end of TLS a minute and half of one."""
        assert sockets is not None
        tls: dict[str, Any] = {}
        if self.tls is not None:
            tls = {
                "ssl": self.tls,
                "ssl_handshake_timeout": self._connection_class.request_s_max,
                "ssl_shutdown_timeout": _GOODBYE_S_MAX,
            }
        accepting = [Accepting(listening, self._connect, tls=tls) for listening in sockets]
        self.servers = cast("list[asyncio.Server]", accepting)
        self.started = True
        self._on_ready()

    def _connect(self) -> BoundedConnection:
        return self._connection_class(self.config, self.server_state, self.lifespan.state)

    @property
    def _connection_class(self) -> type[BoundedConnection]:
        return cast("type[BoundedConnection]", self.config.http_protocol_class)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connection_class.is_ending = True
        self._on_shutdown()
        await super().shutdown(sockets=sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_S_MAX)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Left to `Signals`: the base class lets go of them while the node is still closing its stores."""
        yield
