"""PHP's serialize(), against texts that PHP wrote."""

from __future__ import annotations

import pytest

from openusher.sevu.php import PhpValue, serialize

# By PHP: php -r 'echo serialize(...);'
GOLDEN: list[tuple[PhpValue, str]] = [
    (None, "N;"),
    (True, "b:1;"),
    (False, "b:0;"),
    (0, "i:0;"),
    (-5, "i:-5;"),
    (2**63 - 1, "i:9223372036854775807;"),
    (-(2**63), "i:-9223372036854775808;"),
    (2**63, "d:9.223372036854776E+18;"),
    (0.5, "d:0.5;"),
    (1.0, "d:1;"),
    (-0.1, "d:-0.1;"),
    (1e25, "d:1.0E+25;"),
    (1.5e-7, "d:1.5E-7;"),
    (float("inf"), "d:INF;"),
    (float("-inf"), "d:-INF;"),
    (float("nan"), "d:NAN;"),
    ("", 's:0:"";'),
    ("abc", 's:3:"abc";'),
    ("é", 's:2:"é";'),
    ("€😀", 's:7:"€😀";'),
    ('a"b;\\', 's:5:"a"b;\\";'),
    ([], "a:0:{}"),
    ({}, "a:0:{}"),
    ([1, "a"], 'a:2:{i:0;i:1;i:1;s:1:"a";}'),
    ({"a": 1, "é": None}, 'a:2:{s:1:"a";i:1;s:2:"é";N;}'),
    ({"rows": [{"id": 1}]}, 'a:1:{s:4:"rows";a:1:{i:0;a:1:{s:2:"id";i:1;}}}'),
]


@pytest.mark.parametrize(("value", "text"), GOLDEN)
def test_php_writes_the_same(value: PhpValue, text: str) -> None:
    assert text.encode() == serialize(value)
