"""How answers are counted as they come, and that whoever reads metrics keeps nobody waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.errors import (
    AttemptIdReused,
    Busy,
    CommandRefused,
    CommitUnknown,
    InvalidParameter,
    LedgerUnavailable,
    NotAuthorised,
)
from openusher.gate import Gate
from openusher.ledger.base import LedgerTally
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.attempt import Decision, Reason
from openusher.model.edge import EdgeKind
from openusher.sessionbook import Refusal
from openusher.settings import Settings, host_and_port
from openusher.shipper import Shipper
from openusher.usher import Usher, wall_ms
from openusher.watching import Verdict
from openusher.web.metrics.exposition import MetricsApp
from openusher.web.metrics.readings import Readings
from openusher.web.metrics.requests import RequestTally
from openusher.web.observed import Commanded, Learnt, Observed, Published
from tests.conformance.asking import request
from tests.e2e.scraping import Scraped

DECIDED = Decision(reason=Reason.INVALID_TOKEN, attempt=1)


class HangingLedger(SqliteLedger):
    """Does not come back from anything that is asked for metrics, once it hangs."""

    hangs = False

    async def tally(self) -> LedgerTally:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().tally()


class NoKicks:
    """Nothing was ever owed."""

    owed = paid = given_up = ended = 0


def tallied(*learnt: Learnt, status: int = 200) -> RequestTally:
    tally = RequestTally()
    for each in learnt:
        tally.add(Observed("POST", "", 0.0, route="/r", learnt=each, status=status, seconds=0.002))
    return tally


def counts(tally: RequestTally) -> tuple[int, int, int]:
    """Bad input, busy, faults."""
    return sum(tally.bad.values()), sum(tally.busy.values()), sum(tally.faults.values())


@pytest.mark.parametrize(
    ("learnt", "expected"),
    [
        (DECIDED, (0, 0, 0)),
        (Verdict(Reason.EXPIRED, decision=DECIDED), (0, 0, 0)),
        (Verdict(Refusal.NO_SESSION), (0, 0, 0)),
        (Published("Wrong password"), (0, 0, 0)),
        (Commanded(code=2011), (0, 0, 0)),
        (InvalidParameter("app", "is missing"), (1, 0, 0)),
        (NotAuthorised("no such edge token"), (1, 0, 0)),
        (AttemptIdReused("other content"), (1, 0, 0)),
        (Commanded(code=3, error=CommandRefused(3, "wrong signature")), (1, 0, 0)),
        (Busy("at its limit"), (0, 1, 0)),
        (Commanded(code=1000, error=Busy("at its limit")), (0, 1, 0)),
        (LedgerUnavailable("full"), (0, 0, 1)),
        (CommitUnknown("perhaps"), (0, 0, 1)),
        # The wire says busy, since the same may be sent again; but it is the node that failed.
        (Commanded(code=1000, error=LedgerUnavailable("full")), (0, 0, 1)),
        (ValueError("a mistake of ours"), (0, 0, 1)),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, tuple) else "",
)
def test_an_answer_is_bad_input_or_busy_or_a_fault_or_none_of_them(
    learnt: Learnt, expected: tuple[int, int, int]
) -> None:
    assert counts(tallied(learnt)) == expected


def test_a_probe_that_finds_the_node_not_ready_was_not_answered_busy() -> None:
    assert counts(tallied(None, status=503)) == (0, 0, 0)


def test_an_answer_without_more_than_its_status_is_named_by_that() -> None:
    assert tallied(None, status=413).bad == {("/r", "", "status 413"): 1}


def test_a_fault_of_a_command_is_named_by_what_failed_and_a_mistake_of_ours_is_unexpected() -> None:
    tally = tallied(Commanded(code=4, error=LedgerUnavailable("full")), Commanded(code=4, error=KeyError("k")))

    assert {name: count for name, count in tally.faults.items() if count} == {"ledger_unavailable": 1, "unexpected": 1}


def test_methods_that_strangers_make_up_share_one_label() -> None:
    tally = RequestTally()
    for method in ("GET", "PURGE", "MKCOL", "PURGE"):
        tally.add(Observed(method, "", 0.0, status=404, seconds=0.001))

    assert {name[2]: each.count for name, each in tally.answers.items()} == {"GET": 1, "(other)": 3}
    assert tally.took_s["(none)", ""].count == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:9188", ("127.0.0.1", 9188)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_where_metrics_are_read_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected
    assert Settings(metrics=text).metrics == text


@pytest.mark.parametrize("text", ["", "9188", ":9188", "127.0.0.1", "127.0.0.1:", "::1:9188", "h:65536", "h:²", "h:x"])
def test_anything_else_is_an_error_that_says_what_to_give(text: str) -> None:
    with pytest.raises(ValueError, match="give host:port, such as"):
        Settings(metrics=text)


async def _node(folder: Path) -> tuple[HangingLedger, Usher, MetricsApp]:
    ledger = await HangingLedger.open(folder / "ledger.db")
    assert isinstance(ledger, HangingLedger)
    log = LedgerOnlyLog()
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=wall_ms)
    shipper = Shipper(ledger, log, rows_min=10, age_s_max=60, wall_ms=wall_ms)
    usher = Usher(ledger, log, gate, shipper, wall_ms=wall_ms)
    await usher.start()
    kicks = NoKicks()
    readings = Readings(usher, Settings(data=folder), RequestTally(), kicks=kicks, reconciled=kicks)
    return ledger, usher, MetricsApp(readings)


def test_an_edge_that_has_the_name_of_a_revoked_one_goes_on_with_its_counts(tmp_path: Path) -> None:
    async def run() -> bytes:
        _, usher, metrics = await _node(tmp_path)
        await usher.create_account("site", cdn=1)
        first = usher.edges()[0]
        await usher.revoke_edge(first)
        second, _ = await usher.create_edge(1, kind=EdgeKind.GENERIC, name=first.name, options={})
        usher.tally.decisions |= {
            (first.number, Reason.NONE): 5,
            (second.number, Reason.EXPIRED): 2,
            (first.number, Reason.EXPIRED): 1,
        }
        body, _ = await metrics._answer("")
        await usher.close()
        return body

    seen = Scraped(asyncio.run(run()).decode())

    assert seen.by("usher_decisions_total", "edge", "outcome", "reason") == {
        ("default", "accepted", ""): 5,
        ("default", "refused", Reason.EXPIRED.value): 3,
    }


def test_decisions_go_on_while_a_large_exposition_is_written(tmp_path: Path) -> None:
    """On the loop all of it would be one step, in which nobody is answered."""

    async def run() -> int:
        _, usher, metrics = await _node(tmp_path)
        usher.tally.decisions |= {(edge, Reason.INVALID_TOKEN): 1 for edge in range(1_000, 21_000)}
        scrape = asyncio.ensure_future(metrics._answer(""))
        answered = 0
        while not scrape.done():
            await usher.authorize(request(1))
            answered += 1
        assert len((await scrape)[0]) > 1_000_000
        await usher.close()
        return answered

    assert asyncio.run(run()) >= 5


def test_a_ledger_that_hangs_is_left_out_and_the_rest_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openusher.web.metrics.readings._ANSWER_S_MAX", 0.1)

    async def run() -> bytes:
        ledger, usher, metrics = await _node(tmp_path)
        ledger.hangs = True
        body, _ = await metrics._answer("")
        await usher.close()
        return body

    seen = Scraped(asyncio.run(run()).decode())

    assert seen.of("usher_ledger_up") == 0
    assert "usher_commit_seconds" not in {family.name for family in seen.families}
    assert seen.of("usher_sessions") == 0
    assert seen.of("usher_pending_attempts") == 0
