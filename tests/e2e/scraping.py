"""What Prometheus would read of a node, looked up by name and labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from openusher.ledger.folder import ADMIN_SOCKET, short_path

_TIMES_MAX = 10


class Scraped:
    """One exposition in the text format 0.0.4."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name which have these labels; there must be one."""
        found = [each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items()]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The samples of that name that are not zero, by the values of these labels."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self.samples:
            if sample.name == name and sample.value:
                values = tuple(sample.labels[label] for label in labels)
                found[values] = found.get(values, 0) + sample.value
        return found


def scraped(url: str) -> Scraped:
    """What a node shows at `url`, which is http://host:port."""
    with httpx.Client(base_url=url, timeout=30) as client:
        return scraped_by(client)


def scraped_by(client: httpx.Client) -> Scraped:
    """All that a node shows: on a busy machine a part of it may not answer in time, and is missing once."""
    for _ in range(_TIMES_MAX):
        answer = client.get("/metrics")
        assert answer.status_code == 200, answer.text
        seen = Scraped(answer.text)
        if {"usher_pending_attempts", "usher_commit_seconds"} <= {family.name for family in seen.families}:
            return seen
    raise AssertionError("the ledger does not answer")


@contextmanager
def admin_client(data: Path) -> Iterator[httpx.Client]:
    """A client of the admin socket of the node on `data`."""
    with short_path(data) as folder:
        transport = httpx.HTTPTransport(uds=f"{folder}/{ADMIN_SOCKET}")
        with httpx.Client(transport=transport, base_url="http://admin", timeout=30) as client:
            yield client
