"""A power cut after any answer: what was not synced is gone, what was answered is not."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest

from openusher.errors import UsherError
from openusher.gate import Gate
from openusher.ledger.base import Decide, Issue, NewAccount, Revoke
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

    assert lost == {"attempts": 0, "tickets": 0, "revocations": 0}
    promise("Durable before answered", power_cuts=_CUTS, lost=0)


@pytest.mark.parametrize(("pragma", "weaker"), [("synchronous", "NORMAL"), ("synchronous", "OFF")])
def test_with_a_weaker_setting_the_same_power_cuts_lose_answers(tmp_path: Path, pragma: str, weaker: str) -> None:
    """Each setting the ledger relies on, taken away, must show here: else the test above could not fail."""
    lost = asyncio.run(_cut_power_often(tmp_path, pragmas={pragma: weaker}))

    assert min(lost.values()) > 0


def test_a_commit_costs_one_sync_and_never_none(tmp_path: Path) -> None:
    syncs = asyncio.run(_syncs_of_ten_commits(tmp_path))

    assert syncs == 10


class _Answered:
    """What was answered so far."""

    def __init__(self) -> None:
        self.attempts = 0
        self.issued: list[str] = []
        self.revoked: list[str] = []

    async def ask(self, gate: Gate, number: int) -> None:
        """Attempts, a ticket or a revocation in turn, each alone: the next commit's sync would save it too."""
        match number % 3:
            case 0:
                asked = [gate.decide(_request(number * 10 + n)) for n in range(1 + number % 7)]
                self.attempts += len(await asyncio.gather(*asked))
            case 1:
                self.issued.append((await gate.issue(Issue(ticket=_ticket(f"k{number}")))).key)
            case _:
                self.revoked.append((await gate.revoke(Revoke(cdn=1, key=self.issued[-1]))).key)


async def _cut_power_often(folder: Path, *, pragmas: dict[str, str]) -> Counter[str]:
    """Have something answered, cut the power after each answer, and count the answers that the disk does not hold."""
    vfs = ForgetfulVFS(f"forgetful{next(_names)}")
    ledger = await _open(folder / "ledger.db", vfs, pragmas)
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: 1_800_000_000_000)
    answered = _Answered()
    lost: Counter[str] = Counter(attempts=0, tickets=0, revocations=0)
    for cut in range(_CUTS):
        await answered.ask(gate, cut)
        vfs.cut_power(folder / f"cut{cut}")
        lost.update(await _lost_on(folder / f"cut{cut}" / "ledger.db", answered))
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
    await ledger.commit_batch([Issue(ticket=_ticket("k"))], now_ms=0)
    for pragma, value in pragmas.items():
        ledger._writer._connection.pragma(pragma, value)
    return ledger


def _request(number: int) -> AttemptRequest:
    return AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video=f"v{number}", ip=1)


def _ticket(key: str) -> NewTicket:
    return NewTicket(cdn=1, key=key, password="p", app="*", video="*", ip="::/0", uses_limit=0, expires_s=2**32)


async def _lost_on(file: Path, answered: _Answered) -> Counter[str]:
    """What of `answered` is missing in a ledger that was found after a power cut; it must also be sound."""
    try:
        ledger = await SqliteLedger.open(file)
    except UsherError:
        return Counter(attempts=answered.attempts, tickets=len(answered.issued), revocations=len(answered.revoked))
    try:
        counted = await ledger.count_pending(1, AttemptFilter(accepted=True))
        issued = [await ledger.ticket(1, key) for key in answered.issued]
        revoked = [await ledger.ticket(1, key) for key in answered.revoked]
        assert await ledger.check(quick=False) == []
    finally:
        await ledger.close()
    return Counter(
        attempts=answered.attempts - counted.count,
        tickets=issued.count(None),
        revocations=sum(ticket is None or ticket.active for ticket in revoked),
    )


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
