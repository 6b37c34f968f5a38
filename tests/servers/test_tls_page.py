"""The page about TLS: its configurations for servers in front are run as they stand, but for files, names and ports."""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.nodes import Node, usher_here
from tests.servers.fronts import program, running
from tests.servers.nginx import running_nginx
from tests.servers.ports import free_port
from tests.servers.tls import Certificate, make_certificate
from tests.sevuclient import Connection

pytestmark = pytest.mark.client

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve-over-tls.md"
SHOWN_NODE, SHOWN_HOST = "127.0.0.1:8088", "usher.example.com"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@contextmanager
def by_nginx(node: str, issued: Certificate, folder: Path) -> Iterator[int]:
    port = free_port()
    http = block("nginx").replace(SHOWN_NODE, node).replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    http = re.sub(r"ssl_certificate .*;", f"ssl_certificate {issued.chain};", http)
    http = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {issued.key};", http)
    with running_nginx(folder, http, [port]):
        yield port


@contextmanager
def by_caddy(node: str, issued: Certificate, folder: Path) -> Iterator[int]:
    port = free_port()
    site = block("text").replace(SHOWN_NODE, node)
    # A certificate of the test's own, where Caddy would ask an authority for one.
    site = site.replace(f"{SHOWN_HOST} {{", f"https://localhost:{port} {{\n\ttls {issued.chain} {issued.key}")
    folder.mkdir()
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site)
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with running(command, folder, port):
        yield port


@pytest.mark.parametrize("front", [by_nginx, by_caddy])
def test_a_site_and_an_edge_speak_to_a_node_behind_the_pages_server(
    front: Callable[[str, Certificate, Path], AbstractContextManager[int]], node: Node, tmp_path: Path
) -> None:
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    issued = make_certificate(tmp_path, "localhost", authority=authority)
    account = node.create_account(f"tls-{front.__name__}")
    address = node.url.removeprefix("http://")
    with (
        front(address, issued, tmp_path / "front") as port,
        Connection(f"https://localhost:{port}", tls=trust) as connection,
    ):
        ticket = connection.issue(account, uses=1)
        asked = {"key": ticket["key"], "password": ticket["pass"]}
        allowed = [connection.authorize(account, **asked)[1]["allow"] for _ in range(2)]
        counted = connection.count(account)

    assert (allowed, counted) == ([True, False], 2)


def test_the_pages_settings_are_good(tmp_path: Path) -> None:
    issued = make_certificate(tmp_path, "localhost")
    text = block("toml")
    shown = tomllib.loads(text)
    text = text.replace(shown["tls_cert"], str(issued.chain)).replace(shown["tls_key"], str(issued.key))
    (tmp_path / "usher.toml").write_text(text)
    judged = usher_here("config", "check", str(tmp_path / "usher.toml"))

    assert (judged.returncode, judged.stdout) == (0, f"{tmp_path}/usher.toml: good\n")
