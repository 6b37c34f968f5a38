"""The embedded attempt log: chDB, the ClickHouse engine, in a process of its own beside the door."""

from __future__ import annotations

from pathlib import Path

from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.embedded.log import EmbeddedLog
from openusher.attemptlog.embedded.mending import MendedLog

# Nobody counts in a log that is being put together.
_COUNT_S_MAX = 60.0


def open_embedded_log(folder: Path, *, memory_bytes_max: int, count_s_max: float, by_time: bool = True) -> EmbeddedLog:
    """The attempt log kept in `folder`, not yet started. Its process may use `memory_bytes_max` of memory, and a count
    `count_s_max` seconds. Without `by_time` it has no table by time, and takes away one that it finds."""
    engine = EmbeddedEngine(folder, memory_bytes_max=memory_bytes_max)
    return EmbeddedLog(engine, folder, count_s_max=count_s_max, by_time=by_time)


def open_mended_log(folder: Path, *, memory_bytes_max: int) -> MendedLog:
    """A log to be put together in `folder`, not yet started."""
    engine = EmbeddedEngine(folder, memory_bytes_max=memory_bytes_max)
    return MendedLog(engine, folder, count_s_max=_COUNT_S_MAX, by_time=False)
