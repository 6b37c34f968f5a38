"""Usher beside a plain model of it: whatever is done, in whatever order, both say the same, shipped or not."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from openusher.attemptlog.base import AttemptLog
from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import AlreadyExists, AttemptIdReused, ReplayedCommand, UnknownTicket
from openusher.gate import Gate
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import GroupBy
from openusher.shipper import Shipper, Step
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, PATTERNS, REASONS, attempt_filter, request, row, ticket
from tests.conftest import Promise
from tests.oracles.usher_model import Model

T = TypeVar("T")
CDNS = (1, 2)
DAY_MS = 86_400_000

# Few of each, so that operations meet.
keys = st.sampled_from(["k", "K", "a%b_c", "é'\"\\", ""])
passes = st.sampled_from(["user1|a", "user1|b", "user1", "a%b_c|x", "axbyc|x", ""])
names = st.sampled_from(
    ["live", "a%b_c", "axbyc", "it's", '"q"', "back\\slash", "é", "e\u0301", "*", "a|b", "😀", "tab\t"]
)
patterns = st.sampled_from(["*", "*", "live", "a%b_c|live", "a*c", "*%*", "é|*'s", "a|b"])
addresses = st.sampled_from(["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1", "2001:db8:0:1::1", "::"])
nets = st.sampled_from(["192.0.2.1", "192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0", "::/1", "2001:db8::/32"])
ip_rules = st.sampled_from(
    ["0.0.0.0/0", "0.0.0.0/0", "192.0.2.0/24", "auto", "auto/24|auto", "::/0", "2001:db8::1|auto/16"]
)
# None of its own, one never used, or one used before.
attempt_ids = st.sampled_from(["", "new", "new", "old"])
signatures = st.sampled_from(["", "", "s1", "s2", "s3"])
questions = st.fixed_dictionaries(
    {
        "key": keys,
        "pass": passes,
        "app": names,
        "appinst": st.just("play"),
        "video": names,
        "ip": addresses,
        "pageurl": st.just("p"),
        "refurl": st.just(""),
        "user_agent": names,
        "server_ip": addresses,
        "edge": st.integers(1, 2),
        "cut": st.just(0),
    }
)
searches = st.fixed_dictionaries(
    {},
    optional={
        "key": keys,
        "password": passes,
        "user": st.sampled_from(["user1", "a%b_c", "axbyc", ""]),
        "app": st.one_of(names, patterns, st.sampled_from(PATTERNS)),
        "video": st.one_of(names, patterns, st.sampled_from(PATTERNS)),
        "ip": nets,
        "server_ip": nets,
        "accepted": st.booleans(),
        "reason": st.sampled_from(REASONS),
        "from_ms": st.integers(-2, 60).map(lambda hours: NOON_MS + hours * 3_600_000),
        "before_ms": st.integers(-2, 60).map(lambda hours: NOON_MS + hours * 3_600_000),
        "after_id": st.integers(0, 60),
        "before_id": st.integers(0, 60),
    },
)
# A question as it is; one that names a ticket of the account and its pass; one that was asked before; a revocation.
operations = st.one_of(
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.none()),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("repeat"), st.sampled_from(CDNS), st.none(), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("revoke"), st.sampled_from(CDNS), keys, st.just(""), st.none()),
)
Asked = tuple[str, int, Any, str]


class Stopped(BaseException):
    """The process ends here."""


class UsherBesideModel(RuleBasedStateMachine):
    """One node with two accounts. Each rule does the same to both and compares."""

    compared = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.wall_ms = NOON_MS
        self.stop_at: Step | None = None
        self.until_ms: dict[str, int] = {}
        self.asked_last: list[Asked] = []
        self.ids_used = 0
        self.model = Model()
        self.log: AttemptLog = self.make_log()
        self.run(self.log.start())
        self.usher: Usher = self.run(self.open())

    def make_log(self) -> AttemptLog:
        """The log of this example; made once, so that one in memory keeps its rows through restarts."""
        raise AssertionError("a machine is made for one kind of log")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> Usher:
        ledger = await SqliteLedger.open(self.folder / "ledger.db")
        gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: self.wall_ms)
        shipper = Shipper(
            ledger,
            self.log,
            rows_min=100_000,
            age_s_max=10**9,
            wall_ms=lambda: self.wall_ms,
            on_step=self.on_step,
        )
        usher = Usher(ledger, self.log, gate, shipper)
        await usher.start()
        self.to_close = (gate, shipper, ledger)
        return usher

    def on_step(self, step: Step) -> None:
        if step is self.stop_at:
            raise Stopped

    @initialize()
    def create_accounts(self) -> None:
        for cdn in CDNS:
            self.run(self.usher.create_account(f"account {cdn}", cdn=cdn))
            for key, ip, uses in (("k", "0.0.0.0/0", 0), ("few", "auto/24|auto", 3)):
                self.issue(cdn, key, "user1|a", "*", "*", ip, uses, expires_in_s=10**8, signature="", good_for_ms=0)

    # What changes

    @rule(
        cdn=st.sampled_from(CDNS),
        key=keys.filter(bool),
        password=passes.filter(bool),
        app=patterns,
        video=patterns,
        ip=ip_rules,
        uses=st.integers(0, 3),
        expires_in_s=st.sampled_from([-10, 60, 3_600, 10**8, 10**8]),
        signature=signatures,
        good_for_ms=st.sampled_from([-1, 300_000, 300_000]),
    )
    def issue(
        self, cdn: int, key: str, password: str, app: str, video: str, ip: str, uses: int, expires_in_s: int,
        signature: str, good_for_ms: int,
    ) -> None:  # fmt: skip
        expires_s = self.wall_ms // 1000 + expires_in_s
        # A signature covers its timestamp, so however often it comes it is good until the same instant.
        until_ms = self.until_ms.setdefault(signature, self.wall_ms + good_for_ms)
        wanted = ticket(cdn, key, password=password, app=app, video=video, ip=ip, uses_limit=uses, expires_s=expires_s)
        expected = self.model.issue(
            cdn,
            key,
            {"pass": password, "app": app, "video": video, "ip": ip, "uses": uses, "used": 0, "active": True,
             "expires_s": expires_s},
            signature=signature,
            until_ms=until_ms,
            now_ms=self.wall_ms,
        )  # fmt: skip
        try:
            self.run(
                self.usher.issue_ticket(
                    wanted, api_key="KEY", replay_digest=signature, replay_until_ms=until_ms if signature else 0
                )
            )
            said = "issued"
        except ReplayedCommand:
            said = "replayed"
        except AlreadyExists:
            said = "exists"
        assert said == expected

    @rule(operation=operations)
    def ask_alone(self, operation: tuple[str, int, Any, str, int | None]) -> None:
        self.ask_together([operation])

    @rule(drawn=st.lists(operations, min_size=4, max_size=16))
    def ask_together(self, drawn: list[tuple[str, int, Any, str, int | None]]) -> None:
        """All at once: they share a batch, in this order."""
        together = [asked for operation in drawn for asked in self.asked_by(*operation)]
        self.asked_last = (self.asked_last + [asked for asked in together if asked[3]])[-6:]
        expected: list[object] = []
        for kind, cdn, what, attempt_id in together:
            if kind == "revoke":
                expected.append(self.model.revoke(cdn, what, now_ms=self.wall_ms))
            else:
                expected.append(self.model.attempt(cdn, what, attempt_id=attempt_id, now_ms=self.wall_ms))

        async def ask_all() -> list[object]:
            return list(await asyncio.gather(*[self.ask(*operation) for operation in together]))

        assert self.run(ask_all()) == expected

    def asked_by(self, kind: str, cdn: int, what: Any, attempt_id: str, which: int | None) -> list[Asked]:
        tickets = list(self.model.tickets[cdn].items())
        if kind == "attempt" and which is not None and tickets:
            key, kept = tickets[which % len(tickets)]
            what = {**what, "key": key, "pass": kept["pass"]}
        if kind == "repeat":
            return self.asked_last[which : which + 1] if which is not None else []
        if attempt_id == "new":
            self.ids_used += 1
        attempt_id = f"0192e4a8-7c3f-7d52-9f0a-{self.ids_used:012x}" if attempt_id else ""
        return [(kind, cdn, what, attempt_id)]

    async def ask(self, kind: str, cdn: int, what: Any, attempt_id: str) -> object:
        if kind == "revoke":
            try:
                await self.usher.revoke_ticket(cdn, what)
            except UnknownTicket:
                return "unknown"
            return "revoked"
        asked = {("password" if name == "pass" else name): value for name, value in what.items()}
        try:
            decision = await self.usher.authorize(request(cdn, attempt_id=attempt_id, **asked))
        except AttemptIdReused:
            return "reused", 0
        return decision.reason.value, decision.attempt

    @rule(step_ms=st.sampled_from([-3_600_000, -1, 1, 59_000, 1_800_000, 3_600_001, 31 * DAY_MS]))
    def let_the_clock_step(self, step_ms: int) -> None:
        self.wall_ms += step_ms

    @rule()
    def restart(self) -> None:
        """The log stays open, for a start of its process takes a second; the crash tests restart that too."""
        for part in self.to_close:
            self.run(part.close())
        self.usher = self.run(self.open())

    # Shipping must change no answer

    @rule(cdn=st.sampled_from(CDNS), search=searches, by=st.sampled_from(GroupBy))
    def count_ship_and_count(self, cdn: int, search: dict[str, Any], by: GroupBy) -> None:
        self.compare(cdn, search, by, seek=0, limit=3)
        self.run(self.usher.shipper.ship_all())
        self.compare(cdn, search, by, seek=0, limit=3)

    @rule(step=st.sampled_from(Step), cdn=st.sampled_from(CDNS), search=searches, by=st.sampled_from(GroupBy))
    def stop_in_the_middle_of_a_block(self, step: Step, cdn: int, search: dict[str, Any], by: GroupBy) -> None:
        self.stop_at = step
        try:
            self.run(self.ship_until_stopped())
        finally:
            self.stop_at = None
        self.compare(cdn, search, by, seek=1, limit=2)

    async def ship_until_stopped(self) -> None:
        try:
            await self.usher.shipper.ship_next()
        except Stopped:
            return

    @rule(
        cdn=st.sampled_from(CDNS),
        search=searches,
        by=st.sampled_from(GroupBy),
        seek=st.integers(0, 5),
        limit=st.integers(1, 40),
    )
    def compare(self, cdn: int, search: dict[str, Any], by: GroupBy, seek: int, limit: int) -> None:
        found = self.model.found(cdn, search)
        groups = self.model.groups(cdn, search, by.value)
        wanted = attempt_filter(search)
        counted = self.run(self.usher.count_attempts(cdn, wanted))
        listed = self.run(self.usher.list_attempts(cdn, wanted, seek=seek, limit=limit))
        grouped = self.run(self.usher.group_attempts(cdn, wanted, by, seek=seek, limit=limit))

        assert counted == len(found)
        assert [row(attempt) for attempt in listed] == found[seek : seek + limit]
        assert [(group.value, group.count) for group in grouped.groups] == groups[seek : seek + limit]
        assert (grouped.group_count, grouped.total) == (len(groups), len(found))
        type(self).compared += 1

    @invariant()
    def tickets_and_totals_are_the_models(self) -> None:
        for cdn in CDNS:
            assert self.run(self.usher.count_attempts(cdn, attempt_filter({}))) == len(self.model.found(cdn, {}))
            for key, kept in self.model.tickets[cdn].items():
                found = self.run(self.usher.ticket(cdn, key))
                assert (found.active, found.ip, found.uses_taken, found.used_s) == (
                    kept["active"],
                    kept["ip"],
                    kept["used"],
                    self.model.used_s[cdn, key],
                )

    def teardown(self) -> None:
        try:
            assert self.run(self.usher.check()) == []
        finally:
            self.run(self.usher.close())
            self.runner.close()
            shutil.rmtree(self.folder)


class WithoutALog(UsherBesideModel):
    def make_log(self) -> AttemptLog:
        return LedgerOnlyLog()


class WithAPlainList(UsherBesideModel):
    def make_log(self) -> AttemptLog:
        return PlainListLog()


class WithChdb(UsherBesideModel):
    def make_log(self) -> AttemptLog:
        return open_embedded_log(self.folder / "log", memory_bytes_max=1_500_000_000, count_s_max=30)


# A failure is shrunk to a short program, which takes its time.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("machine", "examples", "steps"), [(WithoutALog, 15, 30), (WithAPlainList, 25, 30), (WithChdb, 3, 25)]
)
def test_whatever_is_done_usher_says_what_the_model_says(
    machine: type[UsherBesideModel], examples: int, steps: int, promise: Promise
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    promise("Counted exactly once", counts_compared_with_the_model=machine.compared)
