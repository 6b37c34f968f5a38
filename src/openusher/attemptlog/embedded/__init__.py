"""The embedded attempt log: chDB, the ClickHouse engine, in a process of its own beside the door."""

from __future__ import annotations

from pathlib import Path

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine


def open_embedded_log(folder: Path, *, memory_bytes_max: int, count_s_max: float) -> ColumnarLog:
    """The attempt log kept in `folder`, not yet started. Its process may use `memory_bytes_max` of memory, and a count
    `count_s_max` seconds."""
    return ColumnarLog(EmbeddedEngine(folder, memory_bytes_max=memory_bytes_max), count_s_max=count_s_max)
