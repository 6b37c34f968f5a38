"""Fills a data folder with a hundred million attempts in less than an hour: `python -m bench.bulk`.

fill.py decides each attempt as a node does, twenty thousand a second. Here SQLite makes the rows by itself
(bulkrows.py), and the real shipper moves them to the log, block after block. How many match a filter is known without
asking Usher (bulktraffic.py).
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Task
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console

from bench.bulkrows import BulkRows
from bench.bulktraffic import BulkTraffic, bulk_traffic
from bench.fill import DAYS
from bench.process import Account, create_account
from bench.size import attempts_of
from openusher.attemptlog.embedded import open_embedded_log
from openusher.cli.credentials import Signer
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.account import Secret
from openusher.model.block import BLOCK_ROWS_MAX
from openusher.settings import Settings
from openusher.shipper import Shipper
from openusher.usher import wall_ms

# Beside the data folder: credentials are no part of it.
DATA, ACCOUNTS = "data", "accounts.json"
# Of these, a commit each: what the shipper then waits for at the longest.
_ROWS_A_COMMIT = BLOCK_ROWS_MAX
_DAY_MS = 86_400_000
_LINES_A_FILL = 100

Progress = Callable[[int], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that was filled: what with, whose, how long it took, and what it takes on the disk."""

    traffic: BulkTraffic
    accounts: list[Account]
    seconds: float
    bytes: int


@app.command()
def bulk(
    folder: Annotated[Path, typer.Argument(help="A new folder; the node's own is `data` in it.")],
    size: Annotated[str, typer.Option(help="Attempts: 1m, 10m, 100m.")] = "100m",
    tickets: Annotated[
        str | None, typer.Option(help="Tickets, of all accounts together. [default: one for 100 attempts]")
    ] = None,
    accounts: Annotated[int, typer.Option(min=1, help="Accounts, each with as many tickets and attempts.")] = 20,
    ship: Annotated[bool, typer.Option(help="Move the attempts to the log.")] = True,
) -> None:
    """Fill a new data folder with attempts of the last 30 days, and keep it: for measurements of large nodes.

    Its accounts' credentials go to accounts.json beside it. Progress is on stderr.

    Example: python -m bench.bulk /srv/hundred --size 100m
    """
    sold = None if tickets is None else attempts_of(tickets)
    traffic = bulk_traffic(attempts_of(size), tickets=sold, accounts=accounts)
    folder.mkdir(parents=True)
    filled = fill_folder(folder, traffic, ships=ship, say=lambda text: err.print(text))
    err.print(
        f"filled in {filled.seconds:,.0f} s, {traffic.attempts / filled.seconds:,.0f} attempts a second, "
        f"{filled.bytes / traffic.attempts:.1f} bytes each on disk"
    )


def fill_folder(folder: Path, traffic: BulkTraffic, *, ships: bool, say: Callable[[str], None]) -> Bulk:
    """Make accounts in the empty `folder`, fill its data folder, and write their credentials beside it."""
    began = time.monotonic()
    accounts = [create_account(folder / DATA, name=f"bench-{n}") for n in range(traffic.accounts)]
    write_accounts(folder / ACCOUNTS, accounts)
    told = 0

    def progress(done: int) -> None:
        nonlocal told
        if done * _LINES_A_FILL // traffic.attempts > told:
            told = done * _LINES_A_FILL // traffic.attempts
            rate = done / (time.monotonic() - began)
            say(f"{time.strftime('%H:%M:%S')} {done:,} of {traffic.attempts:,} attempts, {rate:,.0f} a second")

    uvloop.run(
        bulk_fill(folder / DATA, traffic, [account.signer.cdn for account in accounts], ships=ships, progress=progress)
    )
    size = sum(file.stat().st_size for file in (folder / DATA).rglob("*") if file.is_file())
    return Bulk(traffic=traffic, accounts=accounts, seconds=time.monotonic() - began, bytes=size)


async def bulk_fill(data: Path, traffic: BulkTraffic, cdns: list[int], *, ships: bool, progress: Progress) -> None:
    """Fill the folder `data`, which has these accounts, each with an edge, and nothing else."""
    until_ms = wall_ms()
    async with AsyncExitStack() as stack:
        folder = hold_folder(data, create=False)
        stack.callback(folder.release)
        ledger = await SqliteLedger.open(folder.ledger_file)
        edge_of = {edge.cdn: edge for edge in (await ledger.directory()).edges.values()}
        await ledger.close()
        edges = [edge_of[cdn] for cdn in cdns]
        rows = BulkRows(folder.ledger_file, traffic, edges, from_ms=until_ms - DAYS * _DAY_MS, until_ms=until_ms)
        stack.callback(rows.close)
        await asyncio.to_thread(rows.sell)
        if not ships:
            for first in range(0, traffic.attempts, _ROWS_A_COMMIT):
                progress(await _record(rows, traffic, first))
            return
        # From here on it writes the counters, which are those of the last attempt already.
        ledger = await SqliteLedger.open(folder.ledger_file)
        stack.push_async_callback(ledger.close)
        settings = Settings()
        attempt_log = open_embedded_log(
            folder.log_folder, memory_bytes_max=settings.log_memory_bytes_max, count_s_max=settings.count_s_max
        )
        stack.push_async_callback(attempt_log.close)
        await attempt_log.start()
        shipper = Shipper(
            ledger,
            attempt_log,
            rows_min=BLOCK_ROWS_MAX,
            age_s_max=DAYS * 86_400,
            wall_ms=wall_ms,
            rows_file=folder.rows_file,
        )
        await shipper.be_verified()
        await _record_and_ship(rows, traffic, shipper, progress)


async def _record_and_ship(rows: BulkRows, traffic: BulkTraffic, shipper: Shipper, progress: Progress) -> None:
    """A block is shipped while the rows of the next are made."""
    shipping: Task[None] | None = None
    for first in range(0, traffic.attempts, _ROWS_A_COMMIT):
        recorded = await _record(rows, traffic, first)
        if shipping is not None:
            await shipping
        progress(shipper.shipped_attempts)
        shipping = asyncio.create_task(_ship_full_blocks(shipper, recorded))
    if shipping is not None:
        await shipping
    await shipper.ship_all()


async def _record(rows: BulkRows, traffic: BulkTraffic, first: int) -> int:
    """The attempts of a commit, from number `first` on; how many there are by then."""
    behind = min(first + _ROWS_A_COMMIT, traffic.attempts)
    await asyncio.to_thread(rows.record, first, behind - 1)
    return behind


async def _ship_full_blocks(shipper: Shipper, recorded: int) -> None:
    while recorded - shipper.shipped_attempts >= BLOCK_ROWS_MAX:
        await shipper.ship_next()


def write_accounts(file: Path, accounts: list[Account]) -> None:
    """Their credentials, readable by their owner only."""
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.format(msgspec.json.encode([_revealed(account) for account in accounts]), indent=2))


def read_accounts(file: Path) -> list[Account]:
    """What `write_accounts` wrote."""
    found = msgspec.json.decode(file.read_bytes(), type=list[_Revealed])
    return [Account(Signer(each.cdn, each.api_key, Secret(each.secret)), Secret(each.edge_token)) for each in found]


class _Revealed(msgspec.Struct, frozen=True, kw_only=True):
    cdn: int
    api_key: str
    secret: str
    edge_token: str


def _revealed(account: Account) -> _Revealed:
    signer = account.signer
    return _Revealed(
        cdn=signer.cdn, api_key=signer.api_key, secret=signer.secret.reveal(), edge_token=account.edge_token.reveal()
    )


if __name__ == "__main__":
    app(prog_name="python -m bench.bulk")
