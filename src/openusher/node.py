"""A node: a data folder held, its ledger and attempt log opened, the use cases on top. Put together here only."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from openusher.attemptlog.base import AttemptLog
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.backup.staging import Staging
from openusher.errors import LedgerUnavailable, LogDamaged, LogUnavailable, SetupError
from openusher.gate import Gate
from openusher.ledger.apart import LedgerApart
from openusher.ledger.base import Ledger
from openusher.ledger.folder import DataFolder, hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.logs import event_log
from openusher.model.account import is_published
from openusher.model.session import SessionLimits
from openusher.reaper import Ages, ReapStep
from openusher.settings import LogKind, Settings
from openusher.shipper import Shipper, Step
from openusher.usher import Usher, wall_ms

_DISK_CHECK_S = 1.0

log = event_log()


class Seams(msgspec.Struct, frozen=True, kw_only=True):
    """Where the crash tests take hold of a node; a real one runs with these defaults."""

    on_step: Callable[[Step], None] = lambda step: None
    on_reap: Callable[[ReapStep], None] = lambda step: None
    around_ledger: Callable[[Ledger], Ledger] = lambda ledger: ledger
    # Of a ledger in this process only.
    vfs: str | None = None


@asynccontextmanager
async def open_node(
    settings: Settings,
    *,
    create: bool = True,
    with_log: bool = True,
    ships: bool = True,
    on_ledger_end: Callable[[], None] | None = None,
    seams: Seams = Seams(),  # noqa: B008
) -> AsyncIterator[Usher]:
    """Hold the data folder and start a node on it; at the end answer what waits, and release it.

    Without `create` it must be a data folder already. Without `with_log` the attempt log stays closed, which spares a
    second and 300 MB; nothing may then be counted. Without `ships` no block moves to the log, and a log that was never
    begun is not begun: such a node leaves open with which log the folder is served. With `on_ledger_end` the ledger has
    a process of its own; it is called if that ends by itself, after which nothing can be done but to end too.

    Raises SetupError: folder in use (FolderInUse), missing, from a newer version, or a log that cannot run here.
    """
    if settings.demo:
        _refuse_demo_for_others(settings)
    folder = hold_folder(settings.data, create=create)
    try:
        async with AsyncExitStack() as opened:
            ledger = await _open_ledger(settings, folder, vfs=seams.vfs, on_end=on_ledger_end)
            opened.push_async_callback(ledger.close)
            await _refuse_published_secret(ledger, settings)
            attempt_log: AttemptLog = LedgerOnlyLog()
            if with_log and (ships or await _has_log(folder, ledger)):
                attempt_log = await _open_log(settings, folder, ledger)
                opened.push_async_callback(attempt_log.close)
            if with_log and ships:
                # Last: a start that is refused leaves the folder as it is, and so does one that does not ship, such as
                # an admin command's.
                await _set_indexes(settings, ledger)
            opened.pop_all()
        usher = _assemble(settings, folder, seams.around_ledger(ledger), attempt_log, seams)
        try:
            await usher.start(ships=ships)
            if ships:
                await usher.staging.clear_left_over()
            watch = asyncio.get_running_loop().create_task(_watch_disk(settings.data, settings.free_bytes_min, usher))
            try:
                yield usher
            finally:
                watch.cancel()
        finally:
            # Also where it did not start: ledger and log are open, and the log is a process.
            await usher.close()
    finally:
        folder.release()


async def _open_ledger(
    settings: Settings, folder: DataFolder, *, vfs: str | None, on_end: Callable[[], None] | None
) -> Ledger:
    if on_end is None:
        return await SqliteLedger.open(folder.ledger_file, demo=settings.demo, read_s_max=settings.count_s_max, vfs=vfs)
    return await LedgerApart.open(folder, demo=settings.demo, read_s_max=settings.count_s_max, on_end=on_end)


def _assemble(settings: Settings, folder: DataFolder, ledger: Ledger, attempt_log: AttemptLog, seams: Seams) -> Usher:
    gate = Gate(ledger, queue_wait_s_max=settings.queue_wait_ms_max / 1000, wall_ms=wall_ms)
    shipper = Shipper(
        ledger,
        attempt_log,
        rows_min=settings.ship_rows,
        age_s_max=settings.ship_age_s,
        wall_ms=wall_ms,
        rows_file=folder.rows_file,
        on_step=seams.on_step,
    )
    limits = SessionLimits(
        idle_ms=settings.session_idle_s * 1_000,
        resume_ms=settings.session_resume_s * 1_000,
        addresses_max=settings.session_addresses_max,
        hop_ms=settings.hop_grace_s * 1_000,
        hold_ms=settings.kick_hold_s * 1_000,
        connection_ms=settings.connection_session_s_max * 1_000,
        ended_kept_ms=settings.session_kept_days * 86_400_000,
    )
    usher = Usher(
        ledger,
        attempt_log,
        gate,
        shipper,
        wall_ms=wall_ms,
        session_limits=limits,
        ages=Ages(keep_days=settings.keep_days, anonymise_days=settings.anonymise_days),
        on_reap=seams.on_reap,
        kept_counts=settings.kept_counts,
        kept_totals_bytes_max=settings.kept_totals_bytes_max,
    )
    usher.staging = Staging(ledger, attempt_log, shipper, data=settings.data, free_bytes_min=settings.free_bytes_min)
    return usher


async def _has_log(folder: DataFolder, ledger: Ledger) -> bool:
    return folder.log_folder.exists() or bool((await ledger.stats()).shipped_block)


async def _open_log(settings: Settings, folder: DataFolder, ledger: Ledger) -> AttemptLog:
    if settings.log is LogKind.LEDGER:
        # What was shipped is not in the ledger any more; counting without it would be silently short.
        if (await ledger.stats()).shipped_block:
            raise SetupError(f"{settings.data} has shipped attempts to its log; start it without --log ledger")
        return LedgerOnlyLog()
    # Imported late: the small mode runs where the log's packages cannot.
    from openusher.attemptlog.embedded import open_embedded_log

    attempt_log = open_embedded_log(
        folder.log_folder,
        memory_bytes_max=settings.log_memory_bytes_max,
        count_s_max=settings.count_s_max,
        by_time=settings.log_by_time,
    )
    try:
        await attempt_log.start()
    except (LogDamaged, LogUnavailable) as error:
        # Decisions go on, and every count says why there is none, until someone has restored the log's files, or it
        # starts after all.
        log.error("log.refused", error=error)
    return attempt_log


async def _set_indexes(settings: Settings, ledger: Ledger) -> None:
    try:
        await ledger.set_indexes(wanted=settings.log is LogKind.LEDGER)
    except LedgerUnavailable as error:
        # On a full disk. Every count is right without them, or with them, only slower.
        log.warning("ledger.indexes_kept", error=error)


async def _refuse_published_secret(ledger: Ledger, settings: Settings) -> None:
    is_demo = await ledger.is_demo()
    if settings.demo and not is_demo:
        raise SetupError(f"{settings.data} is not a demo's data folder; start it without --demo")
    if is_demo:
        _refuse_demo_for_others(settings)
        return
    for key in (await ledger.directory()).api_keys.values():
        if is_published(key.secret):
            raise SetupError(
                f"API key {key.api_key} signs with the secret printed in ScaleEngine's documentation, which anyone can "
                "read; make a key of your own with usher account create"
            )


def _refuse_demo_for_others(settings: Settings) -> None:
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise SetupError("a demo carries published credentials and listens on 127.0.0.1 only")


async def _watch_disk(path: Path, free_bytes_min: int, usher: Usher) -> None:
    """Without word from the disk no start is taken: a full one would be found out in the middle of a commit."""
    while True:
        try:
            free = shutil.disk_usage(path).free
        except OSError as error:
            if usher.takes_starts:
                log.error("disk.not_read", path=path, error=error.strerror)
            usher.takes_starts = False
        else:
            if free < free_bytes_min and usher.takes_starts:
                log.error("disk.ran_low", free_bytes=free, free_bytes_min=free_bytes_min)
            if free >= free_bytes_min and not usher.takes_starts:
                log.info("disk.recovered", free_bytes=free)
            usher.takes_starts = free >= free_bytes_min
        await asyncio.sleep(_DISK_CHECK_S)
