"""A data folder with blocks in every state, and hands that damage it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec

from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.schema import DATABASE, TABLES
from openusher.backup.making import Versions, make_backup
from openusher.backup.staging import Staging
from openusher.errors import CountUnavailable
from openusher.ledger.base import Decide, NewAccount
from openusher.ledger.sqlite import SqliteLedger
from openusher.ledger.sqlite.store import schema_version
from openusher.model.account import ApiKey, Secret
from openusher.model.block import COLUMNS
from openusher.model.limits import INTEGER_MAX
from openusher.model.search import AttemptFilter
from openusher.node import open_node
from openusher.settings import Settings
from openusher.shipper import Shipper
from tests.conformance.asking import NOON_MS, request
from tests.crash.openedlog import keep_parts

CDN = 1
# Blocks 1 to 3 are shipped, and in the backup; block 4 is shipped, its attempts still in the ledger; block 5 is
# assigned, and not in the log; the rest is in none.
ROWS = 25
BLOCKS = 5
PENDING = 7
ATTEMPTS = BLOCKS * ROWS + PENDING
_TABLE = f"{DATABASE}.{TABLES[0]}"
_NAMED = ", ".join((*(name for name, _ in COLUMNS), "block", "incarnation"))
_MEMORY_BYTES_MAX = 1_500_000_000


class _Keeping(SqliteLedger):
    """Keeps the attempts of shipped blocks, as one that was killed behind `mark_shipped`."""

    keeps = False

    async def delete_shipped(self, *, limit: int, upto: int = INTEGER_MAX) -> int:
        return 0 if self.keeps else await super().delete_shipped(limit=limit, upto=upto)


def make(data: Path, backups: Path) -> None:
    """Make the folder, and one backup of its first three blocks."""
    data.mkdir(mode=0o700)
    backups.mkdir()
    asyncio.run(_fill(data, backups))


async def _fill(data: Path, backups: Path) -> None:
    ledger = await _Keeping.open(data / "ledger.db")
    assert isinstance(ledger, _Keeping)
    key = ApiKey(api_key="K", cdn=CDN, secret=Secret("s"))
    await ledger.create_account(NewAccount(name="a", cdn=CDN, key=key, edge_name="e", edge_token_digest="d"))
    log = open_embedded_log(data / "log", memory_bytes_max=_MEMORY_BYTES_MAX, count_s_max=30)
    await log.start()
    await keep_parts(log._engine)
    shipper = Shipper(ledger, log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    for number in range(1, BLOCKS + 1):
        attempts = [Decide(request(CDN, video=f"v{number}/{row}")) for row in range(ROWS)]
        await ledger.commit_batch(attempts, now_ms=NOON_MS)
        if number == 4:
            await _back_up(ledger, log, shipper, data, backups)
            ledger.keeps = True
        if number < BLOCKS:
            await shipper.ship_all()
    await ledger.next_block(now_ms=NOON_MS)
    await ledger.commit_batch([Decide(request(CDN, video="late"))] * PENDING, now_ms=NOON_MS)
    await log.close()
    await ledger.close()


async def _back_up(ledger: SqliteLedger, log: object, shipper: Shipper, data: Path, backups: Path) -> None:
    staging = Staging(ledger, shipper._log, shipper, data=data, free_bytes_min=0)
    staged = await staging.begin()
    make_backup(
        backups,
        staged,
        data=data,
        by=Versions(usher="0", engine="", schema=schema_version()),
        progress=lambda size: None,
    )
    await staging.end()


def run(data: Path, *statements: str) -> None:
    """Change the closed log behind the ledger's back."""

    async def run_all() -> None:
        engine = EmbeddedEngine(data / "log", memory_bytes_max=_MEMORY_BYTES_MAX)
        await engine.start()
        for text in statements:
            await engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=60))
        await engine.close()

    asyncio.run(run_all())


def tamper(data: Path, statements: str) -> None:
    """Change the closed ledger behind everybody's back."""
    connection = apsw.Connection(str(data / "ledger.db"))
    connection.execute(statements)
    connection.close()


def copied(blocks: str, *, number: str = "block", where: str = "1") -> str:
    """What puts rows of `blocks` into the log again, as block `number`."""
    named = _NAMED.replace(", block,", f", {number},")
    return f"INSERT INTO {_TABLE} ({_NAMED}) SELECT {named} FROM {_TABLE} WHERE {blocks} AND {where}"


def deleted(where: str) -> str:
    return f"ALTER TABLE {_TABLE} DELETE WHERE {where} SETTINGS mutations_sync = 2"


def changed(where: str) -> str:
    return f"ALTER TABLE {_TABLE} UPDATE video = 'other' WHERE {where} SETTINGS mutations_sync = 2"


def parts(data: Path) -> list[Path]:
    """Those of the table of attempts; the one by time names its months otherwise."""
    return sorted({found.parent for found in (data / "log").glob("chdb/store/*/*/??????_*/checksums.txt")})


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    # As a disk does it: in place, also where the file has another name.
    file.write_bytes(content)


def flip_largest(data: Path, pattern: str) -> None:
    """One byte of a file of each part. Not of its links in a backup."""
    for part in parts(data):
        for file in part.glob(pattern):
            shutil.copy2(file, file.with_suffix(".copy"))
            file.with_suffix(".copy").rename(file)
            flip(file)


class Found(msgspec.Struct, frozen=True):
    """What a stopped folder answers: its faults, and the count and ids of its attempts, or why there is no count."""

    faults: list[str]
    count: int | str
    ids: list[int]


def look(data: Path) -> Found:
    async def ask() -> Found:
        async with open_node(Settings(data=data), create=False, ships=False) as usher:
            faults = await usher.check()
            try:
                count = await usher.searching.count(CDN, AttemptFilter())
                attempts = await usher.searching.newest(CDN, AttemptFilter(), seek=0, limit=10**6)
            except CountUnavailable as error:
                return Found(faults, str(error), [])
            return Found(faults, count, sorted(attempt.id for attempt in attempts))

    return asyncio.run(ask())


Damage = Callable[[Path], None]
