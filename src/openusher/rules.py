"""The admission rules: may this ticket start this video?"""

from __future__ import annotations

from openusher.model.attempt import AttemptRequest, Cut, Reason, Verdict
from openusher.model.iprule import parse_ip_rule
from openusher.model.pattern import parse_pattern
from openusher.model.ticket import Ticket

_ACCEPTED = Verdict(Reason.NONE)
# As plain numbers: arithmetic on the flags themselves costs a microsecond a time, and this runs for every attempt.
_TOKEN_CUT = int(Cut.KEY | Cut.PASS)
_APP_CUT = int(Cut.APP)
_VIDEO_CUT = int(Cut.VIDEO)


def decide(ticket: Ticket | None, request: AttemptRequest, *, now_ms: int) -> Verdict:
    """Say whether `ticket` may start this video and, if not, the first reason against it.

    Pure. The ledger calls it inside the transaction that takes the use, so that two requests for the last use cannot
    both win. `ticket` is None for a key nobody issued; `now_ms` is unix time in milliseconds, one instant a batch.
    Order of checks: SEVU rulings, "order of checks". A field that had to be cut cannot be the one the ticket names.
    """
    if not request.key or not request.password:
        return Verdict(Reason.MISSING_TOKEN)
    # An unknown key and a wrong pass get one answer: two would tell a stranger which keys exist.
    if ticket is None or request.cut & _TOKEN_CUT or not ticket.opens_with(request.password):
        return Verdict(Reason.INVALID_TOKEN)
    if not ticket.active:
        return Verdict(Reason.REVOKED)
    if has_expired(ticket, now_ms=now_ms):
        return Verdict(Reason.EXPIRED)
    if request.cut & _APP_CUT or not parse_pattern("app", ticket.app).matches(request.app):
        return Verdict(Reason.INVALID_APP)
    if request.cut & _VIDEO_CUT or not parse_pattern("video", ticket.video).matches(request.video):
        return Verdict(Reason.INVALID_VIDEO)
    rule = parse_ip_rule(ticket.ip)
    bound_ip = None
    if not rule.admits(request.ip):
        bound_ip = rule.bound(request.ip)
        if bound_ip is None:
            return Verdict(Reason.INVALID_IP)
    if not ticket.unlimited and ticket.uses_taken >= ticket.uses_limit:
        return Verdict(Reason.USES_EXCEEDED)
    return _ACCEPTED if bound_ip is None else Verdict(Reason.NONE, bound_ip)


def has_expired(ticket: Ticket, *, now_ms: int) -> bool:
    """A ticket is good until its second of expiry begins."""
    return now_ms >= ticket.expires_s * 1000
