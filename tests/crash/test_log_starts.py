"""The log process at its start: where another holds the log's lock, where it is killed, where it cannot run at all."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from openusher.attemptlog.embedded import child
from openusher.errors import CountUnavailable, LogUnavailable, SetupError
from openusher.model.search import AttemptFilter
from openusher.node import open_node
from openusher.settings import Settings
from openusher.usher import Usher
from tests.conformance.asking import request
from tests.crash.openedlog import Opened, chdb_is

pytestmark = [pytest.mark.crash]

Obstacle = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def lock_held(folder: Path) -> Iterator[None]:
    """As by a process that is not gone yet."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def killed(folder: Path) -> Iterator[None]:
    """As where memory is short."""
    with chdb_is("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", folder):
        yield


def test_a_start_waits_for_the_lock_of_a_process_that_is_ending(tmp_path: Path) -> None:
    async def start() -> None:
        opened = Opened(tmp_path / "log")
        with lock_held(tmp_path / "log"):
            starting = asyncio.create_task(opened.log.start())
            # Long enough for a process that does not wait to have said so.
            await asyncio.wait([starting], timeout=1.5)
        await starting

        assert await opened.log.rows_by_block(table="attempts") == {}
        await opened.log.close()

    asyncio.run(start())


def test_a_second_door_is_told_who_has_the_log_and_has_it_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_LOCK_S_MAX", 0.1)

    async def collide() -> None:
        async with Opened(tmp_path) as first:
            second = Opened(tmp_path)
            said = f"in use by process {first.pid}, started by process {os.getpid()}"
            with pytest.raises(LogUnavailable, match=said):
                await second.log.start()
            assert await first.log.rows_by_block(table="attempts") == {}
            with pytest.raises(LogUnavailable, match=said):
                await second.log.rows_by_block(table="attempts")
        await second.restarted(0)

        assert await second.log.rows_by_block(table="attempts") == {}
        await second.log.close()

    asyncio.run(collide())


async def _be_ready(usher: Usher) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(LogUnavailable):
                return await usher.check_ready()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("obstacle", [lock_held, killed])
def test_a_node_decides_while_its_log_cannot_start_and_counts_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: Obstacle
) -> None:
    monkeypatch.setattr(child, "_LOCK_S_MAX", 0.1)
    settings = Settings(data=tmp_path / "data")

    async def count() -> None:
        async with open_node(settings) as usher:
            cdn = (await usher.create_account("acme")).account.cdn
            await usher.authorize(request(cdn))
            assert await usher.shipper.ship_all() == 1
        async with AsyncExitStack() as opened:
            with obstacle(settings.data / "log"):
                usher = await opened.enter_async_context(open_node(settings))
                assert (await usher.authorize(request(cdn))).attempt == 2
                # By how long the machine took: it is away, or was to be verified next.
                with pytest.raises(CountUnavailable, match=r"does not answer|being verified"):
                    await usher.searching.count(cdn, AttemptFilter())
                with pytest.raises(LogUnavailable):
                    await usher.check_ready()
            await _be_ready(usher)

            assert await usher.searching.count(cdn, AttemptFilter()) == 2

    asyncio.run(count())


# A node that has shipped cannot: what is in the log is not in the ledger any more.
_WITHOUT_LOG = "a node that has shipped nothing yet can also count without it: --log ledger"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "killed by SIGILL"),
        ("import os, sys\nsys.stderr.write('no AVX here\\n')\nos._exit(3)", "status 3"),
        (
            "raise ImportError('GLIBC_2.99 not found')",
            "chDB cannot be loaded on this machine: ImportError: GLIBC_2.99 not found;",
        ),
    ],
    ids=["a CPU it was not built for", "it gives up", "it cannot be imported"],
)
def test_where_chdb_cannot_run_the_error_names_the_small_mode(tmp_path: Path, lines: str, said: str) -> None:
    with chdb_is(lines, tmp_path / "log"), pytest.raises(SetupError, match=_WITHOUT_LOG) as raised:
        asyncio.run(Opened(tmp_path / "log").log.start())

    assert said in str(raised.value)
    # It is not to blame, and an operator would look for what is wrong with it.
    assert str(tmp_path / "log") not in str(raised.value)


def test_a_start_that_is_killed_names_the_signal_and_the_small_mode(tmp_path: Path) -> None:
    async def start() -> None:
        opened = Opened(tmp_path / "log")
        with killed(tmp_path / "log"), pytest.raises(LogUnavailable, match=f"killed by SIGKILL .*{_WITHOUT_LOG}"):
            await opened.log.start()
        await opened.log.close()

    asyncio.run(start())
