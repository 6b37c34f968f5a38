"""The node's part in a backup: ledger and log as of one moment, kept in the data folder until they are copied.

What is copied from there, and where to, is the part of the command, which can reach the place and may be killed.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from openusher.attemptlog.base import AttemptLog
from openusher.backup.files import locked
from openusher.backup.manifest import LEDGER, LOG, Cut
from openusher.errors import LedgerUnavailable, SetupError
from openusher.ledger.base import Ledger
from openusher.ledger.folder import LEDGER_FILE, LOG_FOLDER
from openusher.shipper import Shipper

STAGE_FOLDER = "backup-stage"


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is made of: by the place of each in the backup, the file or folder that is to be copied, relative
    to the data folder. `links` are symbolic links, from place to target."""

    incarnation: int
    cut: Cut
    sources: dict[str, str]
    links: dict[str, str]


class Staging:
    """One for a node. Only one backup at a time: whoever asks holds the data folder's lock for that (files.py)."""

    def __init__(
        self, ledger: Ledger, attempt_log: AttemptLog, shipper: Shipper, *, data: Path, free_bytes_min: int
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._shipper = shipper
        self._data = data.absolute()
        self._free_bytes_min = free_bytes_min
        # Whoever asked may have gone while it is made ready, and tells it to end.
        self._changing = asyncio.Lock()

    async def begin(self) -> Staged:
        """Make ready what a power cut at this moment would leave; decisions and counts go on, only blocks wait.

        Raises CountUnavailable while the log does not hold what it must: such a backup would restore nothing right.
        Raises LogUnavailable, and LedgerUnavailable, also when the disk has no room for a copy of the ledger.
        """
        async with self._changing:
            return await self._begin()

    async def _begin(self) -> Staged:
        await self._clear()
        await self._shipper.be_verified()
        stage = self._data / STAGE_FOLDER
        await asyncio.to_thread(self._make, stage)
        # No block may move between the two: it would be in both, or in neither.
        async with self._shipper.paused():
            stats = await self._ledger.copy_to(str(stage / LEDGER))
            frozen = await self._log.freeze()
        sources = {LEDGER: f"{STAGE_FOLDER}/{LEDGER}"}
        sources |= {f"{LOG}/{place}": f"{LOG_FOLDER}/{source}" for place, source in frozen.sources.items()}
        return Staged(
            incarnation=stats.incarnation,
            cut=Cut(
                attempt=stats.last_attempt_id,
                shipped_attempt=stats.last_attempt_id - stats.pending,
                block=stats.shipped_block,
                clock_ms=stats.clock_ms,
            ),
            sources=sources,
            links={f"{LOG}/{place}": target for place, target in frozen.links.items()},
        )

    async def end(self) -> None:
        """Let go of all that is staged, also for a backup that was broken off; one being made ready is waited for."""
        async with self._changing:
            await self._clear()

    async def clear_left_over(self) -> None:
        """Let go of what a backup has left that was killed: a copy of the ledger, and files that merges have replaced.
        One that goes on, beside a node that was started again meanwhile, keeps it."""
        if (self._data / STAGE_FOLDER).exists():
            with suppress(SetupError), locked(self._data):
                await self.end()

    async def _clear(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._data / STAGE_FOLDER, ignore_errors=True)
        await self._log.thaw()

    def _make(self, stage: Path) -> None:
        try:
            needed = (self._data / LEDGER_FILE).stat().st_size + self._free_bytes_min
            if (free := shutil.disk_usage(self._data).free) < needed:
                raise LedgerUnavailable(
                    f"the data folder's disk has {free} bytes free, and a copy of the ledger needs {needed} with what "
                    "is kept for decisions (free_bytes_min); make room first"
                )
            stage.mkdir(mode=0o700)
        except OSError as error:
            raise LedgerUnavailable(f"{stage}: cannot be made: {error.strerror}") from error
