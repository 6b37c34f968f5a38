"""Writes a line for an answered request, `http.answered`, with what was learnt of it; of a flood, one line a second.

Only what is ours is written: the route's template, never a path, query, header or body; the names and numbers of edges
and accounts; reasons and codes of our tables. So nobody can write into the log, nor make it long.
"""

from __future__ import annotations

import logging
from typing import Any

from openusher.errors import InvalidParameter
from openusher.logs import event_log
from openusher.logs.floods import Floods
from openusher.model.attempt import Decision
from openusher.watching import Verdict
from openusher.web.observed import Commanded, Observed, Outcome, outcome_of

# Of all kinds together, whatever strangers ask.
_LINES_S_MAX = 100
# Looked up once, as in observed.py.
_FOLLOWED, _DONE, _BAD_INPUT = Outcome.FOLLOWED, Outcome.DONE, Outcome.BAD_INPUT
_LEVELS = {
    _FOLLOWED: logging.DEBUG,
    Outcome.NOT_AUTHORISED: logging.WARNING,
    Outcome.NOT_PUBLISHED: logging.WARNING,
    Outcome.BUSY: logging.WARNING,
    Outcome.UNAVAILABLE: logging.ERROR,
    Outcome.FAULT: logging.ERROR,
}

log = event_log()


class RequestLog:
    """The observer that writes."""

    def __init__(self) -> None:
        self._floods = Floods(self._tell_left_out, lines_s_max=_LINES_S_MAX)
        self._least = logging.getLogger("openusher").getEffectiveLevel()

    def __call__(self, observed: Observed) -> None:
        outcome, reason = outcome_of(observed)
        if outcome is _FOLLOWED and self._least > logging.DEBUG:
            # Most requests are, by far.
            return
        level = _level(observed, outcome)
        if level < self._least:
            return
        kind = (level, observed.route, observed.status, outcome, reason)
        if self._floods.passes(kind, second=int(observed.began)):
            log.log(level, "http.answered", limited=True, **_fields(observed, outcome, reason))

    def _tell_left_out(self, kind: Any, left_out: int) -> None:
        level, route, status, outcome, reason = kind or (logging.WARNING, None, None, None, None)
        same = {"route": route, "status": status, "outcome": outcome, "reason": reason or None}
        log.log(level, "http.answered", limited=True, **same, suppressed=left_out)


def _level(observed: Observed, outcome: Outcome) -> int:
    if outcome is _DONE:
        # A media server told something; a balancer, or somebody's own tools, looked.
        return logging.DEBUG if observed.edge is not None or observed.method == "GET" else logging.INFO
    if outcome is _BAD_INPUT and observed.edge is not None:
        # A media server that does not ask as it should lets nobody in.
        return logging.WARNING
    return _LEVELS.get(outcome, logging.INFO)


def _fields(observed: Observed, outcome: Outcome, reason: str) -> dict[str, Any]:
    """None for what is not known, which is then left out."""
    edge, learnt = observed.edge, observed.learnt
    fields: dict[str, Any] = {
        "route": observed.route,
        "method": observed.method,
        "status": observed.status,
        "outcome": outcome,
        "reason": reason or None,
        "ms": round(observed.seconds * 1_000, 1),
        "peer": observed.peer or None,
        "kind": observed.kind or None,
    }
    if edge is not None:
        fields |= {"account": edge.cdn, "edge": edge.number, "edge_name": edge.name}
    elif observed.cdn:
        fields["account"] = observed.cdn
    decision = learnt.decision if isinstance(learnt, Verdict) else learnt
    if isinstance(decision, Decision):
        fields["attempt"] = decision.attempt
    if isinstance(learnt, Commanded):
        fields |= {
            "command": learnt.command or None,
            "code": learnt.code,
            "account": learnt.cdn or None,
            "api_key": learnt.api_key or None,
        }
    error = learnt.error if isinstance(learnt, Commanded) else learnt
    if isinstance(error, InvalidParameter) and not error.is_callers_name:
        fields["field"] = error.field or None
    return fields
