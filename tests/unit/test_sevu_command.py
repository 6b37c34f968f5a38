"""From raw text to a verified command, in the order of checks, for every client's habits."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from openusher.errors import CommandRefused
from openusher.model.account import Secret
from openusher.sevu.attempts import CountAttempts
from openusher.sevu.command import SignedCommand, VerifiedCommand, read_command, understand, verify
from openusher.sevu.tickets import IssueTicket
from tests.golden.signed_requests import signature

_NOW = 1_700_000_000
_SECRET = "self-hosted-test-secret"
_MEMBERS: dict[str, object] = {"command": "sevu.errorcount", "api_key": "TESTKEY", "timestamp": _NOW, "cdn": 158}


def _signed(**changed: object) -> bytes:
    text = json.dumps({**_MEMBERS, **changed}).encode()
    return text[:-1] + b',"signature":"' + signature(text, _SECRET).encode() + b'"}'


def _verified(text: bytes, *, now_ms: int = _NOW * 1000, window_s: int = 300) -> VerifiedCommand:
    command = read_command(text)
    return verify(command, secret=Secret(_SECRET), now_ms=now_ms, window_s=window_s)


def _refusal(text: bytes) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        _verified(text)
    return caught.value


# SEVU facts, 1.3: the order of members, the escapes and the place of the signature of each client that is known.
_PARAMETERS: dict[str, object] = {
    "app": "demo-vod",
    "video": "sestore3/demo/é.mp4",
    "pass": "user1|r/nd",
    "ip": "192.0.2.0/24",
    "uses": 5,
    "expire": "2030-01-01 00:00:00",
}


def _php_text(members: dict[str, object]) -> str:
    return json.dumps(members, separators=(",", ":")).replace("/", "\\/")


def _plain_text(members: dict[str, object]) -> str:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


def _indented_text(members: dict[str, object]) -> str:
    return json.dumps(members, indent=2, ensure_ascii=False).replace("\n", "\r\n")


def _appended(members: dict[str, object], write: object) -> bytes:
    assert callable(write)
    return str(write({**members, "signature": signature(str(write(members)).encode(), _SECRET)})).encode()


def _page_sample() -> bytes:
    common = {"command": "sevu.request", "api_key": "TESTKEY", "timestamp": _NOW, "cdn": 158}
    return _appended({**common, **_PARAMETERS}, _php_text)


def _flosports() -> bytes:
    common = {"api_key": "TESTKEY", "cdn": 158, "command": "sevu.request"}
    order = ("app", "expires", "ip", "pass", "uses", "video")
    parameters = {**_PARAMETERS, "expires": _PARAMETERS["expire"]}
    return _appended({**common, **{name: parameters[name] for name in order}, "timestamp": _NOW}, _php_text)


def _wordpress() -> bytes:
    common = {"api_key": "TESTKEY", "timestamp": _NOW, "cdn": "158", "command": "sevu.request"}
    order = ("pass", "ip", "video", "app", "uses", "expire")
    parameters = {**_PARAMETERS, "uses": "5"}
    return _appended({**common, **{name: parameters[name] for name in order}}, _php_text)


def _perl() -> bytes:
    members = list(
        {"command": "sevu.request", "api_key": "TESTKEY", "timestamp": _NOW, "cdn": 158, **_PARAMETERS}.items()
    )
    random.Random(7).shuffle(members)
    text = _plain_text(dict(members)).encode()
    return text[:-1] + b',"signature":"' + signature(text, _SECRET).encode() + b'"}'


def _ruby() -> bytes:
    common = {"command": "sevu.request", "api_key": "TESTKEY", "cdn": "158"}
    return _appended({**common, **_PARAMETERS, "timestamp": _NOW}, _plain_text)


def _csharp() -> bytes:
    common = {"command": "sevu.request", "api_key": "TESTKEY", "timestamp": _NOW, "cdn": 158}
    return _appended({**common, **_PARAMETERS}, _indented_text)


@pytest.mark.parametrize("client", [_page_sample, _flosports, _wordpress, _perl, _ruby, _csharp])
def test_every_client_is_verified_and_asks_the_same(client: object) -> None:
    assert callable(client)
    command = _verified(client())
    understood = understand(command, now_ms=_NOW * 1000)

    assert isinstance(understood.ask, IssueTicket)
    ticket = understood.ask.ticket
    assert understood.ignored == ()
    assert (command.cdn, command.api_key) == (158, "TESTKEY")
    assert (ticket.app, ticket.video, ticket.password) == ("demo-vod", "sestore3/demo/é.mp4", "user1|r/nd")
    assert (ticket.cdn, ticket.ip, ticket.uses_limit, ticket.expires_s) == (158, "192.0.2.0/24", 5, 1_893_456_000)


def test_cdn_and_timestamp_may_be_texts_of_digits() -> None:
    command = _verified(_signed(cdn="158", timestamp=str(_NOW)))

    assert command.cdn == 158


def test_names_of_common_members_have_no_case() -> None:
    text = json.dumps({name.upper(): value for name, value in _MEMBERS.items()}).encode()
    signed = text[:-1] + b',"SIGNATURE":"' + signature(text, _SECRET).encode() + b'"}'

    assert _verified(signed).kind.name == "sevu.errorcount"


@pytest.mark.parametrize(("offset_s", "taken"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_window_reaches_as_far_either_way(offset_s: int, taken: bool) -> None:
    text = _signed(timestamp=_NOW + offset_s)

    if taken:
        assert _verified(text).cdn == 158
    else:
        refusal = _refusal(text)
        assert refusal.code == 2
        assert "within 300 s of the time in UTC, here 1700000000 (2023-11-14 22:13:20 UTC)" in refusal.message


@pytest.mark.parametrize("window_s", [1, 300, 86_400])
def test_a_signature_is_remembered_until_the_widest_window_would_refuse_it(window_s: int) -> None:
    """The node may be started again with a wider window than the one under which it took the signature."""
    text = _signed()
    until_ms = _verified(text, window_s=window_s).replay_until_ms

    assert _verified(text, now_ms=until_ms - 1, window_s=86_400).cdn == 158
    with pytest.raises(CommandRefused, match="Timestamp outside valid range"):
        _verified(text, now_ms=until_ms, window_s=86_400)


def test_a_replay_has_the_same_digest_however_its_signature_is_written() -> None:
    text = _signed(video="a/b")
    moved = b"{" + text[text.index(b'"signature"') : -1] + b"," + text[1 : text.index(b',"signature"')] + b"}"
    head, tail = text.split(b',"signature"')

    digest = _verified(text).replay_digest
    assert len(digest) == 64
    assert digest == _verified(moved).replay_digest
    assert digest == _verified(head + b',"signature"' + tail.replace(b"/", b"\\/")).replay_digest
    assert digest != _verified(_signed(video="a/c")).replay_digest


def test_the_first_failed_check_is_the_answer() -> None:
    everything_wrong: dict[str, object] = {"command": "x", "api_key": "", "timestamp": 1}

    assert _refusal(json.dumps(everything_wrong).encode() + b"x").code == 9001
    assert _refusal(json.dumps(everything_wrong).encode()).code == 0
    assert _refusal(json.dumps({**everything_wrong, "command": "sevu.status"}).encode()).code == 1
    known = {**_MEMBERS, "command": "sevu.status"}
    assert _refusal(json.dumps(known).encode()).code == 6
    assert _refusal(json.dumps({**known, "timestamp": 1, "signature": "x"}).encode()).code == 2
    assert _refusal(json.dumps({**known, "signature": "x"}).encode()).code == 3
    assert _verified(_signed(command="sevu.status")).kind.name == "sevu.status"


def test_a_wrong_signature_tells_what_was_checked_and_no_secret() -> None:
    refusal = _refusal(_signed().replace(b'"cdn": 158', b'"cdn": 158, "key": "a"'))
    wrong = b'{"command": "sevu.errorcount", "api_key": "TESTKEY", "timestamp": 1700000000, "cdn": 158, "key": "a"}'

    assert refusal.code == 3
    assert refusal.debug.startswith(f"the text that was checked has {len(wrong)} bytes, SHA-256 ")
    assert refusal.debug.endswith(hashlib.sha256(wrong).hexdigest())
    assert _SECRET not in refusal.debug + refusal.message


def test_unknown_parameters_are_named_as_they_were_written() -> None:
    understood = understand(_verified(_signed(Key="a", Succes=1, foo=None, limit=5)), now_ms=0)

    assert isinstance(understood.ask, CountAttempts)
    assert understood.ignored == ("Succes", "foo")


def test_commands_show_neither_passes_nor_signatures() -> None:
    text = _signed(**{"pass": "hidden"})
    command: SignedCommand = read_command(text)

    assert "hidden" not in repr(command) + repr(_verified(text))
    assert signature(command.signed_text, _SECRET) not in repr(command)
