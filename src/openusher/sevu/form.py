"""Find the one form field of a POST body that holds the signed request (SEVU facts, 1.1 and 1.3).

curl and Ruby send multipart/form-data, Guzzle and LWP urlencoded. The value's bytes are kept exactly, for what is
signed is text. The field's name says how the reply is written: `json`, or `php` for PHP's serialize().
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import unquote_to_bytes

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from openusher.sevu import codes
from openusher.sevu.refusal import refused

# Enough for any client; each part costs a few callbacks, so a body of empty parts must not be a lever.
PARTS_MAX = 100
# Of nearly every escape in a command: to replace these all at once takes a third of the time that one after the other
# takes. None is a digit or a percent sign, with which it could become a part of another escape.
_OFTEN_ESCAPED = ((b"%22", b'"'), (b"%3A", b":"), (b"%2C", b","), (b"%2F", b"/"), (b"%7C", b"|"), (b"%5C", b"\\"))


class ReplyForm(StrEnum):
    """How the reply is written; the values are the names of the form fields that ask for it."""

    JSON = "json"
    PHP = "php"


class FormField(msgspec.Struct, frozen=True):
    """The field that was sent: how to reply, and the raw JSON text."""

    reply_form: ReplyForm
    text: bytes

    def __repr__(self) -> str:
        return f"FormField({self.reply_form}, {len(self.text)} bytes)"


def read_form(body: bytes, content_type: str) -> FormField:
    """Find the field `json` or `php`, named in any case, in a whole body. Other fields are ignored.

    A body whose `content_type` is not multipart/form-data is read as urlencoded: clients leave the header out or set
    it wrongly. Raises CommandRefused (malformed request): neither field, both, one of them twice, bad multipart.
    """
    if content_type.strip().lower().startswith("multipart/form-data"):
        fields = _multipart_fields(body, content_type)
    else:
        fields = _urlencoded_fields(body)
    if not fields:
        raise refused(codes.MALFORMED_REQUEST, "no form field json or php; send the JSON text as one of them")
    if len(fields) > 1:
        raise refused(codes.MALFORMED_REQUEST, "more than one form field json or php; send one")
    return fields[0]


def _named(name: bytes, text: bytes) -> list[FormField]:
    match name.lower():
        case b"json":
            return [FormField(ReplyForm.JSON, text)]
        case b"php":
            return [FormField(ReplyForm.PHP, text)]
        case _:
            return []


def _urlencoded_fields(body: bytes) -> list[FormField]:
    fields: list[FormField] = []
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        # A name of ours is at most 12 bytes with every letter escaped, so most others need no decoding.
        if len(name) <= 12:
            fields += _named(_unquoted(name), value)
    return [FormField(field.reply_form, _unquoted(field.text)) for field in fields[:2]]


def _unquoted(raw: bytes) -> bytes:
    plain = raw.replace(b"+", b" ")
    if b"%" in plain:
        for escape, character in _OFTEN_ESCAPED:
            plain = plain.replace(escape, character)
    return unquote_to_bytes(plain) if b"%" in plain else plain


class _Parts:
    """What the multipart parser calls as it goes over the body."""

    def __init__(self) -> None:
        self.fields: list[FormField] = []
        self.complete = False
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._data = bytearray()

    def begin_part(self) -> None:
        self._count += 1
        if self._count > PARTS_MAX:
            raise refused(codes.MALFORMED_REQUEST, f"the multipart body has more than {PARTS_MAX} parts")
        self._begin()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def end_part(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind == b"form-data":
            self.fields += _named(options.get(b"name", b""), bytes(self._data))

    def end(self) -> None:
        self.complete = True


def _multipart_fields(body: bytes, content_type: str) -> list[FormField]:
    parts = _Parts()
    try:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise refused(codes.MALFORMED_REQUEST, "Content-Type is multipart/form-data without a boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin_part,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.end_header,
                "on_part_data": parts.data,
                "on_part_end": parts.end_part,
                "on_end": parts.end,
            },
        )
        parser.write(body)
    # UnicodeEncodeError: a header that is not Latin-1.
    except (FormParserError, UnicodeEncodeError):
        raise refused(codes.MALFORMED_REQUEST, "cannot read the multipart body") from None
    # The parser itself does not mind a body that was cut short.
    if not parts.complete:
        raise refused(codes.MALFORMED_REQUEST, "the multipart body has no closing boundary")
    return parts.fields
