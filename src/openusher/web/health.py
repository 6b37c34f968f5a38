"""What balancers and supervisors ask: is the process up, and can it decide and count?"""

from __future__ import annotations

from openusher.errors import StoreError
from openusher.usher import Usher
from openusher.web.asgi import Receive, Scope, Send, send_answer

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class HealthEndpoint:
    """Neither endpoint tells a stranger more than yes or no."""

    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def alive(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(send, 200, b"alive\n", _TEXT)

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._usher.check_ready()
        except StoreError:
            await send_answer(send, 503, b"not ready; see the node's log\n", _TEXT)
        else:
            await send_answer(send, 200, b"ready\n", _TEXT)
