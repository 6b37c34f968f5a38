"""One node that most end-to-end tests share: each of their modules has an account of its own on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.busysite import BusySite
from tests.nodes import Node, running_node
from tests.servers.ports import free_port
from tests.sevuclient import Account, Connection


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("e2e") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, BusySite]]:
    """A node with an attempt log that has been asked for everything, and the site that has asked it."""
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--ship-rows", "5", "--ship-age-s", "0.2", "--metrics", metrics)
    with running_node(tmp_path_factory.mktemp("busy") / "data", *flags) as started:
        site = BusySite(started, f"http://{metrics}")
        site.ask_all()
        yield started, site


@pytest.fixture(scope="module")
def account(node: Node, request: pytest.FixtureRequest) -> Account:
    return node.create_account(request.module.__name__)


@pytest.fixture
def connection(node: Node) -> Iterator[Connection]:
    with node.connect() as connected:
        yield connected


@pytest.fixture
def new_node() -> Iterator[Callable[..., Node]]:
    """Makes a node of a test's own, as `Node` does; it is ended with the test, however that goes."""
    with contextlib.ExitStack() as ends:

        def made(*arguments: Any, **named: Any) -> Node:
            node = Node(*arguments, **named)
            ends.callback(node.end)
            return node

        yield made
