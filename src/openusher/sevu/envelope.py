"""Put an answer on the wire: the members every reply has, in the page's order, as JSON or as PHP's serialize()."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from openusher.errors import CommandRefused
from openusher.sevu.codes import Code
from openusher.sevu.form import ReplyForm
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.php import serialize

HANDLE_TIME_MIN_S = 0.0001

Reply = dict[str, JsonValue]

_encoder = msgspec.json.Encoder()


def success(code: Code, data: Mapping[str, JsonValue], *, ignored: Sequence[str], spent_s: float) -> Reply:
    """A reply that all went well: code, message, status, the command's `data`, `ignored` if any, handle_time."""
    reply: Reply = {"code": code.number, "message": code.sentence, "status": "success", **data}
    if ignored:
        reply["ignored"] = list(ignored)
    reply["handle_time"] = _handle_time(spent_s)
    return reply


def failure(refusal: CommandRefused, *, spent_s: float) -> Reply:
    """A reply that it did not: code, message, status, `debug` if there is any, handle_time. See `refusal.refusal_of`
    for how an error becomes a refusal."""
    reply: Reply = {"code": refusal.code, "message": refusal.message, "status": "failure"}
    if refusal.debug:
        reply["debug"] = refusal.debug
    reply["handle_time"] = _handle_time(spent_s)
    return reply


def encode(reply: Reply, form: ReplyForm) -> bytes:
    """The body to send, never empty."""
    match form:
        case ReplyForm.JSON:
            return _encoder.encode(reply)
        case ReplyForm.PHP:
            return serialize(reply)


def media_type(form: ReplyForm) -> str:
    """The Content-Type to send it with."""
    match form:
        case ReplyForm.JSON:
            return "application/json"
        case ReplyForm.PHP:
            return "text/plain; charset=utf-8"


def _handle_time(spent_s: float) -> str:
    return f"{max(spent_s, HANDLE_TIME_MIN_S):.4f} seconds"
