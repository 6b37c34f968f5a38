"""How Caddy asks: a subrequest by `reverse_proxy`, which is what its `forward_auth` stands for (edges/caddy.md).

Only 200 lets a file be sent; what else Usher says is shown to the viewer as it comes.
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed
from openusher.web.edges.viewer import viewed_by_headers


class CaddySkin:
    """Its headers are those that `forward_auth` sends. To what a trusted proxy sent as `X-Forwarded-For` Caddy adds the
    proxy's address; of others it takes the address alone."""

    kind = EdgeKind.CADDY
    has_one_cookie = False

    def read(self, call: Call) -> Viewed:
        return viewed_by_headers(call, uri=b"x-forwarded-uri", method=b"x-forwarded-method")

    def keeps(self, seconds: str) -> Headers:
        return []
