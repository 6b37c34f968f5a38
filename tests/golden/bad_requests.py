"""Requests to the SEVU endpoint that must be refused, each with the code and words of its answer.

Plain data, made with the standard library alone. `bad_requests(...)` gives the whole table for one account: every row
is a complete POST body, signed as a real client signs wherever the flaw lies behind the signature. A row changes
nothing, is at most 64 KiB long, and is answered with HTTP status 200. It takes an active account `cdn` with `api_key`
and `secret`, `now` in unix seconds, and the usual window of 300 s.
"""

from __future__ import annotations

from tests.golden.bad_commands import bad_common_members, bad_signatures
from tests.golden.bad_parameters import bad_parameters, missing_parameters
from tests.golden.bad_texts import bad_forms, bad_json
from tests.golden.signed_requests import Account, BadRequest


def bad_requests(*, api_key: str, secret: str, cdn: int, now: int) -> list[BadRequest]:
    """The table for one account; names are unique."""
    account = Account(api_key, secret, cdn, now)
    return [
        *bad_forms(account),
        *bad_json(account),
        *bad_common_members(account),
        *bad_signatures(account),
        *missing_parameters(account),
        *bad_parameters(account),
    ]
