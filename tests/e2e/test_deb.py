"""The Debian package: built, really installed, run as its user, removed, purged. It leaves nothing on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openusher import __version__
from tests.packaged import ROOT, environment, outside

DATA, SETTINGS = Path("/var/lib/usher"), Path("/etc/usher/usher.toml")
_AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")
_AS_USHER = (*_AS_ROOT, "setpriv", "--reuid", "usher", "--regid", "usher", "--clear-groups", "env", "HOME=/nonexistent")
# Nothing of it has to live through a power cut.
_DPKG = (*_AS_ROOT, "dpkg", "--force-unsafe-io")
_END_S_MAX = 30

# dpkg and systemd-analyze are of Debian. A package of 900 MB is built, unpacked and taken away again.
pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    # Not compressed, which would take minutes.
    options = ("--into", str(folder), "--compress", "none")
    return subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "deb" / "build.py"), *options],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


def run(*command: str | Path) -> str:
    """What a command that must succeed prints."""
    # Not from the checkout, and not with its environment.
    done = outside(*command, folder=Path("/"))
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def is_installed() -> bool:
    return subprocess.run(["dpkg-query", "-W", "usher"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    # Purging would take them.
    assert not is_installed(), "this machine has Usher's package; run this test on another"
    assert not DATA.exists(), f"this machine has {DATA}; run this test on another"
    built = build(tmp_path)
    assert built.returncode == 0, built.stderr
    (package,) = tmp_path.glob("*.deb")
    try:
        run(*_DPKG, "-i", package)
        yield
    finally:
        if is_installed():
            run(*_DPKG, "-P", "usher")


@pytest.mark.usefixtures("installed")
def test_the_package_is_installed_runs_is_removed_and_leaves_nothing() -> None:
    assert run("usher", "--version") == f"usher {__version__}\n"
    assert run("usher", "config", "check", SETTINGS) == f"{SETTINGS}: good\n"
    assert run("systemd-analyze", "verify", "--man=no", "usher.service", "usher.socket") == ""
    assert (DATA.owner(), DATA.group(), DATA.stat().st_mode & 0o777) == ("usher", "usher", 0o700)
    enabled = {path.name for path in Path("/etc/systemd/system").glob("*.wants/usher.*")}
    assert enabled == {"usher.service", "usher.socket"}
    files = [Path(name) for name in run("dpkg", "-L", "usher").splitlines() if not Path(name).is_dir()]

    # As the service runs it: its user, its settings, and the attempt log's engine.
    node = subprocess.Popen(
        [*_AS_USHER, "usher", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=environment(),
    )  # fmt: skip
    assert node.stdout is not None
    assert node.stderr is not None
    ready = node.stdout.readline()
    assert ready.startswith("usher is ready on "), node.stderr.read()
    account = json.loads(run(*_AS_USHER, "usher", "account", "create", "acme", "--json"))
    assert account["name"] == "acme"
    assert json.loads(run(*_AS_USHER, "usher", "status", "--json"))["version"] == __version__
    run(*_AS_ROOT, "kill", "-TERM", str(json.loads((DATA / "lock").read_text())["pid"]))
    assert node.wait(_END_S_MAX) == 0
    node.stdout.close()
    node.stderr.close()

    run(*_DPKG, "-r", "usher")
    assert not Path("/usr/bin/usher").exists()
    assert not Path("/usr/lib/usher").exists()
    assert SETTINGS.exists()
    assert run(*_AS_ROOT, "ls", DATA).splitlines().count("ledger.db") == 1

    run(*_DPKG, "-P", "usher")
    assert [path for path in (DATA, SETTINGS.parent) if path.exists()] == []
    assert [path for path in files if path.exists() or path.is_symlink()] == []
    assert list(Path("/etc/systemd/system").rglob("usher.*")) == []
    assert subprocess.run(["getent", "passwd", "usher"], capture_output=True, check=False).returncode == 2
    assert not is_installed()
