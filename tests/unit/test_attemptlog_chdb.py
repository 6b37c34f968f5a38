"""What the log rests on in chDB itself: settings that took effect, one part a block, and rows it must refuse."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.query import count_query
from openusher.errors import LogUnavailable
from openusher.model.block import BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, Block, Horizon
from openusher.model.search import AttemptFilter

T = TypeVar("T")

MEMORY_BYTES_MAX = 1_500_000_000
OCTOBER_MS, NOVEMBER_MS = 1_793_484_000_000, 1_793_500_000_000


class Asked:
    """A log with its engine in reach, asked from outside a loop."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.engine = EmbeddedEngine(folder, memory_bytes_max=MEMORY_BYTES_MAX)
        self.log = ColumnarLog(self.engine, count_s_max=30)
        self._runner = runner
        self.run(self.log.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def rows(self, text: str, params: dict[str, str] | None = None) -> list[list[Any]]:
        statement = Statement(text=text, params=params or {}, lane=Lane.CHECK, seconds_max=30)
        return self.run(self.engine.execute(statement))

    def insert(self, number: int, lines: list[str]) -> None:
        block = Block(
            number=number, incarnation=1, first_id=1, last_id=len(lines), rows=len(lines), digest="", shipped=False
        )
        self.run(self.log.insert(block, "\n".join(lines).encode(), table="attempts"))

    def parts(self, number: int) -> list[list[Any]]:
        return self.rows(f"SELECT _part, count() FROM usher.attempts WHERE block = {number} GROUP BY _part")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asyncio.Runner() as runner:
        asked = Asked(tmp_path_factory.mktemp("log") / "log", runner)
        yield asked
        asked.run(asked.log.close())


def a_line(number: int, *, at_ms: int = OCTOBER_MS, key: object = "k", ip: str = "0" * 32, filling: str = "") -> str:
    row = [number, 158, at_ms, key, "u|p", "app", "", "video", ip, filling, "", "agent", "0" * 32, 1, 0, ""]
    return json.dumps(row)


def test_the_memory_caps_of_the_command_line_took_effect(asked: Asked) -> None:
    names = ("max_server_memory_usage", "mark_cache_size", "index_mark_cache_size", "primary_index_cache_size")
    in_force = {name: int(value) for name, value in asked.rows("SELECT name, value FROM system.server_settings")
                if name in names}  # fmt: skip

    assert in_force == {name: MEMORY_BYTES_MAX if "server" in name else 64 * 1024 * 1024 for name in names}


def test_its_process_loads_nothing_of_arrow_or_numpy(asked: Asked) -> None:
    """40 MB of its memory, and a tenth of a second at each start."""
    loaded = Path(f"/proc/{asked.engine.pid}/maps").read_text()

    assert "_chdb" in loaded
    assert [name for name in ("pyarrow", "numpy", "pandas") if name in loaded] == []


def test_its_threads_give_way_to_decisions(asked: Asked) -> None:
    """Niceness is a thread's own on Linux, and the engine's threads have that of whoever started them; but for the one
    that watches over the memory, which takes a higher priority where it may."""
    asked.insert(79, [a_line(1)])
    niceness = set()
    for task in Path(f"/proc/{asked.engine.pid}/task").iterdir():
        # One that ends meanwhile says nothing.
        with suppress(OSError):
            niceness.add(((task / "comm").read_text().strip(), os.getpriority(os.PRIO_PROCESS, int(task.name))))

    others = {(name, nice) for name, nice in niceness if name != "MemoryWorker"}
    assert {"MergeMutate", "ThreadPool"} <= {name for name, _ in others}
    assert {nice for _, nice in others} == {min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)}


def test_a_file_of_rows_that_has_gone_is_no_damage_of_the_log(asked: Asked, tmp_path: Path) -> None:
    block = Block(number=77, incarnation=1, first_id=1, last_id=1, rows=1, digest="", shipped=False)
    with pytest.raises(LogUnavailable, match="FileNotFoundError"):
        asked.run(asked.log.insert(block, tmp_path / "gone", table="attempts"))

    assert asked.parts(77) == []


