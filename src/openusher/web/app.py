"""The node's public ASGI app: which path is answered by what."""

from __future__ import annotations

from openusher.settings import Settings
from openusher.usher import Usher
from openusher.web.asgi import App, Receive, Scope, Send, send_answer
from openusher.web.edges import authorize, nginx
from openusher.web.health import HealthEndpoint
from openusher.web.sevu import PATHS, SevuEndpoint
from openusher.web.shortway import ShortWay

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class PublicApp:
    """Looks a path up and hands over. A dictionary is all the routing that a handful of fixed paths need."""

    def __init__(self, usher: Usher, settings: Settings) -> None:
        sevu = SevuEndpoint(usher, settings)
        health = HealthEndpoint(usher)
        door = authorize.AuthorizeEndpoint(usher, request_s_max=settings.request_s_max)
        of_nginx = nginx.NginxEndpoint(usher)
        self.short_ways: tuple[ShortWay, ...] = (door, of_nginx)
        self._endpoints: dict[str, App] = {
            authorize.PATH: door,
            nginx.PATH: of_nginx,
            "/healthz": health.alive,
            "/readyz": health.ready,
            **dict.fromkeys(PATHS, sevu),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None:
            await send_answer(send, 404, b"nothing here; the SEVU API is at / and the door at /v1/authorize\n", _TEXT)
        else:
            await endpoint(scope, receive, send)
