"""What the tables of bad requests are made of: requests as real clients sign and encode them. Only the stdlib."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import NamedTuple
from urllib.parse import quote

URLENCODED = "application/x-www-form-urlencoded"
BOUNDARY = "----------------------------4ebf00fbcf09"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

MALFORMED = 9001
UNKNOWN_COMMAND = 0
NOT_AUTHORISED = 1
TIMESTAMP = 2
SIGNATURE = 3
MISSING = 6
# The code for an invalid parameter of each command.
INVALID = {
    "sevu.request": 2012,
    "sevu.status": 2022,
    "sevu.revoke": 2032,
    "sevu.errorlog": 2042,
    "sevu.errorcount": 2052,
}


class BadRequest(NamedTuple):
    """One row: what is sent, and the `code` and a part of the `message` of the answer."""

    name: str
    body: bytes
    content_type: str
    code: int
    message_part: str


class Account(NamedTuple):
    api_key: str
    secret: str
    cdn: int
    now: int


def members(account: Account, command: str, **parameters: object) -> dict[str, object]:
    """The members of a command, without a signature."""
    return {
        "command": command,
        "api_key": account.api_key,
        "timestamp": account.now,
        "cdn": account.cdn,
        **parameters,
    }


def signature(text: bytes, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()


def signed(text: bytes, secret: str) -> bytes:
    """`text` with its signature spliced in as the last member, as the Perl client does it."""
    return text[:-1] + b',"signature":"' + signature(text, secret).encode() + b'"}'


def posted(text: bytes, field: str = "json") -> bytes:
    """The urlencoded body; what may stand plain does, so that long texts stay within the limit of a body, 64 KiB."""
    return f"{field}={quote(text, safe=' []{}:,/' + chr(34) + chr(92))}".encode()


def multipart(*parts: tuple[str, bytes], closing: bool = True) -> bytes:
    body = b""
    for name, text in parts:
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + text + b"\r\n"
    return body + (f"--{BOUNDARY}--\r\n".encode() if closing else b"")


def good_parameters(command: str) -> dict[str, object]:
    """Parameters that `command` takes."""
    if command == "sevu.request":
        return {
            "app": "demo-vod",
            "video": "clips/*",
            "pass": "user1|random",
            "ip": "192.0.2.0/24",
            "uses": 5,
            "expire": "2030-01-01 00:00:00",
        }
    if command in ("sevu.status", "sevu.revoke"):
        return {"key": "mystream.53ffc996dd39d5.39102367"}
    return {}


def good_text(account: Account, command: str = "sevu.errorcount") -> bytes:
    return json.dumps(members(account, command, **good_parameters(command))).encode()


def values(*values: object) -> tuple[object, ...]:
    """Values of many types, for one member after another."""
    return values
