"""Reads the console sessions of a page and replays them on a real node, comparing what is shown with what comes.

A session is a fenced block of language `console`: lines that begin with `$ ` are commands (a backslash at the end or an
open quote goes on), the rest is what they print. Values that a run draws or reads off a clock (keys, secrets, dates,
times, ports) may differ; a drawn one that a page shows stands for the real one in all that follows. `…` stands for
anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from openusher import __version__
from tests.nodes import Node

ROOT = Path(__file__).resolve().parents[2]
SHOWN_ADDRESS = "127.0.0.1:8088"
_COMMAND_S_MAX = 120

# Drawn values are replaced in what follows; clock values are not, since two dates that look alike may be two dates.
_DRAWN = {
    "address": r"127\.0\.0\.1:\d+",
    "ticket_key": r"[\w-]+\.[0-9a-f]{14}\.[0-9]{8}\b",
    "secret": r"\b[0-9a-f]{64}\b",
    "api_key": r"\b[A-Z0-9]{32}\b",
    "signature": r"[A-Za-z0-9+/]{43}=",
    "backup": r"\b\d{8}T\d{6}Z\b",
    "edge_token": r"(?<![\w-])[\w-]{43}(?![\w-])",
}
_CLOCK = {
    "date": r"\b[12]\d{3}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?\b",
    "instant": r"\b1[6-9]\d{8}\b",
    "duration": r"\b\d+(?:\.\d+)? s(?:econds)?\b",
    "rate": r"\b[\d,]+ attempts a second\b",
}
_PATTERNS = {**_DRAWN, **_CLOCK}
_VARYING = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS.items()))


@dataclass(frozen=True)
class Step:
    """A command and what the page says it prints."""

    command: str
    shown: str


def steps(page: str) -> Iterator[Step]:
    """The commands of all console blocks of a page's text, in order."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            while command.endswith("\\") or command.count("'") % 2:
                more, _, shown = shown.partition("\n")
                command += f"\n{more}"
            yield Step(command, shown.rstrip("\n"))


class ConsoleSession:
    """One reader who types a page's commands in a folder of their own, with a node that the page starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._node: Node | None = None
        self._real_by_shown: dict[str, str] = {}
        bins = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": bins, "COLUMNS": "100"}

    def close(self) -> None:
        if self._node is not None:
            assert self._node.stop() == 0
            self._node = None

    def going_on(self, folder: Path) -> ConsoleSession:
        """A session in a copy of this one's folder, as it stands here; this one must be closed."""
        shutil.copytree(self._folder, folder)
        session = ConsoleSession(folder)
        session._environment.update(self._environment)
        session._real_by_shown.update(self._real_by_shown)
        session._real_by_shown[SHOWN_ADDRESS] = urlsplit(session._serve()).netloc
        return session

    def replay(self, step: Step) -> str:
        """Run a step and return what it printed; learn which real values the shown ones stand for.

        Raises AssertionError where the page shows something else."""
        printed = self._run(self._with_real_values(step.command)).rstrip("\n")
        expected, kinds = _pattern(step.shown)
        match = re.fullmatch(expected, printed)
        assert match is not None, f"$ {step.command}\nthe page shows:\n{step.shown}\nit printed:\n{printed}"
        for (kind, shown), real in zip(kinds, match.groups(), strict=True):
            if kind in _DRAWN:
                assert self._real_by_shown.setdefault(shown, real) == real, f"{shown} stands for two values"
        return printed

    def _with_real_values(self, text: str) -> str:
        for shown, real in self._real_by_shown.items():
            text = text.replace(shown, real)
        return text

    def _run(self, command: str) -> str:
        if command.startswith("usher serve"):
            return f"usher is ready on {self._serve()} (version {__version__})"
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self._environment[name] = value
            return ""
        folder = self._folder
        if command == "make run":
            # What the Makefile does once it has set up.
            command, folder = "usher demo", ROOT
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S_MAX,
            check=False,
        )
        return done.stdout

    def _serve(self) -> str:
        self._node = Node(self._folder / "usher-data", "--log", "ledger").start()
        # Where a page leaves it out, usher call asks the port that the page's node would have.
        self._environment["USHER_URL"] = f"{self._node.url}/stable/"
        return self._node.url


def _pattern(shown: str) -> tuple[str, list[tuple[str, str]]]:
    """A regular expression for what is shown, and kind and text of each of its groups."""
    pattern, kinds, at = "", [], 0
    for match in _VARYING.finditer(shown):
        kind = str(match.lastgroup)
        pattern += _literal(shown[at : match.start()]) + f"({_PATTERNS[kind]})"
        kinds.append((kind, match.group()))
        at = match.end()
    return pattern + _literal(shown[at:]), kinds


def _literal(text: str) -> str:
    return "(?s:.*?)".join(re.escape(part) for part in text.split("…"))
