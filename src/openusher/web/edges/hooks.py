"""What doors have in common: how queries and JSON are read, what a stream is called, and what an error means."""

from __future__ import annotations

from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from openusher.errors import Busy, CallerError, InvalidParameter, UsherError
from openusher.logs import event_log
from openusher.web.observed import Published

T = TypeVar("T")

_QUERY_FIELDS_MAX = 64

PUBLISHED, WRONG_PUBLISH_PASSWORD = Published(""), Published("Wrong publish password")

log = event_log()


class Stream(NamedTuple):
    """What tickets call a stream."""

    app: str
    video: str


def stream_of(path: str, *, app: str = "") -> Stream:
    """What a stream's path means: its first part is the app and the rest the video, as a path map reads the stream's
    HLS. `app` is that of a path in one part."""
    first, slash, rest = path.partition("/")
    return Stream(first, rest) if slash else Stream(app, path)


def query_fields(query: str, *, keeps_blank: bool = True) -> dict[str, str]:
    """The fields of a query, without the `?` in front; of one that comes twice the first counts. An empty one
    is none unless the query `keeps_blank`.

    Raises InvalidParameter.
    """
    fields: dict[str, str] = {}
    try:
        for name, value in parse_qsl(
            query, keep_blank_values=keeps_blank, errors="strict", max_num_fields=_QUERY_FIELDS_MAX
        ):
            fields.setdefault(name, value)
    except ValueError:
        raise InvalidParameter("query", "is not UTF-8, or has too many fields") from None
    return fields


def read_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A server's JSON. Raises InvalidParameter."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParameter("", "the body is not the JSON that this server sends") from None


def is_refusal(error: Exception) -> bool:
    """Whether it says no. Otherwise nobody knows: the server must let nobody in either, and may ask again."""
    if not isinstance(error, UsherError):
        log.error("request.failed", exc_info=error)
    return isinstance(error, CallerError)


def retry_after(error: Exception) -> tuple[bytes, bytes]:
    """The header that says when it may."""
    return b"retry-after", str(error.retry_after_s if isinstance(error, Busy) else 1).encode()
