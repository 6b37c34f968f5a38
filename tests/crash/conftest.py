"""Folders that take their time to be filled, once for all tests that copy them."""

from __future__ import annotations

import pytest

from tests.crash.agedfolder import Aged


@pytest.fixture(scope="session")
def aged_with_log(tmp_path_factory: pytest.TempPathFactory) -> Aged:
    return Aged.made(tmp_path_factory.mktemp("aged") / "data")


@pytest.fixture(scope="session")
def aged_ledger_only(tmp_path_factory: pytest.TempPathFactory) -> Aged:
    return Aged.made(tmp_path_factory.mktemp("aged") / "data", "--log", "ledger")
