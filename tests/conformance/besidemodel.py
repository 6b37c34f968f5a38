"""A node beside a plain model of it, and what may be done to both; test_model.py runs it over each kind of log."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from openusher.attemptlog.base import AttemptLog
from openusher.errors import (
    AlreadyExists,
    AttemptIdReused,
    LogUnavailable,
    ReplayedCommand,
    UnknownTicket,
)
from openusher.gate import Gate
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import GroupBy
from openusher.model.ticket import Ticket
from openusher.shipper import Shipper, Step
from openusher.usher import Usher
from tests.conformance import drawn
from tests.conformance.asking import NOON_MS, attempt_filter, request, ticket
from tests.conformance.drawn import CDNS, Asked, Asker, Operation
from tests.conformance.looks import Look, Seen, at_model, at_usher
from tests.oracles import attempt_rows
from tests.oracles.usher_model import Model

T = TypeVar("T")
DAY_MS = 86_400_000
# Of the looks so far, those that are taken again.
LOOKS_KEPT = 6


class Stopped(LogUnavailable):
    """The log goes away in the middle of a block."""


class UsherBesideModel(RuleBasedStateMachine):
    """One node with two accounts. Each rule does the same to both and compares."""

    # A process for the log takes a second to start.
    restarts_max = 1_000
    indexed = False
    compared = 0
    compared_beside = 0
    shipped_by_itself = 0
    forgot = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.wall_ms = NOON_MS
        self.stop_at: Step | None = None
        self.until_ms: dict[str, int] = {}
        self.asker = Asker()
        self.newest_answered = 0
        self.restarts_left = self.restarts_max
        self.looks: list[Look] = []
        self.model = Model()

    def make_log(self) -> AttemptLog:
        """The log of this example, for one start of the node: with what an earlier one was given."""
        raise AssertionError("a machine is made for one kind of log")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def start(
        self,
        attempt_log: AttemptLog,
        *,
        rows_min: int = 1,
        ships: bool = True,
        kept_counts: int = 10,
        kept_totals: int = 10**6,
    ) -> None:
        ledger = await SqliteLedger.open(self.folder / "ledger.db", indexed=self.indexed)
        await attempt_log.start()
        gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: self.wall_ms)
        shipper = Shipper(
            ledger,
            attempt_log,
            rows_min=rows_min,
            age_s_max=10**9,
            wall_ms=lambda: self.wall_ms,
            on_step=self.on_step,
        )
        self.usher = Usher(
            ledger,
            attempt_log,
            gate,
            shipper,
            wall_ms=lambda: self.wall_ms,
            kept_counts=kept_counts,
            kept_totals_bytes_max=kept_totals,
        )
        await self.usher.start(ships=ships)

    def on_step(self, step: Step) -> None:
        if step is self.stop_at:
            raise Stopped("away")
        task = asyncio.current_task()
        if step is Step.SHIPPED and task is not None and task.get_name() == "shipper":
            type(self).shipped_by_itself += 1

    @initialize(rows_min=drawn.ships_from, kept_counts=drawn.kept_counts, kept_totals=drawn.kept_totals)
    def begin(self, rows_min: int, kept_counts: int, kept_totals: int) -> None:
        self.run(self.start(self.make_log(), rows_min=rows_min, kept_counts=kept_counts, kept_totals=kept_totals))
        for cdn in CDNS:
            self.run(self.usher.create_account(f"account {cdn}", cdn=cdn))
            for key, ip, uses in (("k", "0.0.0.0/0", 0), ("few", "auto/24|auto", 3)):
                self.issue(cdn, key, "user1|a", "*", "*", ip, uses, expires_in_s=10**8, signature="", good_for_ms=0)

    # What changes

    @rule(
        cdn=st.sampled_from(CDNS),
        key=drawn.keys.filter(bool),
        password=drawn.passes.filter(bool),
        app=drawn.patterns,
        video=drawn.patterns,
        ip=drawn.ip_rules,
        uses=st.integers(0, 3),
        expires_in_s=st.sampled_from([-10, 60, 3_600, 10**8, 10**8]),
        signature=drawn.signatures,
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

    @rule(operation=drawn.operations)
    def ask_alone(self, operation: Operation) -> None:
        self.ask_together([operation])

    @rule(operations=st.lists(drawn.operations, min_size=4, max_size=16))
    def ask_together(self, operations: list[Operation]) -> None:
        """All at once: they share a batch, in this order."""
        asked, expected = self.expect(operations)

        assert self.run(self.ask_in_turn([asked])) == expected

    @rule(
        operations=st.lists(drawn.operations, min_size=4, max_size=16),
        together=st.integers(1, 4),
        ships=st.booleans(),
        look=drawn.looks,
    )
    def look_while_others_ask(self, operations: list[Operation], together: int, ships: bool, look: Look) -> None:
        """Each look shows one moment: no attempt that is not yet decided, and all that were answered before it."""
        asked, expected = self.expect(operations)
        turns = [asked[first : first + together] for first in range(0, len(asked), together)]
        answers, looks = self.run(self.look_beside(look, self.ask_in_turn(turns, ships=ships)))

        assert answers == expected
        self.compare_beside(look, looks)
        self.compare(look)

    def expect(self, operations: list[Operation]) -> tuple[list[Asked], list[object]]:
        """What is asked in these operations, and what must be answered."""
        asked = self.asker.asked_by(operations, self.model.tickets)
        expected: list[object] = []
        for kind, cdn, what, attempt_id in asked:
            if kind == "revoke":
                expected.append(self.model.revoke(cdn, what, now_ms=self.wall_ms))
            else:
                expected.append(self.model.attempt(cdn, what, attempt_id=attempt_id, now_ms=self.wall_ms))
        return asked, expected

    async def ask_in_turn(self, turns: Sequence[list[Asked]], *, ships: bool = False) -> list[object]:
        """Each turn all at once, the next when it is answered, and shipped."""
        answers: list[object] = []
        for asked in turns:
            answers.extend(await asyncio.gather(*[self.ask(*each) for each in asked]))
            if ships:
                await self.usher.shipper.ship_next()
        return answers

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
        self.newest_answered = max(self.newest_answered, decision.attempt)
        return decision.reason.value, decision.attempt

    @rule(step_ms=st.sampled_from([-3_600_000, -1, 1, 59_000, 1_800_000, 3_600_001, 31 * DAY_MS]))
    def let_the_clock_step(self, step_ms: int) -> None:
        self.wall_ms += step_ms

    @precondition(lambda self: self.restarts_left > 0)
    @rule(rows_min=drawn.ships_from)
    def restart(self, rows_min: int) -> None:
        """Every part, whatever the shipper is at. Ready is only who has verified what it shipped."""
        self.restarts_left -= 1
        self.run(self.usher.close())
        self.run(self.start(self.make_log(), rows_min=rows_min))
        self.run(self.usher.check_ready())

    # Shipping must change no answer

    @rule(look=drawn.looks)
    def look_before_while_and_after_shipping(self, look: Look) -> None:
        self.compare(look)
        _, looks = self.run(self.look_beside(look, self.usher.shipper.ship_all()))
        self.compare_beside(look, looks)
        self.compare(look)

    @rule(step=st.sampled_from(Step), look=drawn.looks)
    def stop_in_the_middle_of_a_block(self, step: Step, look: Look) -> None:
        self.stop_at = step
        try:
            _, looks = self.run(self.look_beside(look, self.ship_until_stopped()))
        finally:
            self.stop_at = None
        self.compare_beside(look, looks)
        self.compare(look)

    async def ship_until_stopped(self) -> None:
        try:
            await self.usher.shipper.ship_next()
        except Stopped:
            return

    # What is forgotten is in no answer, and what is anonymised in all; to do the same to ledger and log changes none

    @rule(age_ms=drawn.ages_ms, look=drawn.looks)
    def forget_while_others_look(self, age_ms: int, look: Look) -> None:
        before_ms = self.model.clock_ms - age_ms
        self.compare_around(
            look,
            self.usher.reaper.forget(before_ms=before_ms),
            change=lambda: self.model.forget(before_ms=before_ms),
        )

    @rule(age_ms=drawn.ages_ms, look=drawn.looks)
    def anonymise_while_others_look(self, age_ms: int, look: Look) -> None:
        before_ms = self.model.clock_ms - age_ms
        self.compare_around(
            look,
            self.usher.reaper.anonymise(before_ms=before_ms),
            change=lambda: self.model.anonymise(before_ms=before_ms),
        )

    def compare_around(self, look: Look, work: Coroutine[Any, Any, T], *, change: Callable[[], None]) -> None:
        """Each part of each look is from before or from after it, whole."""
        before = at_model(self.model, look, upto=self.model.last_attempt)
        _, looks = self.run(self.look_beside(look, work))
        change()
        after = at_model(self.model, look, upto=self.model.last_attempt)

        for _, seen in looks:
            for which, part in enumerate(seen):
                assert part in (before[which], after[which])
        type(self).compared_beside += len(looks)
        type(self).forgot += before != after
        self.compare(look)

    @rule(look=drawn.looks)
    def take_away_while_others_look(self, look: Look) -> None:
        _, looks = self.run(self.look_beside(look, self.usher.reaper.follow()))
        self.compare_beside(look, looks)
        self.compare(look)

    @rule(look=drawn.looks)
    def compare(self, look: Look) -> None:
        self.looks = [look, *self.looks][:LOOKS_KEPT]
        self.look_again(0)

    @precondition(lambda self: self.looks)
    @rule(which=st.integers(0, LOOKS_KEPT - 1))
    def look_again(self, which: int) -> None:
        """What is kept of an earlier answer is of use however much has come, moved or gone since."""
        look = self.looks[which % len(self.looks)]
        seen = self.run(at_usher(self.usher, look))

        assert seen == at_model(self.model, look, upto=self.model.last_attempt)
        type(self).compared += 1

    async def look_beside(self, look: Look, work: Coroutine[Any, Any, T]) -> tuple[T, list[tuple[int, Seen]]]:
        """What `work` returns, and what was seen while it went on, each with the newest attempt answered before."""
        working = asyncio.ensure_future(work)
        looks = []
        try:
            while not working.done():
                looks.append((self.newest_answered, await at_usher(self.usher, look)))
        finally:
            await asyncio.wait([working])
        return working.result(), looks

    def compare_beside(self, look: Look, looks: list[tuple[int, Seen]]) -> None:
        """Each part of each look is that of some moment since the newest attempt answered before it."""
        first = looks[0][0]
        moments = [at_model(self.model, look, upto=upto) for upto in range(first, self.model.last_attempt + 1)]
        for answered, seen in looks:
            for which, part in enumerate(seen):
                assert part in [moment[which] for moment in moments[answered - first :]]
        type(self).compared_beside += len(looks)

    @invariant()
    def tickets_and_totals_are_the_models(self) -> None:
        tickets = {(cdn, key): kept for cdn in CDNS for key, kept in self.model.tickets[cdn].items()}
        totals, grouped, found = self.run(self.totals_and_tickets(list(tickets)))

        for cdn, total, groups in zip(CDNS, totals, grouped, strict=True):
            rows = self.model.found(cdn, {})
            assert (len(rows), attempt_rows.groups(rows, "reason")) == (total, groups)
        for (asked, kept), seen in zip(tickets.items(), found, strict=True):
            assert (seen.active, seen.ip, seen.uses_taken, seen.used_s) == (
                kept["active"],
                kept["ip"],
                kept["used"],
                self.model.used_s[asked],
            )

    async def totals_and_tickets(
        self, tickets: list[tuple[int, str]]
    ) -> tuple[list[int], list[list[tuple[str | int, int]]], list[Ticket]]:
        """Groups by reason are worked out from totals that are kept, where any are."""
        searching, everything = self.usher.searching, attempt_filter({})
        counting = asyncio.gather(*[searching.count(cdn, everything) for cdn in CDNS])
        grouping = asyncio.gather(*[searching.group(cdn, everything, GroupBy.REASON, limit=100) for cdn in CDNS])
        reading = asyncio.gather(*[self.usher.ticket(cdn, key) for cdn, key in tickets])
        groups = [[(group.value, group.count) for group in found.groups] for found in await grouping]
        return await counting, groups, await reading

    def teardown(self) -> None:
        try:
            # What a rule has found is what is to be shown.
            if sys.exception() is None:
                self.end()
        finally:
            self.run(self.usher.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def end(self) -> None:
        self.run(self.usher.shipper.ship_all())
        if self.restarts_left == self.restarts_max:
            self.restart(100_000)
        for cdn in CDNS:
            self.compare(Look(cdn, {}, GroupBy.VIDEO, seek=0, limit=1_000))

        # A clock that went back is a fault until it has caught up.
        self.wall_ms = max(self.wall_ms, self.model.clock_ms)
        assert self.run(self.usher.check()) == []
