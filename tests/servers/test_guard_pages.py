"""The pages that say how a server is guarded: their commands are run as they stand, and the servers take what comes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.nodes import Node, usher_here
from tests.servers.fronts import FRONTS, program
from tests.servers.nginx import nginx_command
from tests.servers.traefikstandin import Settings

pytestmark = pytest.mark.client

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
_CHECK_S_MAX = 30.0


def commands_of(kind: str) -> list[list[str]]:
    """The `usher` commands of the page, without where their output goes."""
    (block,) = re.findall(r"^```sh\n(usher edge create .*?)^```$", page_of(kind), re.MULTILINE | re.DOTALL)
    lines = block.replace("\\\n", "").splitlines()
    return [shlex.split(re.sub(r">>? .*", "", line))[1:] for line in lines if line.startswith("usher ")]


def page_of(kind: str) -> str:
    return (HOW_TO / f"guard-{kind}.md").read_text()


def check(kind: str, text: str, folder: Path) -> list[str]:
    """Writes the configuration as the server would have it, and says what checks it."""
    text = text.replace("/var/log", str(folder)).replace("/etc/haproxy", str(folder))
    file = folder / "usher.conf"
    file.write_text(text)
    match kind:
        case "caddy":
            return [program("caddy"), "adapt", "--validate", "--adapter", "caddyfile", "--config", str(file)]
        case "envoy":
            file.rename(folder / "usher.yaml")
            return [program("envoy"), "--mode", "validate", "-c", str(folder / "usher.yaml")]
        case "haproxy":
            (folder / "usher.lua").write_text(usher_here(*commands_of(kind)[1]).stdout)
            return [program("haproxy"), "-c", "-f", str(file)]
        case _:
            (folder / "nginx").mkdir()
            return [*nginx_command(folder, text), "-t"]


@pytest.mark.parametrize("kind", FRONTS)
def test_a_page_makes_what_its_server_takes(kind: str, node: Node, tmp_path: Path) -> None:
    account = node.create_account(f"page-{kind}")
    command = [str(account.cdn) if word == "158" else word for word in commands_of(kind)[0]]
    for more in ([], ["--name", "behind", "--trusted-proxy", "203.0.113.0/24", "--trusted-proxy", "2001:db8::1"]):
        made = usher_here(*command, *more, "--data", str(node.data))
        assert made.returncode == 0, made.stderr
        folder = tmp_path / str(len(more))
        folder.mkdir()
        if kind == "traefik":
            Settings(made.stdout)
            continue
        environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        checked = subprocess.run(
            check(kind, made.stdout, folder),
            capture_output=True, text=True, timeout=_CHECK_S_MAX, check=False, env=environment
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr


def test_a_page_says_what_becomes_of_viewers_while_usher_is_away() -> None:
    for kind, front in FRONTS.items():
        page = page_of(kind)

        assert ("on_failure=open" in page) == front.can_open
        assert f"\n| {front.away} " in page
        assert "--trusted-proxy 203.0.113.0/24" in page
        assert "cookie_same_site=None" in page


def test_the_page_of_rtmp_makes_what_nginx_takes(node: Node, tmp_path: Path) -> None:
    account = node.create_account("page-nginx-rtmp")
    command = [str(account.cdn) if word == "158" else word for word in commands_of("nginx-rtmp")[0]]
    made = usher_here(*command, "--data", str(node.data))
    assert made.returncode == 0, made.stderr
    (tmp_path / "nginx.conf").write_text(made.stdout.replace("/var/log/nginx", str(tmp_path)))
    checked = subprocess.run(
        [program("nginx"), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", f"pid {tmp_path}/pid;"],
        capture_output=True, text=True, timeout=_CHECK_S_MAX, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_who_gets_in_while_usher_is_away_has_a_flag_of_its_own(node: Node) -> None:
    account = node.create_account("page-on-failure")
    flags = ("--on-failure", "open", "--data", str(node.data), "--json")
    opened, refused = (
        usher_here("edge", "create", str(account.cdn), "--kind", kind, *flags) for kind in ("nginx", "caddy")
    )

    assert json.loads(opened.stdout)["options"] == {"on_failure": "open"}
    assert "on_failure: is no option of caddy" in refused.stderr
