"""The page for operators against the code: every text with which a count or the log fails is explained there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import DOCS
from openusher.consistency import REPAIR
from openusher.sevu.registry import COMMANDS

SRC = DOCS.parent / "src"
PAGE = DOCS / "how-to" / "operate.md"
_FAILURES = {"CountUnavailable", "LogUnavailable", "LogDamaged"}
# What only a conformance test's own log, or a command that no operator can give, comes to.
_NEVER_SHOWN = {
    "an attempt log on a server is backed up by that server's own means",
    "there is no attempt log to ship to (--log ledger)",
    "table attempts does not show what it took",
    "table attempts is being filled",
}
_EVENT = re.compile(r"`([a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*)`")
# Files and units, which look alike, and commands.
_NO_EVENT = {"ledger.db", *COMMANDS}


def spelt(text: ast.expr) -> str:
    """A text of the code as a page has it: `…` for what is filled in."""
    match text:
        case ast.Constant(value=str() as words):
            return words
        case ast.JoinedStr(values=parts):
            return "".join(spelt(part) for part in parts)
        case _:
            return "…"


def failures() -> Iterator[str]:
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _FAILURES and node.args:
                # There is one table.
                yield spelt(node.args[0]).replace("table … ", "table attempts ")


def explained(page: Path) -> list[re.Pattern[str]]:
    """The texts in the first column of the page's tables, as patterns."""
    cells = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| ")]
    texts = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    return [re.compile(".*".join(re.escape(part) for part in text.split("…")), re.DOTALL) for text in texts]


def is_explained(text: str) -> bool:
    return text == "…" or any(pattern.search(text) for pattern in explained(PAGE))


def test_each_reason_why_a_count_fails_is_on_the_page() -> None:
    texts = {*failures()} - _NEVER_SHOWN

    assert len(texts) > 20
    assert sorted(text for text in texts if not is_explained(text)) == []


def test_what_the_page_explains_can_be_told_from_what_it_does_not() -> None:
    assert not is_explained("the moon is in the way")
    assert any(pattern.search("table attempts does not hold block 7 (25 attempts)") for pattern in explained(PAGE))
    assert REPAIR.startswith("stop the node and run usher repair")


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=lambda page: str(page.stem))
def test_a_page_names_only_events_that_a_node_logs(page: Path) -> None:
    logged = set(_EVENT.findall((DOCS / "reference" / "log-events.md").read_text()))
    first_words = {event.split(".")[0] for event in logged}
    named = {event for event in _EVENT.findall(page.read_text()) if event.split(".")[0] in first_words}

    assert named - _NO_EVENT - logged == set()
