"""What the conformance suites share: an event loop for async tests, and each ledger in a place of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openusher.ledger.base import Ledger
from tests.conformance.asking import new_account
from tests.conformance.derivedlog import Derived, whole
from tests.conformance.doors import DOORS, DoorBench, Node, node_with
from tests.conformance.ledgers import LEDGERS, Fault, LedgerBench


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=LEDGERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerBench]:
    made: LedgerBench = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def ledger(bench: LedgerBench) -> AsyncIterator[Ledger]:
    """An open ledger with the accounts 1 and 2. A test that closes it to open it again does so through `bench`."""
    opened = await bench.open()
    for cdn in (1, 2):
        await opened.create_account(new_account(cdn))
    yield opened
    bench.fault = Fault.NONE
    await opened.close()


@pytest.fixture(params=DOORS, ids=lambda door: door.kind)
def door(request: pytest.FixtureRequest) -> DoorBench:
    made: DoorBench = request.param
    return made


@pytest.fixture
async def node(door: DoorBench, tmp_path: Path) -> AsyncIterator[Node]:
    """A node that is asked by such a server."""
    async with node_with(door, tmp_path) as opened:
        yield opened


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def derived(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Derived]:
    """A log with all blocks of attempts_to_ship.py, in both of its tables."""
    derived = whole(tmp_path / "log", runner)
    yield derived
    derived.close()
