"""kill -9 of door, ledger and log, at random moments and at each step of the shipper: every answer is counted once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Promise
from tests.crash.load import Load, discrepancies, times_counted
from tests.crash.openedlog import is_running
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "25"))
_STEPS = ("assigned", "read", "inserted", "verified", "derived", "shipped", "deleted")
_NODE = ("-m", "tests.crash.crashnode")
# A round's load is ended by its kill; this only bounds one whose step is never reached, or whose log process is not
# replaced. One that hangs is found out after 4 s; after 63 where it hangs while what it holds of a block is looked at.
_ROUND_S_MAX = 90.0

Crash = Callable[[Node, Load, random.Random], None]


def test_every_answered_attempt_is_counted_once_through_every_crash(tmp_path: Path, promise: Promise) -> None:
    seed = int(os.environ.get("CRASH_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}: CRASH_SEED={seed} repeats the kinds and moments of the crashes")
    rng = random.Random(seed)
    data = tmp_path / "data"
    with running_node(data, command=_NODE) as node, node.connect() as connection:
        account = node.create_account("acme")
        tickets = [connection.issue(account, password=f"user{n}|{n}-secret") for n in range(20)]
        tickets.append(connection.issue(account, password="few|few-secret", uses=5))
    answered = counts = repeated = issued = revoked = 0
    died_at: list[str] = []
    loads: list[Load] = []
    for number in range(ROUNDS):
        load = Load(account, tickets, name=f"round{number}")
        loads.append(load)
        died_at += _crash_once(data, load, rng, number)
        with running_node(data, command=_NODE) as node, node.connect() as connection:
            repeated += load.repeat_unanswered(node.url)
            _compare(connection, account, load)
            assert load.wrong_tickets(connection) == []
        answered += load.answered()
        counts += load.counts
        issued += len(load.issued)
        revoked += len(load.revoked)
    _compare_all(data, account, tickets, loads)
    if ROUNDS >= 25:
        assert set(died_at) == set(_STEPS)
        assert min(issued, revoked) > 0

    promise("Durable before answered", tickets_issued=issued, revocations=revoked)
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
    elif number % 8 == 3:
        crash = _kill_log
    else:
        crash = _hang_log
        # Of counts that are kept hardly any needs the log, and one that hangs is found out by who asks it.
        flags = ("--count-s-max", "1", "--keeps-nothing")
    node = Node(data, *flags, command=_NODE).start()
    try:
        load.start(node.url)
        crash(node, load, rng)
    finally:
        # First: the load ends when nobody answers it.
        node.kill()
        load.stop()
    return steps


def _await_death(node: Node, load: Load, rng: random.Random) -> None:
    """By its own hand, as it was told: any other end, or none in time, is a fault."""
    try:
        status = node.process.wait(_ROUND_S_MAX)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the node lives on\n{node.log_file.read_text()[-4000:]}") from None
    assert status == -signal.SIGKILL


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
    assert node.events("ledger.ended")


def _kill_log(node: Node, load: Load, rng: random.Random) -> None:
    """Kill the log process twice under load; then the door, so that the round ends like the others."""
    for _ in range(2):
        load.await_answers(rng.randint(50, 300))
        os.kill(_log_process(node), signal.SIGKILL)
    load.await_answers(rng.randint(1, 300))
    node.process.kill()


def _hang_log(node: Node, load: Load, rng: random.Random) -> None:
    """Stop the log process in its tracks: decisions go on; the door finds it out, replaces it, and never miscounts."""
    load.await_answers(rng.randint(50, 300))
    hung = _log_process(node)
    os.kill(hung, signal.SIGSTOP)
    load.await_answers(rng.randint(100, 600))
    _log_process(node, other_than=hung)
    assert not is_running(hung)
    # And what the new one counts is right, too: `load` compares each.
    counts, deadline = load.counts, time.monotonic() + _ROUND_S_MAX
    while load.counts == counts:
        assert time.monotonic() < deadline, "the new log process answers no count"
        load.await_answers(1)
    node.process.kill()


def _log_process(node: Node, *, other_than: int = 0) -> int:
    """The log's process, awaited while the door replaces it."""
    deadline = time.monotonic() + _ROUND_S_MAX
    while time.monotonic() < deadline:
        pid = node.child("attemptlog")
        if pid is not None and pid != other_than:
            return pid
        time.sleep(0.01)
    raise AssertionError("the door has no log process, or still the one that hangs")


def _compare(connection: Connection, account: Account, load: Load) -> None:
    lost, twice = discrepancies(load.asked, times_counted(connection, account, f"{load.name}/*"))

    assert (lost, twice, load.wrong_counts) == ([], [], [])


def _compare_all(data: Path, account: Account, tickets: list[dict[str, object]], loads: list[Load]) -> None:
    """At the end, the whole: all rounds once more, the use limit, and the node's own check."""
    with running_node(data, command=_NODE) as node, node.connect() as connection:
        for load in loads:
            _compare(connection, account, load)
        few = str(tickets[-1]["key"])
        assert connection.count(account, key=few, success=1) <= 5
        allowed = sum(a.allowed for load in loads for a in load.asked if a.key == few)
        assert allowed <= 5
        checked = usher("check", "--data", str(data))
        assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = usher("check", "--data", str(data))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_node_that_answers_before_its_commit_is_caught(tmp_path: Path) -> None:
    """The null control: were nothing ever lost here, the test above could not fail."""
    data, flags = tmp_path / "data", ("--log", "ledger")
    node = Node(data, "--answer-early", *flags, command=_NODE).start()
    try:
        account = node.create_account("acme")
        with node.connect() as connection:
            load = Load(account, [connection.issue(account)], name="early")
        load.start(node.url)
        load.await_answers(100)
    finally:
        node.kill()
    load.stop()
    with running_node(data, *flags, command=_NODE) as node, node.connect() as connection:
        lost, _ = discrepancies(load.asked, times_counted(connection, account, "early/*"))

    assert lost
