"""Errors of a ledger in another process: each comes to the door as the ledger raised it."""

from __future__ import annotations

import msgspec
import pytest

from openusher.errors import Busy, CommandRefused, CommitUnknown, InvalidParameter, NotAuthorised, UsherError
from openusher.ledger.apart.wire import Failure, encoder, error_of, failure_of


@pytest.mark.parametrize(
    "error",
    [
        InvalidParameter("ip", "no address; give one"),
        InvalidParameter("tyop", "is no parameter", is_callers_name=True),
        CommandRefused(2013, "Timestamp Outside Range", debug="3 days"),
        Busy("the node is at its limit", retry_after_s=30),
        CommitUnknown("perhaps"),
        NotAuthorised("no such edge token"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_on_the_other_side(error: UsherError) -> None:
    came = error_of(msgspec.json.decode(encoder.encode(failure_of(error)), type=Failure))

    assert (type(came), str(came), vars(came)) == (type(error), str(error), vars(error))
