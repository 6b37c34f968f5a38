"""The site that `make docs` makes: nothing is wrong with it, and readers' browsers fetch it from one place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs.generate import DOCS

_FETCHED = re.compile(r'<(?:link|script|img|iframe)\b[^>]*\b(?:href|src)="((?:https?:)?//[^"]*)"')


def built(docs: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(docs), str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_page_is_in_the_site_and_nothing_of_it_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    ran = built(DOCS, tmp_path / "site")
    html = {path.relative_to(tmp_path / "site"): path.read_text() for path in tmp_path.rglob("*.html")}
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")} - {Path("README.html")}

    assert (ran.returncode, ran.stderr) == (0, "")
    assert pages <= set(html)
    assert [(page, url) for page, text in html.items() for url in _FETCHED.findall(text)] == []


def test_a_link_that_leads_nowhere_stops_it(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "docs" / "how-to" / "run-a-node.md").open("a") as page:
        page.write("\nSee [codes](../reference/codes.md#no-such-heading) and [this](nowhere.md).\n")
    ran = built(tmp_path / "docs", tmp_path / "site")

    assert ran.returncode == 1
    assert "no-such-heading" in ran.stderr
    assert "nowhere.md" in ran.stderr
