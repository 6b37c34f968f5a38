"""How long each field may be, and what text may be at all. Lengths are bytes of UTF-8 (SEVU rulings, "lengths")."""

from __future__ import annotations

from openusher.errors import InvalidParameter

KEY_BYTES_MAX = 128
PASS_BYTES_MAX = 256
APP_BYTES_MAX = 128
VIDEO_BYTES_MAX = 1_024
URL_BYTES_MAX = 2_048
USER_AGENT_BYTES_MAX = 512
NAME_BYTES_MAX = 128
# 64 entries in their longest spelling, a pipe after each and some blanks; the rulings are silent.
IP_RULE_BYTES_MAX = 4_096

# A wider timestamp window cannot be set; a day forgives a clock in the wrong time zone.
TIMESTAMP_WINDOW_S_MAX = 86_400

# 2^63 - 1 is what SQLite and the columnar log both hold; one more fails a whole batch.
INTEGER_MAX = 2**63 - 1


def is_storable(text: str) -> bool:
    """Say whether both stores take `text`: well-formed Unicode (no lone surrogate) without NUL."""
    if "\0" in text:
        return False
    return text.isascii() or _encodes(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_text(field: str, text: str, *, bytes_max: int) -> str:
    """Return `text` if it can be stored and is not longer than `bytes_max`; raise InvalidParameter naming `field`."""
    # Nearly every text: a character is a byte.
    if text.isascii() and len(text) <= bytes_max and "\0" not in text:
        return text
    if not is_storable(text):
        raise InvalidParameter(field, "holds NUL or half a surrogate pair; give plain UTF-8 text")
    if len(text.encode()) > bytes_max:
        raise InvalidParameter(field, f"longer than {bytes_max} bytes of UTF-8")
    return text


def cut_text(text: str, *, bytes_max: int) -> tuple[str, bool]:
    """Shorten `text` to `bytes_max` bytes of UTF-8 at a character's border; also say whether anything was cut.

    Takes storable text only.
    """
    # A character is at most four bytes, so most texts are settled without encoding them.
    if len(text) * 4 <= bytes_max:
        return text, False
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text, False
    return raw[:bytes_max].decode(errors="ignore"), True
