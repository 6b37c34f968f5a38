"""The attempt log over the embedded engine: the columnar log, its files frozen for a backup, and rows set aside for an
export."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from openusher.attemptlog.base import AttemptLog, Copy, Frozen, Span
from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.embedded.wire import DATA_FOLDER, TEMPORARIES_FOLDER
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.query import copied_file, copy_query, rows_query
from openusher.attemptlog.schema import TABLES, copy_clause, freeze_statement
from openusher.errors import CountUnavailable, LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter

# Hard links of the engine's, so quick however large the parts are.
_FREEZE_S_MAX = 60.0
_FROZEN_AS = "usher"
_COPY_PREFIX = "copy-"
# Ten million rows took 20 s of a core; a process that owes an answer much longer is taken for one that hangs.
_COPY_S_MAX = 600.0
# Of the disk, for what is decided meanwhile. Packed, a copy is less than its texts are.
_ROOM_LEFT_BYTES = 512 * 1024 * 1024


class EmbeddedLog(ColumnarLog):
    """A `ColumnarLog` whose engine keeps its files in `folder`."""

    def __init__(self, engine: EmbeddedEngine, folder: Path, *, count_s_max: float, by_time: bool) -> None:
        super().__init__(engine, count_s_max=count_s_max, by_time=by_time)
        self._folder = folder
        self._copying = asyncio.Lock()

    async def copy(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, spans: Sequence[Span]) -> Copy:
        folder, starts = f"{TEMPORARIES_FOLDER}/{_COPY_PREFIX}{secrets.token_hex(8)}", self.starts
        await asyncio.to_thread(_expect_room, self._folder, sum(span.text_bytes for span in spans))
        query = copy_query(cdn, search, horizon, spans=spans, into=_path(folder))
        text = f"{query.text} {copy_clause(seconds_max=_COPY_S_MAX)}"
        statement = Statement(text=text, params=query.params, lane=Lane.EXPORT, seconds_max=_COPY_S_MAX, cdn=cdn)
        await self._copying.acquire()
        writing = asyncio.ensure_future(self._engine.execute(statement))
        writing.add_done_callback(lambda _: self._copying.release())
        try:
            # Whoever asked may leave, and the engine goes on with what it has begun.
            await asyncio.shield(writing)
        except BaseException:
            writing.add_done_callback(partial(_remove_once_written, self._folder / folder))
            raise
        return Copy(folder, starts)

    async def drop(self, copy: Copy) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder / copy.name, ignore_errors=True)

    async def close(self) -> None:
        await super().close()
        # What its process wrote to the last.
        await asyncio.to_thread(_remove_copies, self._folder)

    async def rows(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copy: Copy | None = None
    ) -> bytes:
        if copy is None:
            return await super().rows(cdn, search, horizon, span=span)
        # The next process removes the files before it counts as started.
        if copy.starts != self.starts or self.pid is None:
            raise LogUnavailable("the attempt log is starting again")
        if not (self._folder / copy.name / copied_file(span)).exists():
            # Of these rows none was left when they were copied.
            return b""
        return await self._rows_of(rows_query(cdn, search, horizon, span=span, copied=_path(copy.name)), cdn=cdn)

    async def freeze(self) -> Frozen:
        # What a copy that was broken off left frozen would be in the way.
        await self.thaw()
        for table in TABLES:
            text = freeze_statement(table, name=_FROZEN_AS)
            # In the lane of inserts: nothing is inserted meanwhile, and a check may hold the other for minutes.
            await self._engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=_FREEZE_S_MAX))
        return await asyncio.to_thread(_frozen_in, self._folder)

    async def thaw(self) -> None:
        await asyncio.to_thread(shutil.rmtree, _shadow_of(self._folder), ignore_errors=True)


def _remove_copies(folder: Path) -> None:
    for copy in (folder / TEMPORARIES_FOLDER).glob(f"{_COPY_PREFIX}*"):
        shutil.rmtree(copy, ignore_errors=True)


def _path(place: str) -> str:
    """Where a statement finds `place` of the log's folder. Not by the folder's name, which may hold a `?` or `*`: in
    the path of a file the engine takes these for a pattern."""
    return f"/proc/self/cwd/{place}"


def _expect_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _ROOM_LEFT_BYTES:
        raise CountUnavailable(
            f"an export of so much needs {(needed + _ROOM_LEFT_BYTES) // 1_000_000:,} MB free beside the attempt log, "
            f"and there are {free // 1_000_000:,}; free some, or export less at once, such as --from, --to"
        )


def _remove_once_written(folder: Path, writing: asyncio.Future[Any]) -> None:
    if not writing.cancelled():
        # Nobody else awaits it now.
        writing.exception()
    asyncio.get_running_loop().run_in_executor(None, partial(shutil.rmtree, folder, ignore_errors=True))


def _shadow_of(folder: Path) -> Path:
    return folder / DATA_FOLDER / "shadow" / _FROZEN_AS


def _frozen_in(folder: Path) -> Frozen:
    """The parts where FREEZE has put links to them, the files that say what the tables are, and the symbolic links by
    which the engine finds those: without links in their place it does not open a folder."""
    engine_folder, shadow = folder / DATA_FOLDER, _shadow_of(folder)
    sources = {_place(folder, engine_folder / part.relative_to(shadow)): _place(folder, part)
               for part in shadow.glob("store/*/*/*")}  # fmt: skip
    sources |= {(place := _place(folder, file)): place for file in _definitions(engine_folder)}
    named = (*engine_folder.glob("metadata/*"), *engine_folder.glob("data/*/*"))
    links = {_place(folder, link): str(link.readlink()) for link in named if link.is_symlink()}
    return Frozen(sources=sources, links=links)


def _definitions(engine_folder: Path) -> Iterator[Path]:
    yield from engine_folder.glob("metadata/*.sql")
    yield from engine_folder.glob("store/*/*/*.sql")
    yield from engine_folder.glob("store/*/*/format_version.txt")


def _place(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))


_: type[AttemptLog] = EmbeddedLog
