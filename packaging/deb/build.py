"""Makes the Debian package, with what this checkout was tested with: `make deb`.

The wheel and the very distributions that it stands on in this virtual environment go into an environment of their own
below /usr/lib/usher, run by Debian's own Python; nothing is fetched. Beside it: the command, the units, the file of
settings, and completions for three shells.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
PYTHON = Path("/usr/bin/python3")
# Where it will be.
HOME = Path("/usr/lib/usher")
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/usher",
    "zsh": "usr/share/zsh/vendor-completions/_usher",
    "fish": "usr/share/fish/vendor_completions.d/usher.fish",
}
SCRIPT = f"""#!{HOME}/bin/python
from openusher.cli.main import main

main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the folder for the package")
    parser.add_argument("--compress", default="zstd", help="as dpkg-deb's -Z: zstd, xz, none")
    given = parser.parse_args()
    python = _python_of_debian()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    architecture = _said("dpkg", "--print-architecture")
    given.into.mkdir(parents=True, exist_ok=True)
    package = given.into / f"usher_{version}_{architecture}.deb"
    # Beside it, so that files can be linked and need not be copied.
    with tempfile.TemporaryDirectory(dir=given.into) as folder:
        stage = Path(folder)
        stage.chmod(0o755)
        _make_environment(stage, python)
        _put_beside(stage)
        _write_control(stage, version=version, architecture=architecture, python=python)
        subprocess.run(["dpkg-deb", "--root-owner-group", f"-Z{given.compress}", "--build", stage, package], check=True)


def _said(*command: str | Path) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _python_of_debian() -> str:
    """Its version, which must be the one that the packages in this environment are built for."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = _said(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    if ours != theirs:
        sys.exit(f"{PYTHON} is Python {theirs}, and .venv has {ours}: make clean, then make PYTHON={PYTHON} deb")
    return ours


def _make_environment(stage: Path, python: str) -> None:
    home = stage / HOME.relative_to("/")
    packages = home / "lib" / f"python{python}" / "site-packages"
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(f"/usr/bin/python{python}")
    (home / "pyvenv.cfg").write_text(f"home = {PYTHON.parent}\ninclude-system-site-packages = false\n")
    (home / "bin" / "usher").write_text(SCRIPT)
    (home / "bin" / "usher").chmod(0o755)
    with tempfile.TemporaryDirectory() as folder:
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).iterdir()
        _pip("install", "--no-deps", "--no-index", "--no-compile", "--target", str(packages), str(wheel))
    shutil.rmtree(packages / "bin", ignore_errors=True)
    # Not what is installed here says what is needed, but the wheel.
    (usher,) = distributions(path=[str(packages)])
    for needed in _needed(usher):
        _link(needed, packages)
    # The user usher cannot write beside them what Python would compile at each start. Paths as they will be.
    subprocess.run(
        [PYTHON, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
         "-s", stage, "-p", "/", packages],
        check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def _needed(usher: Distribution) -> Iterator[Distribution]:
    """What Usher stands on, and what that stands on, each once; as they are installed here."""
    waiting, seen = [usher], set()
    while waiting:
        for line in waiting.pop().requires or []:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            found = distribution(requirement.name)
            if not requirement.specifier.contains(found.version):
                sys.exit(f"{found.name} {found.version} is installed, {line} is needed: make clean, then make deb")
            if found.name not in seen:
                seen.add(found.name)
                waiting.append(found)
                yield found


def _link(needed: Distribution, packages: Path) -> None:
    """Its files, but for commands and what was compiled for another place."""
    for file in needed.files or ():
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        to = packages / file
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.locate(), to)
        except OSError:
            shutil.copy2(file.locate(), to)


def _put_beside(stage: Path) -> None:
    def put(path: str, content: bytes) -> None:
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        (stage / path).write_bytes(content)

    (stage / "usr" / "bin").mkdir()
    (stage / "usr" / "bin" / "usher").symlink_to("../lib/usher/bin/usher")
    for unit in ("usher.service", "usher.socket"):
        put(f"lib/systemd/system/{unit}", (PACKAGING / "systemd" / unit).read_bytes())
    put("etc/usher/usher.toml", (PACKAGING / "usher.toml").read_bytes())
    put("usr/share/doc/usher/copyright", (ROOT / "LICENSE").read_bytes())
    put("usr/share/doc/usher/changelog.gz", gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), mtime=0))
    home = stage / HOME.relative_to("/")
    for shell, path in COMPLETIONS.items():
        asked = {**os.environ, "_USHER_COMPLETE": f"source_{shell}", "PYTHONPATH": ""}
        script = subprocess.run(
            [home / "bin/python", home / "bin/usher"], env=asked, stdout=subprocess.PIPE, check=True
        )
        put(path, script.stdout)


def _write_control(stage: Path, *, version: str, architecture: str, python: str) -> None:
    major, minor = python.split(".")
    size_kib = sum(path.lstat().st_size for path in stage.rglob("*") if path.is_file()) // 1024
    control = stage / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(
        (PACKAGING / "deb" / "control")
        .read_text()
        .format(
            version=version,
            architecture=architecture,
            python=python,
            python_after=f"{major}.{int(minor) + 1}",
            size_kib=size_kib,
        )
    )
    (control / "conffiles").write_text("/etc/usher/usher.toml\n")
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(PACKAGING / "deb" / name, control / name)
        (control / name).chmod(0o755)


if __name__ == "__main__":
    main()