@pytest.mark.parametrize(
    "setting",
    [
        "fsync_after_insert = 1",
        "fsync_part_directory = 1",
        "min_rows_to_fsync_after_merge = 1",
        "old_parts_lifetime = 480",
        "max_suspicious_broken_parts = 0",
        "max_suspicious_broken_parts_bytes = 0",
        "non_replicated_deduplication_window = 1000",
    ],
)
def test_the_table_was_made_with_every_setting_that_durability_rests_on(asked: Asked, setting: str) -> None:
    made = asked.rows("SELECT engine_full FROM system.tables WHERE database = 'usher' AND name = 'attempts'")[0][0]

    assert setting in made
    assert "TTL" not in made


def test_no_column_may_be_null(asked: Asked) -> None:
    types = asked.rows("SELECT type FROM system.columns WHERE database = 'usher' AND table = 'attempts'")

    assert len(types) == 21
    assert [name for (name,) in types if "Nullable" in name] == []


def test_the_largest_block_is_one_part(asked: Asked) -> None:
    letters = random.Random(1).choices('abcdefghijklmnopqrstuvwxyz\n"', k=10_000)
    filling = BLOCK_BYTES_MAX // BLOCK_ROWS_MAX - 40
    lines = [
        a_line(number, filling="".join(letters[number % 9000 :][:filling])) for number in range(1, BLOCK_ROWS_MAX + 1)
    ]
    assert sum(map(len, lines)) > 0.9 * BLOCK_BYTES_MAX

    asked.insert(1, lines)

    assert [count for _, count in asked.parts(1)] == [BLOCK_ROWS_MAX]


@pytest.mark.parametrize(
    "lines",
    [
        [a_line(1), a_line(2, at_ms=NOVEMBER_MS)],
        [a_line(1), a_line(2, key=None)],
        [a_line(1), a_line(2)[:-4] + "]"],
        [a_line(1), a_line(2)[:-1]],
        [a_line(1), a_line(2, ip="1" * 34)],
    ],
    ids=["two months", "a null", "a column less", "no end", "a long address"],
)
def test_a_block_that_cannot_be_stored_whole_is_refused_and_leaves_nothing(asked: Asked, lines: list[str]) -> None:
    with pytest.raises(LogUnavailable):
        asked.insert(2, lines)

    assert asked.parts(2) == []


def test_a_block_sent_twice_is_stored_once_while_the_token_is_remembered(asked: Asked) -> None:
    for _ in range(2):
        asked.insert(3, [a_line(number) for number in range(10)])

    assert [count for _, count in asked.parts(3)] == [10]


@pytest.mark.parametrize(
    ("search", "column"),
    [
        (AttemptFilter(key="needle"), "key"),
        (AttemptFilter(password="needle|x"), "pass"),
        (AttemptFilter(user="needle"), "user"),
    ],
    ids=["key", "pass", "user"],
)
def test_a_count_of_one_viewer_reads_a_small_part_of_the_table(
    asked: Asked, search: AttemptFilter, column: str
) -> None:
    query = count_query(158, search, Horizon(upto=9))
    plan = asked.rows(f"EXPLAIN indexes = 1 {query.text} SETTINGS use_skip_indexes_on_data_read = 0", query.params)
    granules = [line.split(":")[1].strip() for (line,) in plan if line.strip().startswith("Granules")]
    left, whole = int(granules[-1].split("/")[0]), int(granules[0].split("/")[1])

    assert whole > 40
    assert left <= whole / 10, f"{column}: {left} of {whole}"


def test_two_counts_run_beside_each_other(asked: Asked) -> None:
    text = "SELECT sum(sleepEachRow(0.1)) FROM numbers(10) SETTINGS max_block_size = 1"
    statement = Statement(text=text, lane=Lane.COUNT, seconds_max=30)

    async def both() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(asked.engine.execute(statement) for _ in range(2)))
        return loop.time() - begun

    assert asked.run(both()) < 1.8
