"""Usher as it is handed out: the wheel in an environment of its own, and commands run outside of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pip(*arguments: str) -> None:
    """Without a network: with what is given, and what this environment builds with."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def build_wheel(folder: Path) -> Path:
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Make an environment with the wheel in it, and return its `usher`. What the wheel stands on is this environment's,
    behind it; this environment's own Usher, whose place a .pth file names, is not."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], timeout=60, check=True)
    pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "behind.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return folder / "bin" / "usher"


def environment(**more: str) -> dict[str, str]:
    """This one, without what leads to the checkout or is another test's setting."""
    leads_here = ("PYTHON", "USHER", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(leads_here)}, **more}


def outside(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with nothing in its environment that leads to the checkout."""
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment(COLUMNS="200"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
