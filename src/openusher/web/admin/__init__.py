"""The admin API, on a socket that only the data folder's owner can open. The CLI is its client, also without a node.

One module a subject, each with its routes; answering.py has what they share.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from openusher.usher import Usher
from openusher.web.admin import accounts, attempts, backup, edges, keys, node, sessions, tickets


def admin_app(usher: Usher, *more: Route) -> Starlette:
    """The admin routes over `usher`, and `more` that a running node has. Errors come as `{"error": …}` with the natural
    status."""
    parts = (accounts, keys, edges, tickets, sessions, node, backup, attempts)
    return Starlette(routes=[*more, *(route for part in parts for route in part.routes(usher))])
