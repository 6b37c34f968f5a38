"""The attempt log over the embedded engine: the columnar log, and its files frozen for a copy."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

from openusher.attemptlog.base import AttemptLog, Frozen
from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.embedded.wire import DATA_FOLDER
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.schema import TABLES, freeze_statement

# Hard links of the engine's, so quick however large the parts are.
_FREEZE_S_MAX = 60.0
_FROZEN_AS = "usher"


class EmbeddedLog(ColumnarLog):
    """A `ColumnarLog` whose engine keeps its files in `folder`."""

    def __init__(self, engine: EmbeddedEngine, folder: Path, *, count_s_max: float) -> None:
        super().__init__(engine, count_s_max=count_s_max)
        self._folder = folder

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
