"""What searches of every kind take: names, nets, and a page of what was found."""

from __future__ import annotations

from openusher.errors import InvalidParameter
from openusher.model.address import Net, parse_filter_net
from openusher.model.limits import APP_BYTES_MAX, VIDEO_BYTES_MAX
from openusher.model.pattern import Pattern, is_pattern, parse_pattern
from openusher.sevu.parameters import Parameters

ROWS_DEFAULT = 100
ROWS_MAX = 10_000
# How deep a search may page: what lies before the window has to be read too.
WINDOW_END_MAX = 1_000_000
_NET_BYTES_MAX = 64
_NAME_BYTES_MAX = {"app": APP_BYTES_MAX, "video": VIDEO_BYTES_MAX}


def read_name(parameters: Parameters, name: str) -> str | Pattern | None:
    """`app` or `video`, exact or as a pattern. Raises InvalidParameter."""
    text = parameters.text(name, bytes_max=_NAME_BYTES_MAX[name])
    return parse_pattern(name, text) if text is not None and is_pattern(text) else text


def read_net(parameters: Parameters, name: str) -> Net | None:
    """An address or a net. Raises InvalidParameter."""
    text = parameters.text(name, bytes_max=_NET_BYTES_MAX)
    return None if text is None else parse_filter_net(name, text)


def read_page(parameters: Parameters) -> tuple[int, int]:
    """`limit` (100 if left out or 0) and `seek`. Raises InvalidParameter."""
    limit = parameters.whole("limit", most=ROWS_MAX) or ROWS_DEFAULT
    seek = parameters.whole("seek", most=WINDOW_END_MAX) or 0
    if seek + limit > WINDOW_END_MAX:
        raise InvalidParameter("seek", f"seek and limit together exceed {WINDOW_END_MAX}; narrow the search")
    return limit, seek
