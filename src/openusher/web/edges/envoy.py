"""How Envoy's `ext_authz` asks over HTTP: with the viewer's own method, path and query behind a prefix.

Only 200 lets a file be sent. 5xx and silence are its own failure, which the snippet turns into 503 with `Retry-After`
or, where the edge is told to, into letting everybody in (edges/envoy.md).
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed


class EnvoySkin:
    """The only one whose questions come by the viewer's method, so that those of a HEAD take the longer way."""

    kind = EdgeKind.ENVOY
    has_one_cookie = False

    def read(self, call: Call) -> Viewed:
        return Viewed(target=call.target, method=call.method, ip=call.headers[b"x-real-ip"].decode())

    def keeps(self, seconds: str) -> Headers:
        return []
