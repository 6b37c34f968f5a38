"""The token by which an edge shows who it is."""

from __future__ import annotations

from openusher.errors import NotAuthorised
from openusher.web.asgi import Headers, header

_BEARER = b"bearer "


def edge_token(headers: Headers) -> str:
    """The token that the `Authorization` header bears. Raises NotAuthorised where there is none."""
    return bearer_token(header(headers, b"authorization"))


def bearer_token(value: bytes) -> str:
    """The token of an `Authorization` header. Raises NotAuthorised where it bears none."""
    if value[:7].lower() != _BEARER:
        raise NotAuthorised("no edge token")
    return value[7:].strip().decode("latin-1")
