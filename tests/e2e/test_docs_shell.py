"""The shell commands of README and docs that show nothing: each is run here, or by another test that is named, or there
is a reason why it cannot be."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.console import ROOT
from tests.nodes import Node, usher
from tests.servers.ports import free_port

# rsync, jq and curl are of the packages that only the whole suite asks for.
pytestmark = pytest.mark.client

_BLOCK = re.compile(r"^```(?:sh|shell|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)    (?:sudo |usher |make |systemctl |apt |pip|python3? |cp |curl ).*")
# Pages whose commands need what is not on a machine that tests; these tests run what can be run of them.
_RUN_BY = {
    "docs/how-to/guard-caddy.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/guard-envoy.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/guard-haproxy.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/guard-mediamtx.md": "tests/doors/test_served.py",
    "docs/how-to/guard-nginx.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/guard-nginx-rtmp.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/guard-srs.md": "tests/doors/test_served.py",
    "docs/how-to/guard-traefik.md": "tests/servers/test_guard_pages.py",
    "docs/how-to/install.md": "tests/unit/test_containerfile.py, tests/e2e/test_wheel.py, tests/e2e/test_deb.py",
    "docs/how-to/live-event.md": "tests/servers/test_live_event.py",
}
# First words of what is not run here, and why. The service's own start and stop are: see `_Machine.run`.
_NOT_HERE = {
    "systemctl": "there is no systemd where tests run",
    "journalctl": "likewise",
    "chown": "there is no user usher, and tests may not be root",
    "sudo": "likewise",
    "install": "likewise",
    "#!/bin/sh": "begins a script whose lines are seen one by one",
    "set": "likewise",
    "export": "sets where the shell finds what setup has installed",
    "make": "run by tests/e2e/test_make.py, or what runs this test",
    "php": "run by tests/e2e/test_clients.py",
    "promtool": "run by tests/e2e/test_packaged_watching.py",
}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if _BLOCK.search(path.read_text())
)


def commands(page: str) -> Iterator[str]:
    """Each command of a page, in order, with the lines that go on."""
    for block in _BLOCK.findall((ROOT / page).read_text()):
        yield from block.replace("\\\n", " ").splitlines()


class _Machine:
    """One on which Usher is installed as the pages say, below a folder; its account is 158, its edge 2 is an nginx."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "var/lib/usher"
        self._data.parent.mkdir(parents=True)
        for place in ("etc/nginx/conf.d", "etc/usher", "mnt", "var/tmp", "other/var/lib/usher"):
            (folder / place).mkdir(parents=True)
        (folder / "secret.txt").write_text("what the site has signed with until now\n")
        (folder / "etc/usher/usher.toml").write_text(f'data = "{self._data}"\nlog = "ledger"\n')
        self._node = Node(self._data, "--log", "ledger", "--port", str(free_port())).start()
        self._usher("account", "create", "arena", "--cdn", "158")
        self._usher("edge", "create", "158", "--kind", "nginx", "--name", "films", "--option", "root=/srv/media")
        bins = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": bins, "USHER_CONFIG": f"{folder}/etc/usher/usher.toml"}

    def _usher(self, *arguments: str) -> None:
        made = usher(*arguments, "--data", str(self._data))
        assert made.returncode == 0, made.stderr

    def run(self, command: str) -> None:
        words = shlex.split(command)
        match words[:2]:
            case ["systemctl", "stop" | "disable"] if words[-1] == "usher.service":
                assert self._node.stop() == 0
            case ["systemctl", "start"] if words[-1] == "usher.service":
                self._node.start()
            case ["systemctl", "restart"] if words[-1] == "usher.service":
                assert self._node.stop() == 0
                self._node.start()
            case [word, *_] if word in _NOT_HERE:
                pass
            case ["usher", "serve"]:
                self._serve(words[2:])
            case _:
                self._type(command)

    def _serve(self, flags: list[str]) -> None:
        """On a folder of its own, at an address that is free."""
        free = [f"127.0.0.1:{free_port()}" if word == "127.0.0.1:9188" else word for word in flags]
        if "--data" in free:
            at = free.index("--data")
            del free[at : at + 2]
        served = Node(self._folder / "served", "--log", "ledger", *free).start()
        assert served.stop() == 0

    def _type(self, command: str) -> None:
        here = command.replace("other.example.com:/", f"{self._folder}/other/")
        here = re.sub(r"(?<![\w./])/(etc|mnt|srv|var)/", rf"{self._folder}/\1/", here)
        here = here.replace("127.0.0.1:8088", self._node.url.removeprefix("http://"))
        # The account that the README takes over is not the one that was made here.
        here = here.replace("YOUR_API_KEY", "A" * 32).replace("create acme --cdn 158", "create acme --cdn 159")
        ran = subprocess.run(
            ["bash", "-c", here], cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"

    def close(self) -> None:
        if self._node.process.poll() is None:
            assert self._node.stop() == 0


@pytest.mark.parametrize("page", [page for page in PAGES if page not in _RUN_BY])
def test_the_commands_of_a_page_can_be_typed(page: str, tmp_path: Path) -> None:
    machine = _Machine(tmp_path)
    try:
        for command in commands(page):
            machine.run(command)
    finally:
        machine.close()


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    machine = _Machine(tmp_path)
    try:
        with pytest.raises(AssertionError, match="no-such-option"):
            machine.run("usher status --no-such-option")
    finally:
        machine.close()


def test_what_is_run_elsewhere_is_there() -> None:
    assert set(_RUN_BY) <= set(PAGES)
    assert [test for tests in _RUN_BY.values() for test in tests.split(", ") if not (ROOT / test).exists()] == []
    assert [program for program in ("rsync", "curl", "jq") if shutil.which(program) is None] == []


def test_no_command_hides_where_no_test_looks() -> None:
    texts = {path.name: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}

    assert {page: hidden for page, text in texts.items() if (hidden := _INDENTED.findall(text))} == {}
