"""PHP's serialize() for a reply, which the form field `php` asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

_PHP_INTEGER_MAX = 2**63 - 1

PhpValue = str | int | float | bool | None | Sequence["PhpValue"] | Mapping[str, "PhpValue"]


def serialize(value: PhpValue) -> bytes:
    """What PHP's unserialize() reads back as `value`. Lengths of texts are bytes of UTF-8; a list becomes an array
    numbered from 0, a mapping one by name; a whole number that PHP's integers do not hold becomes a float."""
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts).encode()


def _write(value: PhpValue, put: Callable[[str], None]) -> None:
    match value:
        case None:
            put("N;")
        case bool():
            put(f"b:{value:d};")
        case int() if -_PHP_INTEGER_MAX - 1 <= value <= _PHP_INTEGER_MAX:
            put(f"i:{value};")
        case int() | float():
            put(f"d:{_float_text(float(value))};")
        case str():
            put(f's:{len(value.encode())}:"{value}";')
        case Mapping():
            put(f"a:{len(value)}:{{")
            for name, member in value.items():
                _write(name, put)
                _write(member, put)
            put("}")
        case _:
            put(f"a:{len(value)}:{{")
            for place, member in enumerate(value):
                put(f"i:{place};")
                _write(member, put)
            put("}")


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INF" if value > 0 else "-INF"
    # PHP writes whole floats without a point, and exponents as 1.0E+25.
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    digits, exponent = text.split("e")
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent):+d}"
