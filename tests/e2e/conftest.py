"""One node that most end-to-end tests share: each of their modules has an account of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes import Node, running_node
from tests.sevuclient import Account, Connection


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("e2e") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="module")
def account(node: Node, request: pytest.FixtureRequest) -> Account:
    return node.create_account(request.module.__name__)


@pytest.fixture
def connection(node: Node) -> Iterator[Connection]:
    with node.connect() as connected:
        yield connected
