"""Bad requests, first part: bodies without the one form field, and texts that are not the JSON we take."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tests.golden.signed_requests import (
    BOUNDARY,
    MALFORMED,
    MULTIPART,
    URLENCODED,
    Account,
    BadRequest,
    good_text,
    multipart,
    posted,
    signed,
)


def bad_forms(account: Account) -> Iterator[BadRequest]:
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


def bad_json(account: Account) -> Iterator[BadRequest]:
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
