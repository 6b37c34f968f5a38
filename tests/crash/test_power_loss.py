"""A power cut after any answer: what was not synced is gone, what was answered is not."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from openusher.errors import UsherError
from openusher.gate import Gate
from openusher.ledger.base import Decide, Issue, NewAccount
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.account import ApiKey, Secret
from openusher.model.attempt import AttemptRequest, Decision
from openusher.model.search import AttemptFilter
from openusher.model.ticket import NewTicket
from tests.conftest import Promise
from tests.crash.forgetful import ForgetfulVFS

pytestmark = pytest.mark.crash

_CUTS = 25
_names = itertools.count()


def test_a_power_cut_after_any_answer_loses_nothing_that_was_answered(tmp_path: Path, promise: Promise) -> None:
    lost = asyncio.run(_cut_power_often(tmp_path, pragmas={}))

    assert lost == 0
    promise("Durable before answered", power_cuts=_CUTS, lost=0)


@pytest.mark.parametrize(("pragma", "weaker"), [("synchronous", "NORMAL"), ("synchronous", "OFF")])
def test_with_a_weaker_setting_the_same_power_cuts_lose_answers(tmp_path: Path, pragma: str, weaker: str) -> None:
    """Each setting the ledger relies on, taken away, must show here: else the test above could not fail."""
    lost = asyncio.run(_cut_power_often(tmp_path, pragmas={pragma: weaker}))

    assert lost > 0


def test_a_commit_costs_one_sync_and_never_none(tmp_path: Path) -> None:
    syncs = asyncio.run(_syncs_of_ten_commits(tmp_path))

    assert syncs == 10


async def _cut_power_often(folder: Path, *, pragmas: dict[str, str]) -> int:
    """Answer attempts, cut the power after each few, and count the answers that the disk does not hold."""
    vfs = ForgetfulVFS(f"forgetful{next(_names)}")
    ledger = await _open(folder / "ledger.db", vfs, pragmas)
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: 1_800_000_000_000)
    lost = answered = 0
    for cut in range(_CUTS):
        decisions = await asyncio.gather(*(gate.decide(_request(cut * 10 + n)) for n in range(1 + cut % 7)))
        answered += len(decisions)
        vfs.cut_power(folder / f"cut{cut}")
        lost += answered - await _attempts_on(folder / f"cut{cut}" / "ledger.db")
    await gate.close()
    await ledger.close()
    return lost


async def _open(file: Path, vfs: ForgetfulVFS, pragmas: dict[str, str]) -> SqliteLedger:
    ledger = await SqliteLedger.open(file, vfs=vfs.name)
    await ledger.create_account(
        NewAccount(
            name="acme",
            cdn=1,
            key=ApiKey(api_key="K", cdn=1, secret=Secret("s")),
            edge_name="default",
            edge_token_digest="d",
        )
    )
    ticket = NewTicket(cdn=1, key="k", password="p", app="*", video="*", ip="::/0", uses_limit=0, expires_s=2**32)
    await ledger.commit_batch([Issue(ticket=ticket)], now_ms=0)
    for pragma, value in pragmas.items():
        ledger._writer._connection.pragma(pragma, value)
    return ledger


def _request(number: int) -> AttemptRequest:
    return AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video=f"v{number}", ip=1)


async def _attempts_on(file: Path) -> int:
    """How many attempts a ledger that was found after a power cut holds; it must also be sound."""
    try:
        ledger = await SqliteLedger.open(file)
    except UsherError:
        return 0
    try:
        counted = await ledger.count_pending(1, AttemptFilter(accepted=True))
        assert await ledger.check(quick=False) == []
    finally:
        await ledger.close()
    return counted.count


async def _syncs_of_ten_commits(folder: Path) -> int:
    vfs = ForgetfulVFS(f"forgetful{next(_names)}")
    ledger = await _open(folder / "ledger.db", vfs, {})
    before = vfs.syncs
    for number in range(10):
        (outcome,) = await ledger.commit_batch([Decide(_request(number))], now_ms=0)
        assert isinstance(outcome, Decision)
    syncs = vfs.syncs - before
    await ledger.close()
    return syncs
