"""Requests of clients whose languages are not at hand in the tests, as the bytes that their encoders write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping


def signature_of(text: str, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def csharp_text(members: Mapping[str, object], secret: str) -> str:
    """Newtonsoft's JObject.ToString(): two blanks, CRLF, UTF-8 and slashes as they are; the signature added last."""

    def to_string(content: Mapping[str, object]) -> str:
        return json.dumps(content, indent=2, ensure_ascii=False).replace("\n", "\r\n")

    return to_string({**members, "signature": signature_of(to_string(members), secret)})


def node_text(members: Mapping[str, object], secret: str) -> str:
    """JSON.stringify(): no blanks, UTF-8 and slashes as they are; the signature added last."""

    def stringify(content: Mapping[str, object]) -> str:
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)

    return stringify({**members, "signature": signature_of(stringify(members), secret)})


def signature_first_text(members: Mapping[str, object], secret: str) -> str:
    """A client that puts the signature before everything else."""
    text = json.dumps(members)
    return json.dumps({"signature": signature_of(text, secret), **members})
