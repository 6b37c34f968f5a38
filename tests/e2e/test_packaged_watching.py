"""The alert rules and the board that we hand out, by a real Prometheus that reads a node which has done everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.busysite import BusySite
from tests.e2e.console import ROOT
from tests.e2e.prometheus import Prometheus, prometheus_reading, promtool
from tests.nodes import Node

pytestmark = pytest.mark.client

PACKAGED = ROOT / "packaging"
ALERTS = PACKAGED / "prometheus" / "alerts.yml"
BOARD: dict[str, Any] = json.loads((PACKAGED / "grafana" / "usher.json").read_text())
PAGE = ROOT / "docs" / "how-to" / "watch-with-prometheus.md"
# What the board lets choose, and what Grafana fills in.
_VARIABLES = {"$instance": ".*", "$job": ".*", "$__rate_interval": "1m"}
# A metric of a node, or Prometheus' own, with its matchers; not what a rule of ours has recorded.
_SELECTOR = re.compile(r"\b((?:usher|process)_\w+|up)\b(?!:)(\{[^}]*\})?")


@pytest.fixture(scope="module")
def prometheus(busy: tuple[Node, BusySite], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    target = busy[1].metrics.removeprefix("http://")
    with prometheus_reading(target, ALERTS, tmp_path_factory.mktemp("prometheus")) as started:
        yield started


def panels() -> list[Any]:
    """A case for each query of the board."""
    return [
        pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']}, {target['refId']}")
        for panel in BOARD["panels"]
        for target in panel["targets"]
    ]


def filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


# --- the rules ------------------------------------------------------------------------------------------------------


def test_the_rules_are_read_and_evaluated_without_an_error(prometheus: Prometheus) -> None:
    rules = prometheus.rules()

    assert len(rules) == len(re.findall(r"^ +- (?:alert|record): ", ALERTS.read_text(), re.MULTILINE))
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}


def test_every_metric_and_label_of_the_rules_is_there(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    for rule in rules:
        query = rule["query"]
        assert set(re.findall(r"\busher:[\w:]+", query)) <= recorded, rule["name"]
        selectors = [name + (matchers or "") for name, matchers in _SELECTOR.findall(query)]
        assert selectors or "usher:" in query, rule["name"]
        labels: set[str] = set()
        for selector in selectors:
            found = prometheus.found(selector)
            assert found, f"{rule['name']}: nothing is {selector}"
            labels |= {label for each in found for label in each["metric"]}
        for named in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", query):
            assert set(named.split(", ")) <= labels, f"{rule['name']}: {named}"


def test_each_alert_fires_where_it_must_and_nowhere_else() -> None:
    tried = promtool("test", "rules", "alerts_test.yml", folder=ALERTS.parent)

    assert tried.returncode == 0, tried.stdout + tried.stderr
    # None was left out.
    alerts = re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)
    tests = (ALERTS.parent / "alerts_test.yml").read_text()
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests))
    assert fires == set(alerts)
    assert set(re.findall(r"alertname: (\w+)\}", tests)) == set(alerts)


def test_the_configuration_on_the_page_is_one(tmp_path: Path) -> None:
    (written,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(written)
    shutil.copy(ALERTS, tmp_path)
    checked = promtool("check", "config", "prometheus.yml", folder=tmp_path)

    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout
    assert "rules found" in checked.stdout


def test_prometheus_own_tool_finds_nothing_to_say_of_the_metrics(busy: tuple[Node, BusySite]) -> None:
    shown = httpx.get(f"{busy[1].metrics}/metrics", timeout=30).text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=shown, capture_output=True, text=True, timeout=60, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# --- the board ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expression", "legend"), panels())
def test_every_query_of_the_board_finds_something_with_the_labels_that_its_legend_names(
    prometheus: Prometheus, expression: str, legend: str
) -> None:
    found = prometheus.found(filled(expression))

    assert found != []
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        assert any(label in each["metric"] for each in found), label


def test_what_the_board_lets_choose_is_there(prometheus: Prometheus) -> None:
    lists = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert lists.pop("datasource")["type"] == "datasource"
    for each in lists.values():
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", each["definition"]).groups()  # type: ignore[union-attr]
        assert {sample["metric"].get(label) for sample in prometheus.found(filled(selector))} - {None}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__rate_interval", "__all"}

    assert used == {"datasource", *lists}


def test_the_boards_panels_have_numbers_of_their_own_lie_beside_each_other_and_read_what_is_chosen() -> None:
    boards_panels = BOARD["panels"]
    places = [each["gridPos"] for each in boards_panels]

    assert len({each["id"] for each in boards_panels}) == len(boards_panels)
    assert [(a, b) for a, b in combinations(places, 2) if _overlap(a, b)] == []
    assert all(place["x"] + place["w"] <= 24 for place in places)
    sources = [part["datasource"]["uid"] for panel in boards_panels for part in (panel, *panel["targets"])]
    assert set(sources) == {"${datasource}"}


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    sides = (("x", "w"), ("y", "h"))
    return all(one[at] < other[at] + other[size] for one, other in ((a, b), (b, a)) for at, size in sides)
