"""What Hypothesis draws for test_model.py: few of each, so that operations meet, and what has caught out searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from openusher.model.search import GroupBy
from tests.conformance.asking import NOON_MS, PATTERNS, REASONS
from tests.conformance.looks import Look

CDNS = (1, 2)
# Kind, account, question or key, attempt_id, and which of the account's tickets or of what was asked last.
Operation = tuple[str, int, Any, str, int | None]
# Kind, account, question or key, attempt_id.
Asked = tuple[str, int, Any, str]
ASKED_LAST = 6

keys = st.sampled_from(["k", "K", "a%b_c", "é'\"\\", ""])
passes = st.sampled_from(["user1|a", "user1|b", "user1", "a%b_c|x", "axbyc|x", ""])
names = st.sampled_from(
    ["live", "a%b_c", "axbyc", "it's", '"q"', "back\\slash", "é", "e\u0301", "*", "a|b", "😀", "tab\t"]
)
patterns = st.sampled_from(["*", "*", "live", "a%b_c|live", "a*c", "*%*", "é|*'s", "a|b"])
addresses = st.sampled_from(["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1", "2001:db8:0:1::1", "::"])
nets = st.sampled_from(
    ["192.0.2.1", "192.0.2.0/24", "192.0.2.0/25", "2001:db8::/64", "2001:db8::/48", "0.0.0.0/0", "::/1", "::/0"]
)
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
_members: dict[str, st.SearchStrategy[Any]] = {
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
}
# Most searches of many members find nothing.
searches: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(sorted(_members)).flatmap(lambda name: st.fixed_dictionaries({name: _members[name]})),
    st.fixed_dictionaries({}, optional=_members),
)
# A question as it is; one that names a ticket of the account and its pass; one that was asked before; a revocation.
operations: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.none()),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("attempt"), st.sampled_from(CDNS), questions, attempt_ids, st.integers(0, 5)),
    st.tuples(st.just("repeat"), st.sampled_from(CDNS), st.none(), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("revoke"), st.sampled_from(CDNS), keys, st.just(""), st.none()),
)
# A whole page often, so that nothing between ledger and log can hide behind its end.
looks = st.builds(
    Look,
    st.sampled_from(CDNS),
    searches,
    st.sampled_from(GroupBy),
    seek=st.sampled_from([0, 0, 0, 1, 3, 5]),
    limit=st.sampled_from([40, 40, 1, 2, 3, 10]),
)
# How old an attempt may be that is still kept, by the clock that decides: below zero, none is.
ages_ms = st.sampled_from([3_600_000, 1, 60_000, 0, 7_200_000, 31 * 86_400_000, -1])
# From how many waiting attempts on a shipper ships by itself: all the time, now and then, never.
ships_from = st.sampled_from([3, 10, 100_000])
# Of how many questions the counts are kept: of all, of too few for a look and the totals beside it, of none.
kept_counts = st.sampled_from([1_000, 1_000, 2, 0])
# How much room there is for totals: enough, for those of some and for a while, none.
kept_totals = st.sampled_from([10**6, 10**6, 8_000, 0])


class Asker:
    """Makes operations into what is asked: with a ticket that there is, with an id of its own, or once more."""

    def __init__(self) -> None:
        self._asked_last: list[Asked] = []
        self._ids_used = 0

    def asked_by(self, operations: Sequence[Operation], tickets: Mapping[int, Mapping[str, Any]]) -> list[Asked]:
        """`tickets` are those of each account by key."""
        asked = [each for operation in operations for each in self._asked(*operation, tickets)]
        self._asked_last = (self._asked_last + [each for each in asked if each[3]])[-ASKED_LAST:]
        return asked

    def _asked(
        self,
        kind: str,
        cdn: int,
        what: Any,
        attempt_id: str,
        which: int | None,
        tickets: Mapping[int, Mapping[str, Any]],
    ) -> list[Asked]:
        if kind == "repeat":
            return self._asked_last[which : which + 1] if which is not None else []
        if kind == "attempt" and which is not None and tickets[cdn]:
            known = list(tickets[cdn].items())
            key, kept = known[which % len(known)]
            what = {**what, "key": key, "pass": kept["pass"]}
        if attempt_id == "new":
            self._ids_used += 1
        attempt_id = f"0192e4a8-7c3f-7d52-9f0a-{self._ids_used:012x}" if attempt_id else ""
        return [(kind, cdn, what, attempt_id)]
