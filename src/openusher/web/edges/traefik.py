"""How Traefik's `forwardAuth` asks (edges/traefik.md): at a fixed address, which has the edge's token in it, with the
viewer's request in headers.

Any 2xx lets a file be sent; what else Usher says is shown to the viewer as it comes. Not run by us: the requests are
those of its source, pkg/middlewares/auth/forward.go.
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed
from openusher.web.edges.viewer import viewed_by_headers


class TraefikSkin:
    """The only one that hands on cookies by their names alone, which its configuration has to know."""

    kind = EdgeKind.TRAEFIK
    has_one_cookie = True

    def read(self, call: Call) -> Viewed:
        return viewed_by_headers(call, uri=b"x-forwarded-uri", method=b"x-forwarded-method")

    def keeps(self, seconds: str) -> Headers:
        return []
