"""Requests to the SEVU endpoint that must be refused, each with the code and words of its answer.

Plain data, made with the standard library alone. `bad_requests(...)` gives the whole table for one account: every row
is a complete POST body, signed as a real client signs wherever the flaw lies behind the signature. A row changes
nothing, is at most 64 KiB long, and is answered with HTTP status 200. It takes an active account `cdn` with `api_key`
and `secret`, `now` in unix seconds, and the usual window of 300 s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
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


def bad_requests(*, api_key: str, secret: str, cdn: int, now: int) -> list[BadRequest]:
    """The table for one account; names are unique."""
    account = Account(api_key, secret, cdn, now)
    return [
        *_bad_forms(account),
        *_bad_json(account),
        *_bad_common_members(account),
        *_bad_signatures(account),
        *_missing_parameters(account),
        *_bad_parameters(account),
    ]


# How a real client does it


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


def _values(*values: object) -> tuple[object, ...]:
    """Values of many types, for one member after another."""
    return values


# The table


def _bad_forms(account: Account) -> Iterator[BadRequest]:
    text = signed(good_text(account), account.secret)
    neither = "no form field json or php"
    both = "more than one form field"
    rows: list[tuple[str, bytes, str, str]] = [
        ("empty body", b"", URLENCODED, neither),
        ("empty body without a type", b"", "", neither),
        ("raw JSON as the body", text, "application/json", neither),
        ("raw JSON called urlencoded", text, URLENCODED, neither),
        ("another field", posted(text, "data"), URLENCODED, neither),
        ("a field whose name begins like ours", posted(text, "json2"), URLENCODED, neither),
        ("an array field as PHP has them", posted(text, "json[]"), URLENCODED, neither),
        ("both fields", posted(text) + b"&" + posted(text, "php"), URLENCODED, both),
        ("both fields, in capitals", posted(text, "JSON") + b"&" + posted(text, "PHP"), URLENCODED, both),
        ("the field twice", posted(text) + b"&" + posted(text), URLENCODED, both),
        ("the field twice in other case", posted(text) + b"&" + posted(text, "Json"), URLENCODED, both),
        ("eight thousand fields", b"json=1&" * 8_000, URLENCODED, both),
        ("multipart: both fields", multipart(("json", text), ("php", text)), MULTIPART, both),
        ("multipart: the field twice", multipart(("json", text), ("json", text)), MULTIPART, both),
        ("multipart: another field", multipart(("data", text)), MULTIPART, neither),
        ("multipart: no boundary named", multipart(("json", text)), "multipart/form-data", "without a boundary"),
        (
            "multipart: empty boundary",
            multipart(("json", text)),
            "multipart/form-data; boundary=",
            "without a boundary",
        ),
        (
            "multipart: another boundary",
            multipart(("json", text)),
            "multipart/form-data; boundary=other",
            "cannot read the multipart body",
        ),
        (
            "multipart: a boundary of 1,000 characters",
            multipart(("json", text)),
            "multipart/form-data; boundary=" + "b" * 1000,
            "cannot read the multipart body",
        ),
        ("multipart: cut short", multipart(("json", text), closing=False), MULTIPART, "no closing boundary"),
        ("multipart: empty body", b"", MULTIPART, "no closing boundary"),
        ("multipart: urlencoded body", posted(text), MULTIPART, "cannot read the multipart body"),
        (
            "multipart: a part without a name",
            f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
            MULTIPART,
            neither,
        ),
        (
            "multipart: a header without a colon",
            f"--{BOUNDARY}\r\nnonsense\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
            MULTIPART,
            "cannot read the multipart body",
        ),
        (
            "multipart: a header of 10 kB",
            f"--{BOUNDARY}\r\nX: {'x' * 10_000}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
            MULTIPART,
            "cannot read the multipart body",
        ),
        ("multipart: 101 parts", multipart(*[("x", b"")] * 101), MULTIPART, "more than 100 parts"),
    ]
    for name, body, content_type, message_part in rows:
        yield BadRequest(f"form: {name}", body, content_type, MALFORMED, message_part)
    yield BadRequest("form: empty field", b"json=", URLENCODED, MALFORMED, "not an object")
    yield BadRequest("form: field without =", b"json", URLENCODED, MALFORMED, "not an object")
    yield BadRequest("form: empty php field", b"php=", URLENCODED, MALFORMED, "not an object")
    yield BadRequest("form: encoded twice", posted(quote(text).encode()), URLENCODED, MALFORMED, "not an object")


# A value in place of a parameter's, and what the answer says of it. All are signed, as if a client had made them.
_BAD_VALUES: list[tuple[str, bytes, str]] = [
    ("half a surrogate pair, high, escaped", rb'"\ud800"', "surrogate"),
    ("half a surrogate pair, low, escaped", rb'"\udc00"', "surrogate"),
    ("surrogates in the wrong order", rb'"\udc00\ud800"', "surrogate"),
    ("half a surrogate pair before a letter", rb'"\ud83dx"', "surrogate"),
    ("half a surrogate pair in a list", rb'[["\uDfFf"]]', "surrogate"),
    ("half a surrogate pair as bytes", b'"\xed\xa0\x80"', "not UTF-8"),
    ("NUL, escaped", rb'"a\u0000b"', "NUL"),
    ("NUL, as a byte in a text", b'"a\0b"', "expected a value"),
    ("NUL, as a byte outside", b"1\0", "expected , or }"),
    ("a line feed in a text", b'"a\nb"', "expected a value"),
    ("a tab in a text", b'"a\tb"', "expected a value"),
    ("a byte that is not UTF-8", b'"\xff"', "not UTF-8"),
    ("Latin-1", b'"caf\xe9"', "not UTF-8"),
    ("a slash in too many bytes", b'"\xc0\xaf"', "not UTF-8"),
    ("a character past the last", b'"\xf4\x90\x80\x80"', "not UTF-8"),
    ("NaN", b"NaN", "expected a value"),
    ("Infinity", b"Infinity", "expected a value"),
    ("-Infinity", b"-Infinity", "expected a value"),
    ("undefined", b"undefined", "expected a value"),
    ("True, as Python writes it", b"True", "expected a value"),
    ("a value without quotes", b"demo", "expected a value"),
    ("single quotes", b"'demo'", "expected a value"),
    ("a text that never ends", b'"demo', "expected , or }"),
    ("no value", b"", "expected a value"),
    ("two values", b'"a" "b"', "expected , or }"),
    ("1e400", b"1e400", "too large"),
    ("-1e400", b"-1e400", "too large"),
    ("1e99999999999999999999", b"1e99999999999999999999", "more than 20 digits"),
    ("10^40", b"1" + b"0" * 40, "more than 20 digits"),
    ("-10^40", b"-1" + b"0" * 40, "more than 20 digits"),
    ("a number of 50,000 digits", b"9" * 50_000, "more than 20 digits"),
    ("a fraction of 30 digits", b"0." + b"1" * 30, "more than 20 digits"),
    ("a leading zero", b"012", "expected , or }"),
    ("a leading plus", b"+1", "expected a value"),
    ("a leading point", b".5", "expected a value"),
    ("a trailing point", b"1.", "expected , or }"),
    ("an empty exponent", b"1e", "expected , or }"),
    ("hexadecimal", b"0x10", "expected , or }"),
    ("Arabic digits", "٣".encode(), "expected a value"),
    ("an unknown escape", rb'"\x41"', "expected a value"),
    ("a short escape", rb'"\u12"', "expected a value"),
    ("an escape of other letters", rb'"\u12zz"', "expected a value"),
    ("depth 33", b"[" * 32 + b"]" * 32, "nested deeper than 32"),
    ("depth 33 of objects", b'{"a":' * 32 + b"1" + b"}" * 32, "nested deeper than 32"),
    ("depth 10,000", b"[" * 10_000 + b"]" * 10_000, "nested deeper than 32"),
    ("depth 60,000, never closed", b"[" * 60_000, "nested deeper than 32"),
    ("depth 10,000 of objects", b'{"a":' * 10_000, "nested deeper than 32"),
    ("a list closed by }", b"[1}", "expected , or ]"),
    ("an object closed by ]", b'{"a":1]', "expected , or }"),
    ("a comma at a list's end", b"[1,]", "expected a value"),
    ("a comma at an object's end", b'{"a":1,}', "member's name"),
    ("a comma alone", b"[,]", "expected a value"),
    ("a list that never ends", b"[1", "expected , or ]"),
    ("a name without quotes", b"{a:1}", "member's name"),
    ("a number as a name", b"{1:1}", "member's name"),
    ("a name without a colon", b'{"a" 1}', "member's name"),
    ("a comment", b"1 /* x */", "expected , or }"),
]


def _bad_json(account: Account) -> Iterator[BadRequest]:
    good = good_text(account)

    def row(name: str, text: bytes, message_part: str) -> BadRequest:
        return BadRequest(f"json: {name}", posted(text), URLENCODED, MALFORMED, message_part)

    for name, value, message_part in _BAD_VALUES:
        yield row(name, signed(good[:-1] + b',"app":' + value + b"}", account.secret), message_part)
    text = signed(good, account.secret)
    yield row("byte order mark", b"\xef\xbb\xbf" + text, "byte order mark")
    yield row("UTF-16", b"\xff\xfe" + text.decode().encode("utf-16-le"), "not UTF-8")
    yield row("a list", b"[" + text + b"]", "not an object")
    yield row("a text", b'"sevu.errorcount"', "not an object")
    yield row("null", b"null", "not an object")
    yield row("spaces", b"   ", "not an object")
    yield row("only {", b"{", "member's name")
    yield row("cut in the middle", text[: len(text) // 2], "at character")
    yield row("without its last }", text[:-1], "expected , or }")
    yield row("something after it", text + b"x", "something follows")
    yield row("a second object", text + text, "something follows")
    yield row("a second }", text + b"}", "something follows")
    yield row("NUL after it", text + b"\0", "something follows")
    yield row("a comma first", b"{," + text[1:], "member's name")
    yield row("a comma last", text[:-1] + b",}", "member's name")
    yield row("a no-break space", text.replace(b":", b":\xc2\xa0", 1), "expected a value")
    yield row("60 kB of quotes", b'{"' + b'"' * 60_000, "member's name")
    yield row("60 kB of backslashes", b'{"' + b"\\" * 60_000, "member's name")
    yield row("60 kB of spaces", b'{"a"' + b" " * 60_000, "member's name")
    yield row("PHP's serialize()", b'a:1:{s:7:"command";s:11:"sevu.status";}', "not an object")
    for first, second in (("key", "Key"), ("command", "COMMAND"), ("cdn", "Cdn"), ("app", "APP"), ("limit", "LiMiT")):
        doubled = good[:-1] + f',"{first}":"1","{second}":"1"}}'.encode()
        yield row(f"{first} and {second}", signed(doubled, account.secret), "twice, in different case")
    escaped = good[:-1] + rb',"key":"1","\u004bey":"1"}'
    yield row("key and Key with an escape", signed(escaped, account.secret), "twice, in different case")


def _bad_common_members(account: Account) -> Iterator[BadRequest]:
    def row(name: str, changed: dict[str, object], code: int, message_part: str) -> BadRequest:
        # A member that is Ellipsis is left out.
        kept = {key: value for key, value in changed.items() if value is not ...}
        return BadRequest(
            f"common: {name}",
            posted(signed(json.dumps(kept).encode(), account.secret)),
            URLENCODED,
            code,
            message_part,
        )

    good = members(account, "sevu.errorcount")
    bad_commands: list[object] = [
        ...,
        None,
        "",
        "sevu",
        "sevu.",
        "sevu.nothing",
        "SEVU.ERRORCOUNT",
        " sevu.errorcount",
        "sevu.errorcount\n",
        "sevu.update",
        "sevu.addstreamuser",
        1,
        True,
        ["sevu.errorcount"],
        {"sevu.errorcount": 1},
    ]
    for command in bad_commands:
        name = f"command {'left out' if command is ... else json.dumps(command)}"
        yield row(name, {**good, "command": command}, UNKNOWN_COMMAND, "Unrecognized API Command")
    for cdn in _values(
        ..., None, "", "x", -1, 1.5, True, [1], {}, "１５８", account.cdn + 1, 2**63, 10**19, "9" * 30, "158 "
    ):
        name = f"cdn {'left out' if cdn is ... else json.dumps(cdn)}"
        yield row(name, {**good, "cdn": cdn}, NOT_AUTHORISED, "CDN Authorization failed")
    for api_key in _values(..., None, "", "NOSUCHKEY", account.api_key + " ", 1, True, [account.api_key], {}):
        name = f"api_key {'left out' if api_key is ... else json.dumps(api_key)}"
        yield row(name, {**good, "api_key": api_key}, NOT_AUTHORISED, "CDN Authorization failed")
    for timestamp in (..., None, ""):
        name = f"timestamp {'left out' if timestamp is ... else json.dumps(timestamp)}"
        yield row(name, {**good, "timestamp": timestamp}, MISSING, "missing: timestamp")
    for offset in (-86_400, -3_600, 3_600, 86_400):
        yield row(f"timestamp {offset} s off", {**good, "timestamp": account.now + offset}, TIMESTAMP, "UTC")
    for stamp in _values(
        0, -account.now, account.now * 1000, 1.5, True, [account.now], {}, "now", str(-account.now), 2**63
    ):
        shown = "in milliseconds" if stamp == account.now * 1000 else json.dumps(stamp)[:12]
        yield row(f"timestamp {shown}", {**good, "timestamp": stamp}, TIMESTAMP, "Timestamp outside valid range")
    for command in INVALID:
        flawed = {**good, **good_parameters(command), "command": command, "api_key": "NOSUCHKEY", "timestamp": 1}
        yield row(f"{command}: an unknown key comes before a bad time", flawed, NOT_AUTHORISED, "CDN Authorization")


def _bad_signatures(account: Account) -> Iterator[BadRequest]:
    good = good_text(account)
    right = signature(good, account.secret)
    raw = base64.b64decode(right)

    def row(
        name: str, text: bytes, message_part: str = "Failed HMAC-SHA256 Signature", code: int = SIGNATURE
    ) -> BadRequest:
        return BadRequest(f"signature: {name}", posted(text), URLENCODED, code, message_part)

    def with_signature(value: object) -> bytes:
        return good[:-1] + b',"signature":' + json.dumps(value).encode() + b"}"

    # The last character before = carries two bits that mean nothing; a lax reader takes any of four.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = right[:42] + alphabet[alphabet.index(right[42]) + 1] + "="
    wrong: list[tuple[str, object]] = [
        ("of another secret", signature(good, account.secret + "x")),
        ("of another text", signature(good + b" ", account.secret)),
        ("of the hex-decoded secret", base64.b64encode(hmac.new(b"\x8f" * 32, good, hashlib.sha256).digest()).decode()),
        ("in hex", raw.hex()),
        ("base64 of hex", base64.b64encode(raw.hex().encode()).decode()),
        ("SHA-1", base64.b64encode(hmac.new(account.secret.encode(), good, hashlib.sha1).digest()).decode()),
        ("without padding", right.rstrip("=")),
        ("with more padding", right + "="),
        ("with a line feed", right + "\n"),
        ("with a space", " " + right),
        ("with bits to spare", loose),
        ("url-safe", base64.urlsafe_b64encode(b"\xff" * 32).decode()),
        ("31 bytes", base64.b64encode(raw[:31]).decode()),
        ("33 bytes", base64.b64encode(raw + b"\0").decode()),
        ("not base64", "!" * 44),
        ("not ASCII", "é" * 44),
        ("60 kB", "A" * 60_000),
        ("a number", 1),
        ("true", True),
        ("a list", [right]),
        ("an object", {"signature": right}),
    ]
    for name, value in wrong:
        yield row(name, with_signature(value))
    for name, text in (
        ("left out", good),
        ("null", with_signature(None)),
        ("empty", with_signature("")),
        ("nested", good[:-1] + b',"x":{"signature":"' + right.encode() + b'"}}'),
    ):
        yield row(name, text, "missing: signature", MISSING)
    twice = b',"signature":"' + right.encode() + b'"'
    yield row("twice", good[:-1] + twice + twice + b"}")
    yield row("twice, the first wrong", good[:-1] + b',"signature":"x"' + twice + b"}")
    yield row("twice, in other case", good[:-1] + twice + twice.replace(b"signature", b"SIGNATURE") + b"}")
    yield row("twice, one escaped", good[:-1] + twice + twice.replace(b"sig", rb"\u0073ig") + b"}")
    yield row("twice, first and last", b"{" + twice[1:] + b"," + good[1:-1] + twice + b"}")
    yield row("a member changed after signing", with_signature(right).replace(b'"cdn"', b'"app":"x","cdn"'))
    yield row("a space added after signing", with_signature(right).replace(b'"cdn":', b'"cdn": '))
    neither = json.dumps({"command": "sevu.status", "api_key": account.api_key, "cdn": account.cdn}).encode()
    yield row("and timestamp left out", neither, "missing: timestamp, signature", MISSING)


def _command_row(account: Account, name: str, command: str, code: int, part: str, **changed: object) -> BadRequest:
    parameters = {key: value for key, value in {**good_parameters(command), **changed}.items() if value is not ...}
    text = json.dumps(members(account, command, **parameters), ensure_ascii=False).encode()
    return BadRequest(f"{command}: {name}", posted(signed(text, account.secret)), URLENCODED, code, part)


def _missing_parameters(account: Account) -> Iterator[BadRequest]:
    for command, required in (
        ("sevu.request", ("app", "video", "pass", "ip", "uses")),
        ("sevu.status", ("key",)),
        ("sevu.revoke", ("key",)),
    ):
        for name in required:
            for shown, value in (("left out", ...), ("null", None), ("empty", "")):
                part = f"One or more required fields are missing: {name}"
                yield _command_row(account, f"{name} {shown}", command, MISSING, part, **{name: value})
        nothing: dict[str, object] = dict.fromkeys(required, ...)
        part = f"missing: {', '.join(required)}"
        yield _command_row(account, "nothing given", command, MISSING, part, **nothing)
    several: dict[str, object] = {"video": None, "uses": ""}
    yield _command_row(account, "two missing", "sevu.request", MISSING, "missing: video, uses", **several)


# Each command's parameters by type; a text is followed by the bytes it may have.
_TEXTS: dict[str, dict[str, int]] = {
    "sevu.request": {"app": 128, "video": 1_024, "pass": 256, "ip": 4_096},
    "sevu.status": {"key": 128},
    "sevu.revoke": {"key": 128},
    "sevu.errorlog": {"key": 128, "pass": 256, "user": 256, "app": 128, "video": 1_024},
    "sevu.errorcount": {"key": 128, "pass": 256, "user": 256, "app": 128, "video": 1_024},
}
_DATES = {
    "sevu.request": ("expire", "expires"),
    "sevu.errorlog": ("starttime", "datetime", "endtime"),
    "sevu.errorcount": ("starttime", "datetime", "endtime"),
}
_SEARCHES = ("sevu.errorlog", "sevu.errorcount")
_BAD_DATES: tuple[object, ...] = (
    "tomorow",
    "2030-13-01",
    "2030-02-30 00:00:00",
    "2030-01-01 25:00:00",
    "2030-01-01 00:60:00",
    "2030-01-01x00:00:00",
    "0000-00-00 00:00:00",
    "01/02/2030",
    "1969-12-31 23:59:59",
    "-1",
    -1,
    10**12,
    "9" * 400,
    "+1 parsec",
    "+ week",
    "+99999 years",
    "+1 week or so",
    "Tue, 32 Jan 2030 00:00:00 +0000",
    "Tue, 01 Foo 2030 00:00:00 +0000",
    " ",
    True,
    1.5,
    ["2030-01-01"],
    {"date": "2030-01-01"},
)
_BAD_TICKET_RULES = (
    "auto/33",
    "auto/-1",
    "auto/",
    "auto/x",
    "automatic",
    "192.0.2.1|auto/99",
    "192.0.2.256",
    "192.0.2",
    "192.0.2.0/33",
    "192.0.2.0/-1",
    "192.0.2.0/24/24",
    "192.0.2.0/255.255.255.0",
    "192.0.2.01",
    "192.0.2.1-192.0.2.9",
    "2001:db8::/129",
    "2001:db8:::1",
    "fe80::1%eth0",
    "localhost",
    "1.2.3.4,5.6.7.8",
    "|",
    " ",
    "*",
    "|".join(["192.0.2.1"] * 65),
)
_BAD_NETS = (
    "x",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.0/33",
    "2001:db8::/129",
    "fe80::1%1",
    "auto",
    "1.1.1.1|2.2.2.2",
    "*",
    " ",
)
_BAD_WHOLES: tuple[object, ...] = (
    -1,
    "-1",
    1.0,
    "1.5",
    "1e3",
    "ten",
    " 1",
    "+1",
    "1\n",
    "٣",
    True,
    False,
    [1],
    {"n": 1},
)


def _bad_parameters(account: Account) -> Iterator[BadRequest]:
    def row(command: str, name: str, value: object, part: str = "") -> BadRequest:
        shown = json.dumps(value, ensure_ascii=False)
        if len(shown) > 70:
            shown = f"{len(shown.encode())} bytes of {shown[:10]}"
        label = f"{name} = {shown}"
        return _command_row(account, label, command, INVALID[command], f"{name}: {part}", **{name: value})

    for command, texts in _TEXTS.items():
        for name, bytes_max in texts.items():
            for value in (True, False, 1.5, [], ["x"], {}, {"x": "x"}):
                yield row(command, name, value)
            yield row(command, name, "x" * (bytes_max + 1), f"longer than {bytes_max} bytes")
            yield row(command, name, "é" * (bytes_max // 2) + "x", f"longer than {bytes_max} bytes")
    for command, names in _DATES.items():
        for name in names:
            for date in _BAD_DATES:
                changed: dict[str, object] = {"expire": ...} if name == "expires" else {}
                made = row(command, name, date)
                yield _command_row(
                    account,
                    made.name.partition(": ")[2],
                    command,
                    made.code,
                    made.message_part,
                    **changed,
                    **{name: date},
                )
    for rule in _BAD_TICKET_RULES:
        yield row("sevu.request", "ip", rule)
    for name in ("app", "video"):
        for command in INVALID:
            if command in _TEXTS and name in _TEXTS[command]:
                yield row(command, name, "|", "names nothing")
                yield row(command, name, "*a" * 17, "has more than 16 *")
                # 65 of two bytes each still fit into app's 128 bytes only as a bare list.
                if name == "video":
                    yield row(command, name, "|".join("ab" for _ in range(65)), "has more than 64 alternatives")
    for uses in (*_BAD_WHOLES, 2**31, str(2**31), 2**63):
        yield row("sevu.request", "uses", uses)
    for command in _SEARCHES:
        for name in ("ip", "server_ip"):
            for net in _values(*_BAD_NETS, True, 1.5, [], {}, "1" * 65):
                yield row(command, name, net)
        for name in ("limit", "seek"):
            for whole in (*_BAD_WHOLES, 2**63, str(2**63), "9" * 21):
                yield row(command, name, whole)
        for success in _values(2, -1, "2", "yes", "true", "TRUE", "00", " 1", 1.0, [], [1], {}):
            yield row(command, "success", success, "neither yes nor no")
        for reason in _values("x", "invalid ip address", "Invalid IP Address ", "accepted", 1, True, [], {}):
            yield row(command, "reason", reason)
    for name in ("before_id", "after_id"):
        for whole in (*_BAD_WHOLES, 2**63):
            yield row("sevu.errorlog", name, whole)
    yield row("sevu.errorlog", "limit", 10_001, "larger than 10000")
    yield row("sevu.errorlog", "limit", "10001", "larger than 10000")
    yield row("sevu.errorlog", "seek", 1_000_001, "larger than 1000000")
    yield row("sevu.errorlog", "seek", 999_901, "seek and limit together")
    for by in _values("pass", "viewer", "KEY", "key,app", "*", "minute", 1, True, ["key"], {}):
        yield row("sevu.errorcount", "group_by", by)
    count = "sevu.errorcount"
    for name, value, part in (
        ("limit", 10_001, "limit: larger than 10000"),
        ("seek", 1_000_001, "seek: larger than 1000000"),
        ("seek", 999_901, "seek: seek and limit together"),
    ):
        label = f"group_by with {name} {value}"
        yield _command_row(account, label, count, INVALID[count], part, group_by="key", **{name: value})
