"""Rows that the embedded log sets aside for an export: those that it has, where the disk has room, and never left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from openusher.attemptlog.base import Copy, Span
from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.embedded.log import EmbeddedLog
from openusher.errors import CountUnavailable, LogUnavailable
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter
from tests.conformance.asking import attempt_filter
from tests.crash.openedlog import until
from tests.unit.test_attemptlog_chdb import MEMORY_BYTES_MAX, OCTOBER_MS, a_line

pytestmark = pytest.mark.anyio
BLOCKS, ROWS = 6, 50
WHOLE = Horizon(upto=BLOCKS)
SPANS = [Span(1, 1, ROWS), Span(2, 4, 3 * ROWS), Span(5, 6, 2 * ROWS)]
EVERYTHING = AttemptFilter()
CDN = 158


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd ?&% name") / "log"


@pytest.fixture(scope="module")
async def filled(folder: Path) -> AsyncIterator[EmbeddedLog]:
    log = open_embedded_log(folder, memory_bytes_max=MEMORY_BYTES_MAX, count_s_max=30)
    await log.start()
    for number in range(1, BLOCKS + 1):
        first = (number - 1) * ROWS + 1
        lines = [a_line(first + n, key=f"k{n % 3}", at_ms=OCTOBER_MS + first + n, ip=f"{n:032x}") for n in range(ROWS)]
        block = Block(number=number, incarnation=1, first_id=first, last_id=first + ROWS - 1, rows=ROWS, digest="",
                      shipped=False)  # fmt: skip
        await log.insert(block, "\n".join(lines).encode(), table="attempts")
    yield log
    await log.close()


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "tmp").glob("copy-*"))


def is_begun(folder: Path, copying: asyncio.Future[Copy]) -> bool:
    return bool(copies(folder)) or copying.done()


@pytest.mark.parametrize(
    "search",
    [EVERYTHING, attempt_filter({"key": "k1"}), attempt_filter({"user": "u"}), attempt_filter({"after_id": 70})],
)
@pytest.mark.parametrize(
    "horizon", [WHOLE, Horizon(upto=5, but=(2,)), Horizon(upto=6, anonymised_before_ms=OCTOBER_MS + 120)]
)
async def test_a_copy_has_the_rows_of_the_log(
    filled: EmbeddedLog, folder: Path, search: AttemptFilter, horizon: Horizon
) -> None:
    copy = await filled.copy(CDN, search, horizon, spans=SPANS)
    for span in SPANS:
        assert await filled.rows(CDN, search, horizon, span=span) == await filled.rows(
            CDN, search, horizon, span=span, copy=copy
        )
    assert len(copies(folder)) == 1
    await filled.drop(copy)

    assert copies(folder) == []


async def test_what_was_forgotten_or_anonymised_since_is_so_in_a_copy_too(filled: EmbeddedLog, folder: Path) -> None:
    copy = await filled.copy(CDN, EVERYTHING, WHOLE, spans=SPANS)
    later = Horizon(upto=BLOCKS, from_ms=OCTOBER_MS + 21, anonymised_before_ms=OCTOBER_MS + 31)
    rows = await filled.rows(CDN, EVERYTHING, later, span=SPANS[0], copy=copy)
    await filled.drop(copy)

    assert (rows.count(b"\n"), rows.count(b'"agent"')) == (30, 20)


async def test_a_copy_ends_with_the_process_that_made_it_and_leaves_no_file(filled: EmbeddedLog, folder: Path) -> None:
    copy = await filled.copy(CDN, EVERYTHING, WHOLE, spans=SPANS)
    assert filled.pid is not None
    expected = await filled.rows(CDN, EVERYTHING, WHOLE, span=SPANS[0])
    os.kill(filled.pid, signal.SIGKILL)
    while filled.starts == copy.starts:
        with suppress(LogUnavailable):
            assert expected == await filled.rows(CDN, EVERYTHING, WHOLE, span=SPANS[0], copy=copy)
        await asyncio.sleep(0.01)
    with pytest.raises(LogUnavailable, match="starting again"):
        await filled.rows(CDN, EVERYTHING, WHOLE, span=SPANS[0], copy=copy)

    assert copies(folder) == []


async def test_more_than_the_disk_has_room_for_is_refused_with_figures(filled: EmbeddedLog, folder: Path) -> None:
    spans = [Span(1, 1, ROWS, 10**17), *SPANS[1:]]
    with pytest.raises(CountUnavailable, match=r"needs 100,000,000,\d{3} MB free .* and there are [\d,]+; free some"):
        await filled.copy(CDN, EVERYTHING, WHOLE, spans=spans)

    assert copies(folder) == []


async def test_an_export_that_is_given_up_while_rows_are_copied_leaves_none(filled: EmbeddedLog, folder: Path) -> None:
    for _ in range(5):
        copying = asyncio.ensure_future(filled.copy(CDN, EVERYTHING, WHOLE, spans=SPANS))
        await until(partial(is_begun, folder, copying))
        copying.cancel()
        with suppress(asyncio.CancelledError):
            await filled.drop(await copying)
    # One at a time, also with those that nobody waits for any more.
    await filled.drop(await filled.copy(CDN, EVERYTHING, WHOLE, spans=SPANS))
    await until(lambda: copies(folder) == [])


async def test_to_drop_what_is_gone_is_no_error(filled: EmbeddedLog, folder: Path) -> None:
    await filled.drop(Copy("tmp/copy-gone", filled.starts))


async def test_a_log_that_is_closed_during_an_export_leaves_no_copy(tmp_path: Path) -> None:
    log = open_embedded_log(tmp_path, memory_bytes_max=MEMORY_BYTES_MAX, count_s_max=30)
    await log.start()
    (tmp_path / "tmp" / "copy-of-an-export").mkdir()
    await log.close()

    assert copies(tmp_path) == []
