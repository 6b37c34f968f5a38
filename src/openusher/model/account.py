"""Who asks: accounts (tenants, numbered by their cdn), their API keys and their edges."""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256

import msgspec

# Of the secret printed in ScaleEngine's documentation: whoever reads that page could sign.
_PUBLISHED_SECRET_SHA256 = "b49b01aa5d8af95dbfc327189a5051863e6f513eb371bbaeb9eaea7b245dbd9e"


class Secret:
    """A text that never shows itself: not in repr, a log line or an error."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def opens_with(self, text: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._text.encode(), text.encode(errors="surrogatepass"))

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant. A disabled one (`active` False) is refused everywhere; its rows stay."""

    cdn: int
    name: str
    active: bool = True
    created_s: int = 0


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key and the secret that signs its commands. An account may have several, for rotation. `used_s` is when
    it signed last, to the minute; 0: never."""

    api_key: str
    cdn: int
    secret: Secret
    created_s: int = 0
    used_s: int = 0


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A media server or proxy that asks. Only the SHA-256 of its token is kept. `kind` says how it asks, `options` how
    it is set (model/edge.py). One that was revoked (`revoked_s`) lets nobody ask any more; attempts and sessions name
    it."""

    number: int
    cdn: int
    name: str
    token_digest: str
    kind: str = "generic"
    options: dict[str, str] = {}
    created_s: int = 0
    revoked_s: int = 0


class OldToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that a newer one of its edge has replaced, and until when it lets ask all the same."""

    digest: str
    edge: int
    until_ms: int


# Edges are few, and each shows its token with every question.
@lru_cache(maxsize=1024)
def token_digest(token: str) -> str:
    """What is kept of an edge token. A plain hash is enough: tokens are 256 random bits, nothing to guess."""
    return sha256(token.encode(errors="surrogatepass")).hexdigest()


def is_published(secret: Secret) -> bool:
    """Whether this is the secret printed in ScaleEngine's documentation, which opens a demo and nothing else."""
    return sha256(secret.reveal().encode()).hexdigest() == _PUBLISHED_SECRET_SHA256
