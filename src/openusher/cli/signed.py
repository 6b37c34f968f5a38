"""A signed command, made as every SEVU client makes it: the object's text is signed, then the signature is appended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import msgspec

from openusher.cli.credentials import Signer
from openusher.sevu.signature import sign


class SignedText(msgspec.Struct, frozen=True):
    """The text that was signed, and the text to send as the form field `json`."""

    signed: str
    sent: str


def signed_command(command: str, parameters: Mapping[str, str | int], signer: Signer) -> SignedText:
    """Sign `command` with `parameters`, now. Members stand in the page's order."""
    members = {
        "command": command,
        "api_key": signer.api_key,
        "timestamp": int(time.time()),
        "cdn": signer.cdn,
        **parameters,
    }
    text = json.dumps(members, separators=(",", ":"))
    signature = sign(text.encode(), signer.secret)
    return SignedText(signed=text, sent=json.dumps({**members, "signature": signature}, separators=(",", ":")))
