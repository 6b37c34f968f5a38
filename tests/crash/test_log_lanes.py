"""What must not end the door's side of the log for good: writing to a process that is no more, and a machine that is
out of descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from openusher.attemptlog.embedded import child
from openusher.attemptlog.embedded.wire import HANDLES
from openusher.attemptlog.engine import Lane, Statement
from openusher.errors import LogUnavailable
from openusher.model.block import Horizon
from openusher.model.pattern import parse_pattern
from openusher.model.search import AttemptFilter, GroupBy
from openusher.node import open_node
from openusher.settings import Settings
from tests.conformance.asking import request
from tests.crash.openedlog import Opened, is_reaped, rows_of, until

pytestmark = [pytest.mark.crash]


def run(work: Coroutine[Any, Any, None]) -> None:
    """In the loop that a node has: it closes a transport earlier than asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def kill_unseen(pid: int) -> None:
    """Kill the process and wait for its end without giving the loop a turn, as under load."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Only so many more can be opened while this lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [os.dup(0)]
    while used[-1] < max(map(int, os.listdir("/proc/self/fd"))) - 1:
        used.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used[-1] + 1 + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in used:
            os.close(descriptor)


def asked(lane: Lane) -> Statement:
    return Statement(text="SELECT 1", lane=lane, seconds_max=5)


@pytest.mark.parametrize("killed", range(3))
def test_every_lane_answers_again_after_writing_to_a_process_that_is_no_more(tmp_path: Path, killed: int) -> None:
    async def write() -> None:
        async with Opened(tmp_path / "log") as opened:
            starts = opened.engine.starts
            waiting = []
            loop = asyncio.get_running_loop()
            # One is written in the turn of the kill and finds the end; the next meets a closed transport, a turn
            # before the end is known.
            for turn, lane in enumerate((Lane.COUNT, Lane.INSERT, Lane.CHECK)):
                if turn == killed:
                    loop.call_soon(kill_unseen, opened.pid)
                waiting.append(asyncio.create_task(opened.engine.execute(asked(lane))))
                await asyncio.sleep(0)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            await opened.restarted(starts)

            # What was asked before the kill may have been answered by then.
            assert {LogUnavailable} == {type(outcome) for outcome in outcomes[killed:]}
            for lane in Lane:
                answers = await asyncio.gather(*(opened.engine.execute(asked(lane)) for _ in range(3)))
                assert answers == [[[1]]] * 3

    run(write())


def test_what_an_index_answers_waits_for_nobody_who_reads_all(tmp_path: Path) -> None:
    """As many scans as there are handles for, and more, of one account; then counts of another and of its own."""
    few, all_of_it = AttemptFilter(key="k1"), AttemptFilter(video=parse_pattern("video", "live/*"))

    async def wait() -> None:
        async with Opened(tmp_path / "log") as opened:
            await opened.insert(1, rows_of(1, 10))
            slow = Statement(text="SELECT sleep(2)", lane=Lane.SCAN, seconds_max=20, cdn=7)
            scans = [asyncio.create_task(opened.engine.execute(slow)) for _ in range(2 * HANDLES[Lane.SCAN])]
            last = asyncio.create_task(opened.log.count(7, all_of_it, Horizon(upto=1)))
            for _ in range(3):
                for cdn in (1, 7):
                    await opened.log.count(cdn, few, Horizon(upto=1))
                    await opened.log.groups(cdn, few, GroupBy.DAY, Horizon(upto=1), top=1)
                    await opened.log.newest(cdn, few, Horizon(upto=1), limit=1)

            assert not any(task.done() for task in (*scans, last))
            await asyncio.gather(*scans, last)

    run(wait())


def test_what_nobody_thought_of_fails_one_statement_and_not_its_lane(tmp_path: Path) -> None:
    async def fail() -> None:
        async with Opened(tmp_path / "log") as opened:
            unsendable = Statement(text="SELECT '\udc80'", lane=Lane.CHECK, seconds_max=5)
            with pytest.raises(LogUnavailable):
                await opened.engine.execute(unsendable)
            assert await opened.engine.execute(asked(Lane.CHECK)) == [[1]]

    run(fail())


@pytest.mark.parametrize("turns", range(5))
def test_ending_a_process_that_is_no_more_raises_nothing(tmp_path: Path, turns: int) -> None:
    async def end() -> None:
        started = await child.launch(tmp_path / "log", memory_bytes_max=1_500_000_000)
        asyncio.get_running_loop().call_soon(kill_unseen, started.pid)
        asking = asyncio.create_task(started.ask(asked(Lane.COUNT)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await started.end(seconds_max=5)

        assert is_reaped(started.pid)
        assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], LogUnavailable)

    run(end())


def test_the_log_is_started_again_once_there_are_descriptors_again(tmp_path: Path) -> None:
    async def starve() -> None:
        async with Opened(tmp_path / "log") as opened:
            await opened.insert(1, rows_of(1, 10))
            pid, starts = opened.pid, opened.engine.starts
            with descriptors_left(0):
                opened.signal(signal.SIGKILL)
                await until(lambda: "cannot be started" in str(opened.engine._away))
                assert is_reaped(pid)
                assert opened.engine.starts == starts
            await opened.restarted(starts)

            assert await opened.log.rows_by_block(table="attempts") == {1: 10}

    run(starve())


def test_a_log_that_could_not_start_at_first_has_its_tables_once_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start() -> None:
        opened = Opened(tmp_path / "log")
        with monkeypatch.context() as patched:
            patched.setattr(child, "_READY_S_MAX", 0.01)
            with pytest.raises(LogUnavailable, match="not ready within"):
                await opened.log.start()
        await opened.restarted(0)

        assert await opened.log.rows_by_block(table="attempts") == {}
        await opened.log.close()

    run(start())


def test_a_node_decides_while_its_log_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_READY_S_MAX", 0.01)

    async def decide() -> None:
        async with open_node(Settings(data=tmp_path / "data")) as usher:
            credentials = await usher.create_account("acme")
            decision = await usher.authorize(request(credentials.account.cdn))

            assert decision.reason

    run(decide())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_a_start_that_fails_half_way_leaves_nothing_open(tmp_path: Path, count: int) -> None:
    async def start() -> None:
        opened = Opened(tmp_path / "log")
        before = set(os.listdir("/proc/self/fd"))
        with descriptors_left(count), pytest.raises(LogUnavailable, match="cannot be started"):
            await opened.log.start()
        left = set(os.listdir("/proc/self/fd")) - before
        await opened.log.close()

        assert left == set()

    run(start())
