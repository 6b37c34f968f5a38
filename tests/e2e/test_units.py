"""The units for systemd: they are sound, and a node does all its work under what they forbid."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openusher.settings import Settings
from tests.e2e.console import ROOT
from tests.nodes import Node, usher

UNITS = ROOT / "packaging" / "systemd"
SERVICE = UNITS / "usher.service"
SANDBOX = (sys.executable, str(Path(__file__).parent / "sandbox.py"), str(SERVICE))
# What makes or changes a file, by name.
_MAKES = "creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat"
_OPENS_TO_WRITE = re.compile(r"\bopen(at)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC)")
# Elsewhere, but nothing that is kept.
_NOT_KEPT = re.compile(r"/dev/null|/dev/tty|/proc/(self|\d+)/\S+")

# systemd-analyze and strace are of Debian's packages.
pytestmark = pytest.mark.client


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """In what the unit makes of its process, and watched for where it writes."""
    watched = f"trace=open,openat,{_MAKES}"
    trace = ("strace", "-f", "-qq", "--seccomp-bpf", "-y", "-e", watched, "-e", "signal=none", "-s", "4096", "-o")
    started = Node(tmp_path / "data", "--ship-rows", "1", within=(*trace, str(tmp_path / "trace"), *SANDBOX)).start()
    yield started
    started.end()


def unit_value(unit: str, directive: str) -> str:
    (value,) = re.findall(rf"^{directive}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    return str(value)


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        # Which it finds on its own path; here it may not be installed.
        (tmp_path / unit.name).write_text(unit.read_text().replace("ExecStart=usher", f"ExecStart={sys.executable}"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "usher.service", "usher.socket"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip

    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_systemd_rates_the_service_as_well_guarded() -> None:
    """From 0, nothing is exposed, to 100; without the sandbox's lines it is 92."""
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=16", str(SERVICE)],
        capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip

    assert rated.returncode == 0, rated.stdout[-200:]


def test_the_sandbox_forbids_what_the_unit_forbids() -> None:
    """Else the test below would show nothing."""
    memory, family = "mmap.mmap(-1, 4096, prot={})", "socket.socket(socket.{})"
    tried = {
        memory.format("mmap.PROT_READ | mmap.PROT_WRITE"): "done",
        memory.format("mmap.PROT_WRITE | mmap.PROT_EXEC"): "EPERM",
        family.format("AF_INET6"): "done",
        family.format("AF_NETLINK"): "EAFNOSUPPORT",
        "call('unshare', 0x10000000)": "EPERM",
        "call('mount', b'none', b'/mnt', b'tmpfs', 0, None)": "EPERM",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))": "EPERM",
    }
    shown = subprocess.run(
        [*SANDBOX, sys.executable, "-c", _TRY, *tried], capture_output=True, text=True, timeout=60, check=True
    )

    assert shown.stdout.splitlines() == [*tried.values(), "umask 0o77, no capabilities True"]


_TRY = """
import ctypes, errno, mmap, os, re, socket, sys
def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
for code in sys.argv[1:]:
    try:
        eval(code)
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        print("done")
capabilities = re.findall(r"^CapEff:\\s*0*$", open("/proc/self/status").read(), re.M)
print(f"umask {oct(os.umask(0))}, no capabilities {len(capabilities) == 1}")
"""


def test_a_node_ships_counts_and_groups_under_what_the_service_forbids(node: Node, tmp_path: Path) -> None:
    account = node.create_account("site")
    with node.connect() as connection:
        for number in range(20):
            connection.authorize(account, key=f"k{number % 3}")
        while json.loads(usher("status", "--json", "--data", str(node.data)).stdout)["pending"]:
            time.sleep(0.1)
        grouped = connection.call(account, "sevu.errorcount", group_by="key")
        listed = connection.call(account, "sevu.errorlog", limit=5)
    checked = usher("check", "--data", str(node.data))
    assert node.process.poll() is None
    traced = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    door = int(traced[0])
    children = Path(f"/proc/{door}/task/{door}/children").read_text().split()
    spare = {
        re.findall(r"openusher\.(\w+)", Path(f"/proc/{pid}/cmdline").read_text())[0]:
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in children
    }  # fmt: skip
    os.kill(door, 15)
    assert node.process.wait(30) == 0

    assert {group["value"]: group["count"] for group in grouped["groups"]} == {"k0": 7, "k1": 7, "k2": 6}
    assert listed["code"] == 2041
    assert checked.stdout.startswith("Sound:")
    # Out of memory, it is the log's process that goes first, and comes again.
    assert spare["attemptlog"] == 500
    assert spare["ledger"] < 500
    assert written_elsewhere(tmp_path / "trace", node.data) == set()


def written_elsewhere(trace: Path, data: Path) -> set[str]:
    """The paths that were made, changed or opened for writing and do not lie in the data folder."""
    makes = re.compile(rf"\b({_MAKES.replace(',', '|')})\(")
    found = set()
    for line in trace.read_text(errors="replace").splitlines():
        if " = -1 " in line or not (makes.search(line) or _OPENS_TO_WRITE.search(line)):
            continue
        folder = re.search(r"\((?:AT_FDCWD|\d+)<([^>]*)>", line)
        names = re.findall(r'"([^"]*)"', line)
        # Of a link, the first is only what it says.
        for name in names[-1:] if "symlink" in line else names:
            # Only the log's process names files by where it is, which is in its folder.
            path = os.path.normpath(os.path.join(folder[1] if folder else data / "log", name))
            if not Path(path).is_relative_to(data) and not _NOT_KEPT.fullmatch(path):
                found.add(path)
    return found


def test_the_services_memory_has_room_for_the_logs_own_limit() -> None:
    limit = Settings().log_memory_bytes_max

    assert unit_value("usher.service", "MemoryMax") == "3G"
    assert 2 * limit <= 3 * 2**30
    # The kernel ends one process, not the service.
    assert unit_value("usher.service", "OOMPolicy") == "continue"


def test_the_units_speak_of_what_there_is() -> None:
    settings = Settings()

    assert unit_value("usher.socket", "ListenStream") == f"{settings.host}:{settings.port}"
    assert unit_value("usher.service", "ExecStart") == "usher serve"
    # With room beyond the 10 s in which a node is gone.
    assert 10 < int(unit_value("usher.service", "TimeoutStopSec")) <= 20
    assert unit_value("usher.service", "Type") == "notify"
