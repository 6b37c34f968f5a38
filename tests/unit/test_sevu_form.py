"""Finding the form field, with the very bytes that were signed."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import CommandRefused
from openusher.sevu.form import ReplyForm, read_form

_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data; boundary=X-BOUNDARY"


def _multipart(name: str, text: bytes) -> bytes:
    head = f'--X-BOUNDARY\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
    return head + text + b"\r\n--X-BOUNDARY--\r\n"


@given(st.binary(max_size=100))
def test_the_bytes_of_the_value_are_kept_in_every_encoding(text: bytes) -> None:
    for body in (b"json=" + quote(text).encode(), b"json=" + quote_plus(text).encode()):
        assert text == read_form(body, _URLENCODED).text
    if b"--X-BOUNDARY" not in text:
        assert text == read_form(_multipart("json", text), _MULTIPART).text


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("json", ReplyForm.JSON),
        ("JSON", ReplyForm.JSON),
        ("Json", ReplyForm.JSON),
        ("php", ReplyForm.PHP),
        ("PHP", ReplyForm.PHP),
    ],
)
def test_the_name_of_the_field_says_how_to_reply(name: str, form: ReplyForm) -> None:
    assert form is read_form(f"{name}=x".encode(), _URLENCODED).reply_form
    assert form is read_form(_multipart(name, b"x"), _MULTIPART).reply_form


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json", "nonsense", f"{_URLENCODED}; charset=UTF-8", "multipart/mixed; boundary=x"],
)
def test_whatever_is_not_called_form_data_is_read_as_urlencoded(content_type: str) -> None:
    assert read_form(b"json=%7B%7D", content_type).text == b"{}"


@pytest.mark.parametrize(
    "body", [b"%6Ason=%7B%7D", b"%6A%73%6F%6E=%7B%7D", b"x=1&json=%7B%7D&y=2", b"&&json={}&", b"a&b&json={}"]
)
def test_other_fields_and_escaped_names_do_not_matter(body: bytes) -> None:
    assert read_form(body, _URLENCODED).text == b"{}"


def test_a_plus_is_a_space_and_an_escaped_plus_a_plus() -> None:
    assert read_form(b"json=a+b%2Bc=d", _URLENCODED).text == b"a b+c=d"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        # curl, with the header of a boundary in quotes and a part of another name before.
        (
            (
                b'--q\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
                b'--q\r\nContent-Disposition: form-data; name="json"\r\n\r\n{}\r\n--q--\r\n'
            ),
            'multipart/form-data; boundary="q"',
        ),
        # A part with more headers, their names in lower case.
        (
            (
                b'--q\r\ncontent-type: application/json; charset=utf-8\r\ncontent-disposition: form-data; name="json"'
                b"\r\n\r\n{}\r\n--q--\r\n"
            ),
            "Multipart/Form-Data; charset=utf-8; boundary=q",
        ),
        # curl -F json=@request.json
        (
            b'--q\r\nContent-Disposition: form-data; name="json"; filename="request.json"\r\n\r\n{}\r\n--q--\r\n',
            "multipart/form-data; boundary=q",
        ),
        # A name that is not quoted, and text around the parts.
        (
            b"--q\r\nContent-Disposition: form-data; name=json\r\n\r\n{}\r\n--q--\r\nepilogue",
            "multipart/form-data; boundary=q",
        ),
    ],
)
def test_multipart_bodies_of_many_makes(body: bytes, content_type: str) -> None:
    assert read_form(body, content_type).text == b"{}"


@given(
    st.binary(max_size=300),
    st.text(max_size=40) | st.just(_MULTIPART) | st.just("multipart/form-data; boundary=é\u0141"),
)
def test_any_body_gives_a_field_or_a_refusal(body: bytes, content_type: str) -> None:
    for whole in (body, b"--X-BOUNDARY\r\n" + body, b"--X-BOUNDARY\r\n\r\n" + body + b"\r\n--X-BOUNDARY--"):
        with suppress(CommandRefused):
            read_form(whole, content_type)


def test_the_text_does_not_show_in_a_repr() -> None:
    assert "secret" not in repr(read_form(b"json=secret", ""))
