"""A block's canonical rows and digest, as attemptlog/base.py describes them, with nothing but the standard library."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.oracles.attempt_search import number

COLUMNS = (
    "id",
    "cdn",
    "at_ms",
    "key",
    "pass",
    "app",
    "appinst",
    "video",
    "ip",
    "pageurl",
    "refurl",
    "user_agent",
    "server_ip",
    "edge",
    "cut",
    "reason",
)


def canonical(rows: list[dict[str, Any]]) -> bytes:
    """Numbers in decimal, addresses as 32 hex digits, texts behind their length in bytes; a comma after each."""
    parts = []
    for row in sorted(rows, key=lambda row: row["id"]):
        for column in COLUMNS:
            value = row[column]
            if column in ("ip", "server_ip"):
                text = number(value).to_bytes(16, "big").hex().encode()
            elif isinstance(value, str):
                raw = value.encode()
                text = str(len(raw)).encode() + b":" + raw
            else:
                text = str(value).encode()
            parts.append(text + b",")
    return b"".join(parts)


def digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(canonical(rows)).hexdigest()


def travelling(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """The rows as they travel: one array each, addresses as hex digits."""
    return [
        [
            number(row[column]).to_bytes(16, "big").hex() if column in ("ip", "server_ip") else row[column]
            for column in COLUMNS
        ]
        for row in sorted(rows, key=lambda row: row["id"])
    ]


def read_travelling(text: bytes) -> list[list[Any]]:
    """Read rows that travel as JSON arrays, one a line."""
    return [json.loads(line) for line in text.split(b"\n") if line]
