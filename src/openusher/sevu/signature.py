"""Sign the text of a command, and check its signature (SEVU facts, 1.2).

`signature = base64(HMAC-SHA256(key = secret, message = JSON text without the signature member))`. The secret is the
literal ASCII text that the customer sees; its hex digits are not decoded.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from openusher.model.account import Secret


def sign(signed_text: bytes, secret: Secret) -> str:
    """The signature of `signed_text`, as a client sends it."""
    return base64.b64encode(digest_of(signed_text, secret)).decode()


def digest_of(signed_text: bytes, secret: Secret) -> bytes:
    """The 32 bytes that the right signature stands for; what a replay is known by."""
    return hmac.digest(secret.reveal().encode(), signed_text, hashlib.sha256)


def is_signature(given: str, digest: bytes) -> bool:
    """Say whether `given` is strict base64 of `digest`; the comparison takes the same time wherever they differ."""
    # There is one such text a digest: 32 bytes in padded base64 leave no bits to spare.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), base64.b64encode(digest))
