"""Every console session of README and docs, replayed on a real node: what a page shows is what comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.console import ROOT, ConsoleSession, Step, steps

TUTORIAL = "docs/tutorial/first-ticket.md"
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if any(steps(path.read_text()))
)


@pytest.fixture(scope="module")
def after_tutorial(tmp_path_factory: pytest.TempPathFactory) -> ConsoleSession:
    """Where the tutorial ends; its node is stopped."""
    folder = tmp_path_factory.mktemp("reader")
    # What a how-to page tells to write with an editor.
    (folder / "secret.txt").write_text("the secret that the site has signed with until now\n")
    session = ConsoleSession(folder)
    try:
        replay(TUTORIAL, session)
    finally:
        session.close()
    return session


def replay(page: str, session: ConsoleSession) -> None:
    for step in steps((ROOT / page).read_text()):
        session.replay(step)


# curl, as a reader has it, is one of the packages that only the whole suite asks for.
@pytest.mark.client
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("README.md", TUTORIAL)])
def test_a_page_shows_what_its_commands_print(page: str, after_tutorial: ConsoleSession, tmp_path: Path) -> None:
    # These pages go on from where the tutorial ends, and say so.
    session = after_tutorial.going_on(tmp_path / "reader")
    try:
        replay(page, session)
    finally:
        session.close()


@pytest.mark.client
def test_the_readme_shows_what_its_commands_print(tmp_path: Path) -> None:
    session = ConsoleSession(tmp_path)
    try:
        replay("README.md", session)
    finally:
        session.close()


@pytest.mark.client
def test_a_page_that_shows_something_else_is_found(after_tutorial: ConsoleSession, tmp_path: Path) -> None:
    session = after_tutorial.going_on(tmp_path / "reader")
    try:
        with pytest.raises(AssertionError, match="the page shows"):
            session.replay(Step("usher call sevu.errorcount --json", '{"code": 2051, … "error_count": 4, …}'))
        session.replay(Step("usher call sevu.errorcount --json", '{"code": 2051, … "error_count": 3, …}'))
    finally:
        session.close()


def test_the_pages_that_teach_have_sessions() -> None:
    commands = ("errorcount", "errorlog", "request", "status", "revoke", "authorize")

    assert {TUTORIAL, "README.md", *(f"docs/reference/{command}.md" for command in commands)} <= set(PAGES)
