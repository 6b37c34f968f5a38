"""Signatures: the vectors, the strict reading, and every client's way of spelling."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.model.account import Secret
from openusher.sevu.jsontext import read_object
from openusher.sevu.signature import digest_of, is_signature, sign

_SECRET = Secret("self-hosted-test-secret")

# SEVU facts, 1.4: PHP's escapes, plain slashes with raw UTF-8, and the same indented with CRLF.
_A = (
    rb'{"command":"sevu.request","api_key":"TESTKEY","timestamp":1700000000,"cdn":158,"app":"demo-vod",'
    rb'"video":"sestore3\/demo\/\u00e9.mp4|clips\/*","pass":"user1|rnd","ip":"192.0.2.0\/24","uses":5,'
    rb'"expire":"2030-01-01 00:00:00"}'
)
_B = _A.replace(rb"\/", b"/").replace(rb"\u00e9", "é".encode())
_C = b"{\r\n  " + _B[1:-1].replace(b'":', b'": ').replace(b',"', b',\r\n  "') + b"\r\n}"
VECTORS = [
    pytest.param(_A, "7Xqs+/3xVbAhlwZP3ucx8Hv+K6asWJnEMZkAx/+3SWk=", id="PHP"),
    pytest.param(_B, "xOBJcY8y9v2aP1U66i9Hwno0P4r2ghstaxUKyMjJDxY=", id="plain"),
    pytest.param(_C, "1ZtzzLk4qAh7F/26hOvhJ8OlYlhx8hFMYOpY4EoXuEU=", id="indented with CRLF"),
]


@pytest.mark.parametrize(("text", "signature"), VECTORS)
def test_the_published_vectors(text: bytes, signature: str) -> None:
    assert signature == sign(text, _SECRET)
    assert is_signature(signature, digest_of(text, _SECRET))


@pytest.mark.parametrize(("text", "signature"), VECTORS)
@pytest.mark.parametrize("escaped", [False, True], ids=["plain slash", "escaped slash"])
def test_a_signature_put_anywhere_into_a_vector_is_found_and_right(text: bytes, signature: str, escaped: bool) -> None:
    value = signature.replace("/", "\\/") if escaped else signature
    comma, colon, end = (b",\r\n  ", b": ", b"\r\n}") if b"\r\n" in text else (b",", b":", b"}")
    member = b'"signature"' + colon + b'"' + value.encode() + b'"'
    body = text[: -len(end)]
    last = body + comma + member + end
    first_at = text.index(b'"')
    first = text[:first_at] + member + comma + text[first_at:]
    middle_at = text.index(b'"app"')
    middle = text[:middle_at] + member + comma + text[middle_at:]

    for placed in (last, first, middle):
        read = read_object(placed)
        assert [signature] == read.signatures
        assert text == read.signed_text
        assert is_signature(signature, digest_of(read.signed_text, _SECRET))


@given(st.binary(max_size=200), st.text("0123456789abcdefABCDEF", min_size=1, max_size=64))
def test_it_is_base64_of_hmac_sha256_with_the_secret_as_it_is_written(text: bytes, secret: str) -> None:
    expected = base64.b64encode(hmac.new(secret.encode("ascii"), text, hashlib.sha256).digest()).decode()

    assert expected == sign(text, Secret(secret))


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9+/]{40,44}={0,3}", fullmatch=True))
def test_any_text_but_the_right_one_is_no_signature(given_text: str) -> None:
    assert not is_signature(given_text, digest_of(b"text", _SECRET))


def test_only_one_spelling_of_the_right_digest_is_taken() -> None:
    digest = bytes(range(32))
    right = base64.b64encode(digest).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    assert is_signature(right, digest)
    assert [right[42]] == [last for last in alphabet if is_signature(right[:42] + last + "=", digest)]
    for other in (right + "\n", " " + right, right[:-1], right + "=", right[:20] + "\n" + right[20:]):
        assert not is_signature(other, digest)
