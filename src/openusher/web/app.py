"""The node's public ASGI app: which path is answered by what."""

from __future__ import annotations

from openusher.settings import Settings
from openusher.usher import Usher
from openusher.web.asgi import App, Receive, Scope, Send, send_answer
from openusher.web.edges import authorize, openapi
from openusher.web.edges.caddy import CaddySkin
from openusher.web.edges.control import Control
from openusher.web.edges.endpoint import WITH_HEADER, WITH_TOKEN, Door, EdgeEndpoint, kind_of_target
from openusher.web.edges.envoy import EnvoySkin
from openusher.web.edges.forward import ForwardDoor
from openusher.web.edges.haproxy import HaproxySkin
from openusher.web.edges.mediamtx import MediaMtxDoor
from openusher.web.edges.nginx import NginxSkin
from openusher.web.edges.nginx_rtmp import NginxRtmpDoor
from openusher.web.edges.reconcile import Shows
from openusher.web.edges.srs import SrsDoor
from openusher.web.edges.traefik import TraefikSkin
from openusher.web.health import HealthEndpoint
from openusher.web.observed import observed_of
from openusher.web.sevu import PATHS, SevuEndpoint, route_of
from openusher.web.shortway import ShortWay

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def doors(usher: Usher) -> list[Door]:
    """One for each kind of media server."""
    skins = (NginxSkin(), EnvoySkin(), CaddySkin(), HaproxySkin(), TraefikSkin())
    connected = (NginxRtmpDoor(usher), SrsDoor(usher), MediaMtxDoor(usher))
    return [*(ForwardDoor(usher, skin) for skin in skins), *connected]


class PublicApp:
    """Looks a path up and hands over. A dictionary is all the routing that a handful of fixed paths need."""

    def __init__(self, usher: Usher, settings: Settings) -> None:
        sevu = SevuEndpoint(usher, settings)
        health = HealthEndpoint(usher)
        plain = authorize.AuthorizeEndpoint(usher, request_s_max=settings.request_s_max)
        made = doors(usher)
        self.shows = {door.kind.value: door for door in made if isinstance(door, Shows)}
        self.controls = {door.kind.value: door for door in made if isinstance(door, Control)}
        self._edges = {
            door.kind.value: EdgeEndpoint(usher, door, request_s_max=settings.request_s_max) for door in made
        }
        self._short_ways: dict[bytes, ShortWay] = {
            authorize.PATH.encode(): plain,
            **{path.encode(): sevu for path in PATHS},
            **{f"{WITH_HEADER}{kind}".encode(): endpoint for kind, endpoint in self._edges.items()},
        }
        self._endpoints: dict[str, App] = {
            authorize.PATH: plain,
            openapi.PATH: openapi.OpenApiEndpoint(),
            "/healthz": health.alive,
            "/readyz": health.ready,
            **dict.fromkeys(PATHS, sevu),
        }

    def short_way(self, target: bytes) -> ShortWay | None:
        """What answers this target of a request that came whole, if that is one of the hottest."""
        way = self._short_ways.get(target)
        if way is None and target.startswith((WITH_HEADER.encode(), WITH_TOKEN.encode())):
            return self._edges.get(kind_of_target(target.decode("latin-1")))
        return way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        endpoint = self._endpoints.get(path)
        if endpoint is not None:
            # One of a few; those of edges, which have tokens in them, are told by their endpoint.
            observed_of(scope).route = route_of(path)
        else:
            endpoint = self._edges.get(kind_of_target(path))
        if endpoint is None:
            await send_answer(send, 404, b"nothing here; the SEVU API is at / and the door at /v1/authorize\n", _TEXT)
        else:
            await endpoint(scope, receive, send)
