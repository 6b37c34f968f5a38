"""From raw text to a command that is known to come from its account, and to what it asks.

Order of checks; the first failure is the answer:

1. the text is one JSON object (9001);
2. `command` is one we know; missing counts as unknown (0000);
3. `cdn` and `api_key` are there and readable, and name a key of an active account (0001): the caller looks them up;
4. `timestamp` and `signature` are there (0006), the timestamp is within the window (0002);
5. the signature is right (0003);
6. the parameters (0006 and the command's own codes).
"""

from __future__ import annotations

import hashlib

import msgspec

from openusher.model.account import Secret
from openusher.model.limits import INTEGER_MAX, TIMESTAMP_WINDOW_S_MAX
from openusher.sevu import codes
from openusher.sevu.dates import format_instant
from openusher.sevu.jsontext import JsonValue, read_object
from openusher.sevu.parameters import Parameters, whole_number
from openusher.sevu.plainjson import read_plain
from openusher.sevu.refusal import missing_fields, refused
from openusher.sevu.registry import COMMANDS, Ask, CommandKind
from openusher.sevu.signature import digest_of, is_signature

COMMON_MEMBERS = frozenset({"command", "api_key", "cdn", "timestamp", "signature"})


class SignedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it came: nobody knows yet who sent it. Its repr shows neither passes nor signature."""

    kind: CommandKind
    cdn: int
    api_key: str
    timestamp: JsonValue
    signatures: list[JsonValue]
    signed_text: bytes
    members: dict[str, JsonValue]
    spelling: dict[str, str]

    def __repr__(self) -> str:
        return f"SignedCommand({self.kind.name}, cdn={self.cdn})"


class VerifiedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that its account's secret has signed, within the window. Only `verify` makes one.

    `replay_digest` (hex) is of the signature that we computed; where `kind.creates`, it must be new for `api_key` and
    be remembered until the clock has passed `replay_until_ms`, after which the widest window that can be set refuses
    the timestamp: a node that is started again with a wider one than before must not take old signatures again.
    """

    kind: CommandKind
    cdn: int
    api_key: str
    members: dict[str, JsonValue]
    spelling: dict[str, str]
    replay_digest: str
    replay_until_ms: int

    def __repr__(self) -> str:
        return f"VerifiedCommand({self.kind.name}, cdn={self.cdn})"


class Understood(msgspec.Struct, frozen=True, kw_only=True):
    """What a command asks, and which of its parameters nobody knows."""

    ask: Ask
    ignored: tuple[str, ...]


def read_command(text: bytes) -> SignedCommand:
    """Read a command and see who says to have sent it. Checks 1 to 3, but for the look-up. Raises CommandRefused."""
    read = read_plain(text) or read_object(text)
    name = read.members.get("command")
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise refused(codes.UNKNOWN_COMMAND)
    cdn = whole_number(read.members.get("cdn"))
    api_key = read.members.get("api_key")
    if cdn is None or cdn > INTEGER_MAX or not isinstance(api_key, str) or not api_key:
        raise refused(codes.NOT_AUTHORISED)
    return SignedCommand(
        kind=kind,
        cdn=cdn,
        api_key=api_key,
        timestamp=read.members.get("timestamp"),
        signatures=read.signatures,
        signed_text=read.signed_text,
        members=read.members,
        spelling=read.spelling,
    )


def verify(command: SignedCommand, *, secret: Secret, now_ms: int, window_s: int) -> VerifiedCommand:
    """Prove that the holder of `secret` signed `command` within `window_s` seconds of now. Checks 4 and 5.

    Raises CommandRefused; a wrong signature's `debug` tells length and SHA-256 of the text that we checked, so that a
    developer can compare it with the text that was signed.
    """
    _require_timestamp_and_signature(command)
    timestamp_s = whole_number(command.timestamp)
    now_s = now_ms // 1_000
    if timestamp_s is None or abs(timestamp_s - now_s) > window_s:
        raise refused(
            codes.TIMESTAMP_OUTSIDE_RANGE,
            f"it has to be within {window_s} s of the time in UTC, here {now_s} ({format_instant(now_s)} UTC)",
        )
    if len(command.signatures) > 1:
        raise refused(codes.WRONG_SIGNATURE, "two signature members; send one", debug=_debug(command))
    given = command.signatures[0]
    digest = digest_of(command.signed_text, secret)
    if not isinstance(given, str) or not is_signature(given, digest):
        raise refused(codes.WRONG_SIGNATURE, debug=_debug(command))
    return VerifiedCommand(
        kind=command.kind,
        cdn=command.cdn,
        api_key=command.api_key,
        members=command.members,
        spelling=command.spelling,
        replay_digest=digest.hex(),
        # The timestamp is good through the whole of its last second.
        replay_until_ms=(timestamp_s + TIMESTAMP_WINDOW_S_MAX + 1) * 1_000,
    )


def understand(command: VerifiedCommand, *, now_ms: int) -> Understood:
    """Turn the parameters into what is asked. Check 6.

    Raises CommandRefused (0006 with all that is missing), and InvalidParameter, to which `refusal_of` gives the
    command's code. Nothing has been done by then.
    """
    parameters = Parameters(command.members, command.spelling)
    parameters.know(*COMMON_MEMBERS)
    ask = command.kind.read(parameters, cdn=command.cdn, now_s=now_ms // 1_000)
    return Understood(ask=ask, ignored=parameters.ignored())


def _require_timestamp_and_signature(command: SignedCommand) -> None:
    missing = ["timestamp"] if command.timestamp in (None, "") else []
    if all(signature in (None, "") for signature in command.signatures):
        missing.append("signature")
    if missing:
        raise missing_fields(missing)


def _debug(command: SignedCommand) -> str:
    text = command.signed_text
    return f"the text that was checked has {len(text)} bytes, SHA-256 {hashlib.sha256(text).hexdigest()}"
