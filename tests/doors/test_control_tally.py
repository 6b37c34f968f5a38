"""Kicks are counted by what became of them: paid, given up, owed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.doors.controlapi import Said
from tests.doors.controlled import DONE, RETRY_S, always, called, controlled, until

pytestmark = pytest.mark.anyio
NOT_DONE = Said(500)


async def test_a_kick_is_owed_until_the_server_has_dropped_the_connection(tmp_path: Path) -> None:
    said = itertools.chain([NOT_DONE] * 3, itertools.repeat(DONE))
    async with controlled(tmp_path, lambda method, path: next(said)) as site:
        await site.play("c1")
        await site.node.kick("K")
        await called(site.api, 2)
        owed_first = site.controller.owed
        await site.paid()
        await until(lambda: site.controller.owed == 0, "still owed")

        assert owed_first == 1
        assert (site.controller.paid, site.controller.given_up) == (1, 0)


async def test_a_kick_that_is_given_up_is_not_paid(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(NOT_DONE), give_up_s=2 * RETRY_S) as site:
        await site.play("c1")
        await site.node.kick("K")
        await site.paid()
        await until(lambda: site.controller.owed == 0, "still owed")

        assert (site.controller.paid, site.controller.given_up) == (0, 1)
