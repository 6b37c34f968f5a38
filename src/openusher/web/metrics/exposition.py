"""Writes a reading as Prometheus takes it, and answers `GET /metrics` with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.routing import Route

from openusher.tally import Distribution
from openusher.web.asgi import Receive, Scope, Send, header, send_answer
from openusher.web.metrics.families import Family, Kind
from openusher.web.metrics.readings import Reading, Readings
from openusher.web.observed import observed_of

PATH = "/metrics"
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class MetricsApp:
    """`GET /metrics` and nothing else: what listens for Prometheus over TCP, and a route of the admin API.

    Those who ask at the same time are answered one after the other: many of them shall not take a node's time from
    viewers.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != PATH:
            await send_answer(send, 404, b"nothing here but /metrics\n", _TEXT)
            return
        observed_of(scope).route = PATH
        if scope["method"] not in ("GET", "HEAD"):
            await send_answer(send, 405, b"send a GET\n", _TEXT, (b"allow", b"GET"))
            return
        body, content_type = await self._answer(header(scope["headers"], b"accept").decode("latin-1"))
        await send_answer(send, 200, body, (b"content-type", content_type.encode()))

    async def _answer(self, accept: str) -> tuple[bytes, str]:
        async with self._turn:
            reading = await self._readings.read()
            # Not on the loop: with many edges it takes longer than a decision may wait.
            return await asyncio.to_thread(exposition, reading, accept)

    @property
    def route(self) -> Route:
        return Route(PATH, self)


def exposition(reading: Reading, accept: str) -> tuple[bytes, str]:
    """A reading as text, in the form that `accept` prefers, and what that form is called."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(reading))
    ProcessCollector(registry=registry)
    for name, pid in (("usher_ledger", reading.ledger_pid), ("usher_log", reading.log_pid)):
        if pid is not None:
            ProcessCollector(namespace=name, pid=partial(str, pid), registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Values(Collector):
    """The library asks it for all that was read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        for family, values in self._reading.values.items():
            yield _metric(family, values)


def _metric(family: Family, values: dict[tuple[str, ...], float | Distribution]) -> Metric:
    name, means, labels = family.name, family.means, family.labels
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, means, labels=labels)
        for of, value in values.items():
            assert isinstance(value, Distribution)
            histogram.add_metric(of, buckets=_buckets(value), sum_value=value.total)
        return histogram
    of_kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = of_kind(name, means, labels=labels)
    for of, value in values.items():
        assert not isinstance(value, Distribution)
        metric.add_metric(of, value)
    return metric


def _buckets(spread: Distribution) -> list[tuple[str, float]]:
    """How many values are up to each bound, as text, and up to any."""
    bounds = [*map(floatToGoString, spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(spread.counts), strict=True))
