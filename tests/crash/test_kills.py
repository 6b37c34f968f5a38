"""kill -9 of door, ledger and log, at random moments and at each step of the shipper: every answer is counted once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Promise
from tests.crash.load import Load, discrepancies, times_counted
from tests.nodes import Node, usher
from tests.sevuclient import Account, Connection

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("USHER_CRASH_ROUNDS", "25"))
_STEPS = ("assigned", "read", "inserted", "verified", "shipped", "deleted")
_NODE = ("-m", "tests.crash.crashnode")
# A round's load is ended by its kill; this only bounds one whose step is never reached.
_ROUND_S_MAX = 30.0

Crash = Callable[[Node, Load, random.Random], None]


def test_every_answered_attempt_is_counted_once_through_every_crash(tmp_path: Path, promise: Promise) -> None:
    seed = int(os.environ.get("USHER_CRASH_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}: USHER_CRASH_SEED={seed} repeats the kinds and moments of the crashes")
    rng = random.Random(seed)
    data = tmp_path / "data"
    node = Node(data, command=_NODE).start()
    account = node.create_account("acme")
    with node.connect() as connection:
        tickets = [connection.issue(account, password=f"user{n}|{n}-secret") for n in range(20)]
        tickets.append(connection.issue(account, password="few|few-secret", uses=5))
    assert node.stop() == 0
    answered = counts = repeated = 0
    died_at: list[str] = []
    loads: list[Load] = []
    for number in range(ROUNDS):
        load = Load(account, tickets, name=f"round{number}")
        loads.append(load)
        died_at += _crash_once(data, load, rng, number)
        node = Node(data, command=_NODE).start()
        repeated += load.repeat_unanswered(node.url)
        with node.connect() as connection:
            _compare(connection, account, load)
            assert all(connection.call(account, "sevu.status", key=t["key"])["code"] == 2021 for t in load.issued)
        answered += load.answered()
        counts += load.counts
        assert node.stop() == 0
    _compare_all(data, account, tickets, loads)
    if ROUNDS >= 25:
        assert set(died_at) == set(_STEPS)

    promise(
        "Counted exactly once",
        kills=ROUNDS,
        shipper_steps_died_at=len(set(died_at)),
        answered=answered,
        asked_again_with_their_id=repeated,
        counts_checked_under_load=counts,
        lost=0,
        twice=0,
    )


def _crash_once(data: Path, load: Load, rng: random.Random, number: int) -> list[str]:
    """One round of load and its crash; returns the shipper's step at which the node died, if it was told to."""
    flags: tuple[str, ...] = ()
    crash: Crash
    steps: list[str] = []
    if number % 4 < 2:
        # Two rounds of four die at a step: count these alone, so that every step has its turn.
        step = _STEPS[(number // 4 * 2 + number % 4) % len(_STEPS)]
        steps.append(step)
        flags = ("--die-at", step, "--after", str(rng.randint(1, 3)))
        crash = _await_death
    elif number % 4 == 2:
        crash = _kill_door if number % 8 == 2 else _kill_ledger
    else:
        crash = _kill_log if number % 8 == 3 else _hang_log
    node = Node(data, *flags, command=_NODE).start()
    load.start(node.url)
    try:
        crash(node, load, rng)
    finally:
        load.stop()
        node.kill()
    return steps


def _await_death(node: Node, load: Load, rng: random.Random) -> None:
    """By its own hand, as it was told: any other end, or none in time, is a fault."""
    assert node.process.wait(_ROUND_S_MAX) == -signal.SIGKILL


def _kill_door(node: Node, load: Load, rng: random.Random) -> None:
    load.await_answers(rng.randint(1, 500))
    node.process.kill()


def _kill_ledger(node: Node, load: Load, rng: random.Random) -> None:
    """Kill the ledger's process: without it the door can only end, and say so."""
    load.await_answers(rng.randint(1, 500))
    ledger = node.child("ledger")
    assert ledger is not None
    os.kill(ledger, signal.SIGKILL)
    assert node.process.wait(_ROUND_S_MAX) == 1
    assert "ledger.ended" in node.log_file.read_text()


def _kill_log(node: Node, load: Load, rng: random.Random) -> None:
    """Kill the log process twice under load; then the door, so that the round ends like the others."""
    for _ in range(2):
        load.await_answers(rng.randint(50, 300))
        os.kill(_log_process(node), signal.SIGKILL)
    load.await_answers(rng.randint(1, 300))
    node.process.kill()


def _hang_log(node: Node, load: Load, rng: random.Random) -> None:
    """Stop the log process in its tracks: decisions go on; the door replaces it or fails counts, never miscounts."""
    load.await_answers(rng.randint(50, 300))
    os.kill(_log_process(node), signal.SIGSTOP)
    load.await_answers(rng.randint(100, 600))
    node.process.kill()


def _log_process(node: Node) -> int:
    """The log's process, awaited while the door replaces it."""
    deadline = time.monotonic() + _ROUND_S_MAX
    while time.monotonic() < deadline:
        pid = node.child("attemptlog")
        if pid is not None:
            return pid
        time.sleep(0.01)
    raise AssertionError("the door has no log process")


def _compare(connection: Connection, account: Account, load: Load) -> None:
    lost, twice = discrepancies(load.asked, times_counted(connection, account, f"{load.name}/*"))

    assert (lost, twice, load.wrong_counts) == ([], [], [])


def _compare_all(data: Path, account: Account, tickets: list[dict[str, object]], loads: list[Load]) -> None:
    """At the end, the whole: all rounds once more, the use limit, and the node's own check."""
    node = Node(data, command=_NODE).start()
    try:
        with node.connect() as connection:
            for load in loads:
                _compare(connection, account, load)
            few = str(tickets[-1]["key"])
            assert connection.count(account, key=few, success=1) <= 5
            allowed = sum(a.allowed for load in loads for a in load.asked if a.key == few)
            assert allowed <= 5
        checked = usher("check", "--data", str(data))
        assert checked.returncode == 0, checked.stdout + checked.stderr
    finally:
        assert node.stop() == 0
    checked = usher("check", "--data", str(data))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_node_that_answers_before_its_commit_is_caught(tmp_path: Path) -> None:
    """The null control: were nothing ever lost here, the test above could not fail."""
    data = tmp_path / "data"
    node = Node(data, "--answer-early", "--log", "ledger", command=_NODE).start()
    account = node.create_account("acme")
    with node.connect() as connection:
        tickets = [connection.issue(account)]
    load = Load(account, tickets, name="early")
    load.start(node.url)
    load.await_answers(100)
    node.process.kill()
    load.stop()
    node.kill()
    node = Node(data, "--log", "ledger", command=_NODE).start()
    with node.connect() as connection:
        lost, _ = discrepancies(load.asked, times_counted(connection, account, "early/*"))
    assert node.stop() == 0

    assert lost
