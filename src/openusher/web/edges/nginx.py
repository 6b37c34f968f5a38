"""How nginx's `auth_request` asks: by the headers that our snippet sets.

nginx shows its viewers 401 and 403 as they come and any other refusal as 500, which the snippet turns into 503 with
`Retry-After`. A body would cost a connection each time (edges/nginx.md).
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed


class NginxSkin:
    """The only one that says which file it serves, after all of its own rewriting, and that keeps answers."""

    kind = EdgeKind.NGINX
    has_one_cookie = False

    def read(self, call: Call) -> Viewed:
        headers = call.headers
        return Viewed(
            target=headers[b"x-original-uri"].decode(),
            path=headers[b"x-original-path"].decode(),
            method=headers.get(b"x-original-method", b"GET").decode("latin-1"),
            ip=headers[b"x-real-ip"].decode(),
        )

    def keeps(self, seconds: str) -> Headers:
        return [(b"x-accel-expires", seconds.encode())]
