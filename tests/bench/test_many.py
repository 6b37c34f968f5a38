"""The bench of very many tickets asks for any of them, in both nodes, and sees that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import apsw

from bench.bulk import DATA
from bench.many import measure

MANY, FEW = 3_000, 300
LEDGER = "ledger.db"


def stored(data: Path) -> tuple[int, int, int, int]:
    """Tickets, attempts, and the least and the largest number of a ticket that was asked for and is there."""
    with apsw.Connection(str(data / LEDGER), flags=apsw.SQLITE_OPEN_READONLY) as ledger:
        ((tickets, attempts),) = ledger.execute(
            "SELECT (SELECT count(*) FROM tickets), (SELECT count(*) FROM attempts)"
        )
        ((least, most),) = ledger.execute(
            "SELECT min(number), max(number) FROM tickets WHERE key IN (SELECT key FROM attempts)"
        )
    return tickets, attempts, least, most


def test_any_of_many_tickets_is_asked_for_and_more_are_sold_beside_a_node_with_few(tmp_path: Path) -> None:
    found = measure(tmp_path, many=MANY, few=FEW, rounds=1, seconds=0.3)
    shares = {figure.name: figure for figure in found.figures if figure.unit == "%"}

    assert {f"authorize, {MANY:,} / {FEW} tickets", f"sevu.request, {MANY:,} / {FEW} tickets"} == set(shares)
    assert all(figure.value and figure.goal == ">= 80%" for figure in shares.values())
    for sold in (MANY, FEW):
        tickets, attempts, least, most = stored(tmp_path / str(sold) / DATA)

        assert tickets > sold
        assert attempts > 100
        assert least < 0.1 * sold < 0.9 * sold < most <= sold
