"""sevu.errorlog and sevu.errorcount: what is asked, and the members of the answers (SEVU facts, 2.4, 2.5 and 4)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.address import NOT_SAID, format_address
from openusher.model.attempt import Attempt, Reason, user_of
from openusher.model.limits import KEY_BYTES_MAX, PASS_BYTES_MAX
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue
from openusher.sevu.dates import format_instant
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters
from openusher.sevu.search import read_name, read_net, read_page

_WORD_BYTES_MAX = 64


class ListAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """The newest matching attempts, `limit` of them (1 to 10,000) after the first `seek`."""

    search: AttemptFilter
    limit: int
    seek: int


class CountAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """How many attempts match, in the window of `limit` (None: no limit) after the first `seek`."""

    search: AttemptFilter
    limit: int | None
    seek: int

    def in_window(self, total: int) -> int:
        """How many of `total` matches the window shows."""
        after_seek = max(0, total - self.seek)
        return after_seek if self.limit is None else min(self.limit, after_seek)


class GroupAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """How many attempts match, and their groups: `limit` of these (1 to 10,000) after the largest `seek`."""

    search: AttemptFilter
    by: GroupBy
    limit: int
    seek: int


def read_errorlog(parameters: Parameters, *, cdn: int, now_s: int) -> ListAttempts:
    """Read sevu.errorlog. `limit` left out or 0 is 100. `before_id` and `after_id` page without skipping or repeating
    while attempts arrive. Raises InvalidParameter."""
    search = within_ids(read_search(parameters, now_s=now_s), parameters)
    limit, seek = read_page(parameters)
    return ListAttempts(search=search, limit=limit, seek=seek)


def read_errorcount(parameters: Parameters, *, cdn: int, now_s: int) -> CountAttempts | GroupAttempts:
    """Read sevu.errorcount. `limit` left out or 0 is no limit; with `group_by`, `limit` and `seek` page the groups,
    100 if left out or 0. Raises InvalidParameter."""
    search = read_search(parameters, now_s=now_s)
    by = _read_group_by(parameters)
    if by is not None:
        limit, seek = read_page(parameters)
        return GroupAttempts(search=search, by=by, limit=limit, seek=seek)
    return CountAttempts(search=search, limit=parameters.whole("limit") or None, seek=parameters.whole("seek") or 0)


def read_search(parameters: Parameters, *, now_s: int) -> AttemptFilter:
    """Read the filters that both commands take (SEVU rulings). `starttime` and `datetime` are one lower bound; given
    both, both must hold. Raises InvalidParameter."""
    from_s = [
        instant
        for instant in (parameters.instant("starttime", now_s=now_s), parameters.instant("datetime", now_s=now_s))
        if instant is not None
    ]
    before_s = parameters.instant("endtime", now_s=now_s)
    return AttemptFilter(
        key=parameters.text("key", bytes_max=KEY_BYTES_MAX),
        password=parameters.text("pass", bytes_max=PASS_BYTES_MAX),
        user=parameters.text("user", bytes_max=PASS_BYTES_MAX),
        app=read_name(parameters, "app"),
        video=read_name(parameters, "video"),
        ip=read_net(parameters, "ip"),
        accepted=parameters.flag("success"),
        reason=_read_reason(parameters),
        server_ip=read_net(parameters, "server_ip"),
        from_ms=max(from_s) * 1_000 if from_s else None,
        before_ms=None if before_s is None else before_s * 1_000,
    )


def within_ids(search: AttemptFilter, parameters: Parameters) -> AttemptFilter:
    """`search` with `before_id` and `after_id`. Raises InvalidParameter."""
    before_id, after_id = parameters.whole("before_id"), parameters.whole("after_id")
    return msgspec.structs.replace(search, before_id=before_id, after_id=after_id)


def _read_reason(parameters: Parameters) -> Reason | None:
    text = parameters.text("reason", bytes_max=_WORD_BYTES_MAX)
    if text is None:
        return None
    try:
        return Reason(text)
    except ValueError:
        taken = ", ".join(f'"{reason}"' for reason in Reason if reason)
        raise InvalidParameter("reason", f"unknown; give one of {taken}") from None


def _read_group_by(parameters: Parameters) -> GroupBy | None:
    text = parameters.text("group_by", bytes_max=_WORD_BYTES_MAX)
    if text is None:
        return None
    try:
        return GroupBy(text)
    except ValueError:
        raise InvalidParameter("group_by", f"unknown; give one of {', '.join(GroupBy)}") from None


def attempts_members(attempts: Sequence[Attempt]) -> dict[str, JsonValue]:
    """What the answer to sevu.errorlog carries. `attempts`, newest first, stand under both names that clients may
    look for, `count` says how many they are."""
    rows: list[JsonValue] = [attempt_members(attempt) for attempt in attempts]
    return {"count": len(rows), "attempts": rows, "data": rows}


def attempt_members(attempt: Attempt) -> dict[str, JsonValue]:
    """One attempt as a row: ScaleEngine's fields in its order (SEVU facts, 4), then two of ours."""
    return {
        "id": attempt.id,
        "datetime": format_instant(attempt.at_ms // 1_000),
        "key": attempt.key,
        "pass": attempt.password,
        "ip": format_address(attempt.ip),
        "video": attempt.video,
        "app": attempt.app,
        "appinst": attempt.appinst,
        "pageurl": attempt.pageurl,
        "refurl": attempt.refurl,
        "success": 0 if attempt.reason else 1,
        "reason": attempt.reason,
        "server_ip": _server_text(attempt.server_ip),
        "user": user_of(attempt.password),
        "user_agent": attempt.user_agent,
    }


def count_members(asked: CountAttempts, total: int) -> dict[str, JsonValue]:
    """What the answer to sevu.errorcount carries: `error_count`, and `total_count` only when `limit` or `seek` hid
    some of the `total` matches."""
    shown = asked.in_window(total)
    return {"error_count": shown} if shown == total else {"error_count": shown, "total_count": total}


def groups_members(
    asked: GroupAttempts, groups: Sequence[Group], *, group_count: int, total: int
) -> dict[str, JsonValue]:
    """What it carries with `group_by`: the whole count, the page's `groups` in order, and how many there are in all."""
    rows: list[JsonValue] = [{"value": _shown(asked.by, group.value), "count": group.count} for group in groups]
    return {"error_count": total, "groups": rows, "group_count": group_count}


def _shown(by: GroupBy, value: GroupValue) -> str | int:
    """A group's value as people read it (how it is held: `search.GroupValue`)."""
    if isinstance(value, str):
        return value
    match by:
        case GroupBy.IP:
            return format_address(value)
        case GroupBy.SERVER_IP:
            return _server_text(value)
        case GroupBy.HOUR:
            return format_instant(value)
        case GroupBy.DAY:
            return format_instant(value)[:10]
        case _:
            return value


def _server_text(address: int) -> str:
    return "" if address == NOT_SAID else format_address(address)
