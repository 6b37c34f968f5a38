"""Bad requests, second part: common members that are missing or wrong, and signatures that are not right."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator

from tests.golden.signed_requests import (
    INVALID,
    MISSING,
    NOT_AUTHORISED,
    SIGNATURE,
    TIMESTAMP,
    UNKNOWN_COMMAND,
    URLENCODED,
    Account,
    BadRequest,
    good_parameters,
    good_text,
    members,
    posted,
    signature,
    signed,
    values,
)


def bad_common_members(account: Account) -> Iterator[BadRequest]:
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
    for cdn in values(
        ..., None, "", "x", -1, 1.5, True, [1], {}, "１５８", account.cdn + 1, 2**63, 10**19, "9" * 30, "158 "
    ):
        name = f"cdn {'left out' if cdn is ... else json.dumps(cdn)}"
        yield row(name, {**good, "cdn": cdn}, NOT_AUTHORISED, "CDN Authorization failed")
    for api_key in values(..., None, "", "NOSUCHKEY", account.api_key + " ", 1, True, [account.api_key], {}):
        name = f"api_key {'left out' if api_key is ... else json.dumps(api_key)}"
        yield row(name, {**good, "api_key": api_key}, NOT_AUTHORISED, "CDN Authorization failed")
    for timestamp in (..., None, ""):
        name = f"timestamp {'left out' if timestamp is ... else json.dumps(timestamp)}"
        yield row(name, {**good, "timestamp": timestamp}, MISSING, "missing: timestamp")
    for offset in (-86_400, -3_600, 3_600, 86_400):
        yield row(f"timestamp {offset} s off", {**good, "timestamp": account.now + offset}, TIMESTAMP, "UTC")
    for stamp in values(
        0, -account.now, account.now * 1000, 1.5, True, [account.now], {}, "now", str(-account.now), 2**63
    ):
        shown = "in milliseconds" if stamp == account.now * 1000 else json.dumps(stamp)[:12]
        yield row(f"timestamp {shown}", {**good, "timestamp": stamp}, TIMESTAMP, "Timestamp outside valid range")
    for command in INVALID:
        flawed = {**good, **good_parameters(command), "command": command, "api_key": "NOSUCHKEY", "timestamp": 1}
        yield row(f"{command}: an unknown key comes before a bad time", flawed, NOT_AUTHORISED, "CDN Authorization")


def bad_signatures(account: Account) -> Iterator[BadRequest]:
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
