"""What docs/performance.md shows is what the benches have written, and no latency that means nothing."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from bench.load import Report
from bench.machine import Machine
from bench.nodeplots import PLOTS as OF_NODES
from bench.peers.contest import decided_of
from bench.peers.plots import PLOTS
from bench.peers.results import (
    BTREE,
    CONSTANT,
    FLOOR,
    USHER,
    CountTime,
    Decided,
    PeerResults,
    Spread,
    read_results,
    spread,
)
from bench.plots import digest_of, draw_all
from bench.report import write_results
from docs.generate import PLOTS as DRAWN
from docs.measured import NODE_PLOTS, PLOT_AFTER, performance_tables
from docs.sizing import Measured, sizing_table

_MACHINE = Machine(
    date="2026-11-28 12:00:00 UTC", commit="0123456789abcdef", cpu="A CPU", cpus=2, memory_gb=8.0, kernel="Linux 6",
    python="3.11", sqlite="3.54", packages={}, load_average=0.1, fsync_p50_ms=0.2, fsync_p99_ms=0.3,
)  # fmt: skip


def closed(contestant: str, rate: float) -> Decided:
    ms = Spread(2.5, 2.25, 12.0)
    return Decided(
        contestant=contestant, connections=64, rate=Spread(rate, rate - 1, rate + 1), busy=0.5, p50_ms=ms, p99_ms=ms
    )


def at_rate(contestant: str, *, kept_up: bool) -> Decided:
    ms = Spread(7.5, 7.0, 8.0) if kept_up else None
    return Decided(
        contestant=contestant, connections=256, rate=Spread(990.0, 980.0, 1_000.0), busy=0.5, share=0.5,
        offered=1_000.0, p50_ms=ms, p99_ms=ms,
    )  # fmt: skip


FOUND = PeerResults(
    machine=_MACHINE, versions={"nginx": "1.22"}, attempts=1_000_000, tickets=100_000, rounds=3, seconds=1.0,
    took_s=600.0, workers=2, workers_tried={"1": 900.0, "2": 1_500.0}, bytes_an_attempt={USHER: 57.3},
    decisions=[closed(FLOOR, 50_000.0), closed(CONSTANT, 20_000.0), closed(USHER, 15_000.0), closed(BTREE, 1_500.0),
               at_rate(USHER, kept_up=True), at_rate(BTREE, kept_up=False)],
    counts=[CountTime(contestant=USHER, question="key", p50_ms=Spread(1.5, 1.0, 2.0), p99_ms=Spread(4.0, 3.0, 5.0))],
)  # fmt: skip


def page(folder: Path) -> str:
    write_results(FOUND, folder / "peers.json")
    return performance_tables(folder)


def test_the_page_has_the_figures_of_the_run_beside_each_other(tmp_path: Path) -> None:
    made = page(tmp_path)

    assert "| Usher | 15,000 (14,999 to 15,001) |" in made
    assert "| Usher | 2.50 / 2.5 (2.2 to 12.0) |" in made
    assert "| PostgreSQL service | 0.07 | 10.00 | 0.50 |" in made
    assert "| key | 1.50 / 4.0 |" in made
    assert "| Usher | 57 |" in made
    assert "fsync p50 0.2 ms, p99 0.3 ms" in made
    assert "ran 2 (decisions a second: 900 with 1, 1,500 with 2)" in made


def test_the_page_has_no_latency_of_a_rate_that_was_not_reached(tmp_path: Path) -> None:
    made = page(tmp_path)

    assert "| Usher, 50% | 1,000 | 990 (980 to 1,000) | 7.50 | 7.5 (7.0 to 8.0) |" in made
    assert "| PostgreSQL service, 50% | 1,000 | 990 (980 to 1,000) | – | – |" in made


def report(*, rate: float, unsent: int = 0) -> Report:
    return Report(
        sent=1_000, answered=1_000, marked=800, unsent=unsent, failure="", offered=1_000.0, rate=rate, p50_ms=1.0,
        p99_ms=2.0, max_ms=3.0, samples=900, busy=0.1,
    )  # fmt: skip


def test_one_round_that_fell_behind_takes_the_latencies_of_all() -> None:
    kept_up = decided_of(USHER, 256, [report(rate=990.0), report(rate=1_000.0)])
    behind = decided_of(USHER, 256, [report(rate=989.0), report(rate=1_000.0)])
    given_up = decided_of(USHER, 256, [report(rate=1_000.0, unsent=1)])

    assert (Spread(1.0, 1.0, 1.0), Spread(2.0, 2.0, 2.0)) == (kept_up.p50_ms, kept_up.p99_ms)
    assert [behind.p50_ms, behind.p99_ms, given_up.p50_ms, given_up.p99_ms] == [None] * 4


def test_the_page_names_the_command_where_nothing_was_measured(tmp_path: Path) -> None:
    assert re.findall(r"`(make .*?)` does", performance_tables(tmp_path)) == [
        "make bench SIZE=10m",
        "make bench-authorize",
        "make bench-issue",
        "make bench-many",
        "make bench-followup",
        "make bench-count",
        "make bench-large",
        "make bench-kickoff",
        "make bench-kickoff-busy",
        "make bench-kickoff-nginx",
        "make bench-start",
        "make bench-ship",
        "make bench-peers",
        "make bench bench-followup bench-large",
    ]


def test_what_is_written_down_is_read_as_it_was(tmp_path: Path) -> None:
    write_results(FOUND, tmp_path / "peers.json")

    assert read_results(tmp_path / "peers.json") == FOUND


def test_a_spread_is_the_median_of_the_rounds_and_their_ends() -> None:
    assert Spread(3.0, 1.0, 9.0) == spread([9.0, 1.0, 3.0])


def test_plots_are_drawn_anew_when_the_figures_are_others_and_only_then(tmp_path: Path) -> None:
    results, plots = tmp_path / "peers.json", tmp_path / "plots"
    of_run = [plot._replace(results=results) for plot in PLOTS]
    draw_all(plots, of_run)
    assert list(plots.iterdir()) == []
    write_results(FOUND, results)
    draw_all(plots, of_run)
    first = {file.stem: file.read_text() for file in plots.iterdir()}
    (plots / "counts.svg").write_text(f"{digest_of(results)} is not drawn again")
    draw_all(plots, of_run)
    kept = (plots / "counts.svg").read_text()
    write_results(msgspec.structs.replace(FOUND, rounds=5), results)
    draw_all(plots, of_run)

    assert {plot.name for plot in PLOTS} == set(first) == set(PLOT_AFTER.values())
    assert all(">Usher</text>" in text for text in first.values())
    assert kept.endswith("is not drawn again")
    assert [digest_of(results)] * len(PLOTS) == [
        re.findall(r"drawn from peers\.json (\w+)", file.read_text())[0] for file in plots.iterdir()
    ]


def test_the_plots_of_the_docs_were_drawn_from_the_last_run() -> None:
    """When this is red: python -m docs.generate"""
    digests = {plot.name: digest_of(plot.results) for plot in (*OF_NODES, *PLOTS) if plot.results.exists()}
    drawn = {file.stem: file.read_text() for file in DRAWN.glob("*.svg")}

    assert digests.keys() == drawn.keys()
    assert [name for name, text in drawn.items() if digests[name] not in text] == []
    assert {plot.results.name: plot.name for plot in OF_NODES} == NODE_PLOTS


def test_what_one_needs_is_worked_out_from_what_was_measured() -> None:
    found = Measured(decisions_s=1_000, follow_ups_s=10_000, attempt_bytes=100, session_bytes=2_000, memory_mb=500)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in sizing_table(found).splitlines()[2:]]

    # 170 starts and 10,000 questions a second are 17 % and 100 % of a node, and half of a node is used.
    assert rows[1][1:] == ["100,000", "170", "10,000", "1,000,000", "100 MB", "570 MB each", "3"]
    # 200 MB of sessions in three nodes, or all of a megabyte in one.
    assert rows[0][1:] == ["500", "0.9", "50", "5,000", "1 MB", "500 MB", "1"]
