"""Where a player's URL carries its ticket: in the path, or in the query. See docs/how-to/guard-nginx.md."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from openusher.errors import InvalidParameter
from openusher.model.pathmap import decoded_path
from openusher.web.edges.hooks import query_fields

PREFIX = "/t/"
_ENCODED = "~"


class Carried(NamedTuple):
    """The ticket, empty where there is none, and the raw path behind it, without the query."""

    key: str
    password: str
    path: str
    in_path: bool


def carried_ticket(target: str) -> Carried:
    """Read the ticket of a raw request target: `/t/<key>/<pass>/live/…`, or `/live/…?key=…&pass=…`.

    In a path the pass is percent-encoded, or `~` and base64url where it holds what servers take for something else. Of
    a field that comes twice the first counts, as in the servers themselves. Raises InvalidParameter.
    """
    if target.startswith(PREFIX):
        parts = target.split("/", 4)
        # A query before the file's path would be the ticket's own.
        if len(parts) == 5 and parts[2] and parts[3] and "?" not in parts[2] + parts[3]:
            return Carried(_text(parts[2]), _password(parts[3]), "/" + parts[4].partition("?")[0], in_path=True)
    path, _, query = target.partition("?")
    fields = query_fields(query, keeps_blank=False) if query else {}
    return Carried(fields.get("key", ""), fields.get("pass", ""), path, in_path=False)


def served_path(target: str, carried: Carried) -> str:
    """The file behind the ticket of a raw target, as a server finds it that cuts the ticket off and decodes the rest.

    Raises InvalidParameter where not every server would find the same, its ticket included: an encoded slash or a dot
    segment there would move the place where the file's path begins.
    """
    if not carried.in_path:
        return decoded_path(carried.path)
    # No slash is encoded in what is taken, so that it has the parts of the raw one.
    return "/" + decoded_path(target).split("/", 4)[4]


def _password(part: str) -> str:
    if not part.startswith(_ENCODED):
        return _text(part)
    packed = part[1:].rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidParameter("pass", "is not base64url of UTF-8 behind its ~") from None


def _text(part: str) -> str:
    # Most have no other than the one after the user's name, which libraries encode.
    text = part.replace("%7C", "|")
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise InvalidParameter("path", "is not UTF-8") from None
