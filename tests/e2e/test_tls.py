"""A node that answers over TLS, by real certificates: changed with no connection dropped, refused where wrong."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.nodes import Node, usher
from tests.servers.tls import Certificate, make_certificate

NewNode = Callable[..., Node]
_LOGGED_S_MAX = 20.0


class Site:
    """A node with a certificate at two paths, its authority, and other certificates to put there."""

    def __init__(self, folder: Path, new_node: NewNode) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.trust = ssl.create_default_context()
        self.authority.configure_trust(self.trust)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.put(self.issue())
        self.flags = ("--log", "ledger", "--tls-cert", str(self.cert), "--tls-key", str(self.key))
        self.node = new_node(folder / "data", *self.flags)

    def issue(self) -> Certificate:
        folder = self.folder / f"issued-{time.monotonic_ns()}"
        folder.mkdir()
        return make_certificate(folder, "localhost", "127.0.0.1", authority=self.authority)

    def put(self, issued: Certificate) -> None:
        self.cert.write_bytes(issued.chain.read_bytes())
        self.key.write_bytes(issued.key.read_bytes())

    def connect(self, host: str = "127.0.0.1") -> http.client.HTTPSConnection:
        port = int(self.node.url.rpartition(":")[2])
        return http.client.HTTPSConnection(host, port, timeout=20, context=self.trust)

    def presented(self, host: str = "127.0.0.1") -> bytes | None:
        """The certificate that a new connection gets."""
        connection = self.connect(host)
        connection.connect()
        try:
            return shown(connection)
        finally:
            connection.close()

    def hang_up(self, says: str) -> None:
        """Tell the node to reload, and return when its log says so."""
        before = self.node.log_file.read_text().count(says)
        self.node.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _LOGGED_S_MAX
        while self.node.log_file.read_text().count(says) == before:
            assert time.monotonic() < deadline, self.node.log_file.read_text()
            time.sleep(0.01)


def shown(connection: http.client.HTTPSConnection) -> bytes | None:
    assert isinstance(connection.sock, ssl.SSLSocket)
    return connection.sock.getpeercert(binary_form=True)


def first_of(chain: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(chain.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")


def status_of(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.fixture
def site(tmp_path: Path, new_node: NewNode) -> Site:
    opened = Site(tmp_path, new_node)
    opened.node.start()
    return opened


def test_a_question_is_answered_over_tls_on_the_short_way_too(site: Site) -> None:
    assert site.node.url.startswith("https://127.0.0.1:")
    account = site.node.create_account("site")
    connection = site.connect("localhost")
    headers = {"Authorization": f"Bearer {account.edge_token}", "Content-Type": "application/json"}
    for number in range(3):
        body = json.dumps({"app": "live", "video": "cam1", "ip": "192.0.2.1", "key": f"k{number}"})
        connection.request("POST", "/v1/authorize", body, headers)
        answer = connection.getresponse()
        assert json.loads(answer.read())["reason"] == "Missing Auth Token"
    assert status_of(connection) == 200
    connection.close()
    assert site.node.stop() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["no-name", "name"])
def test_a_new_certificate_is_taken_on_sighup_and_the_connections_stay(site: Site, host: str) -> None:
    first = first_of(site.cert)
    kept = site.connect(host)
    assert status_of(kept) == 200
    before = kept.sock
    site.put(site.issue())
    assert site.presented(host) == first
    site.hang_up("tls.reloaded")

    assert first_of(site.cert) != first
    assert site.presented(host) == first_of(site.cert)
    assert [status_of(kept) for _ in range(3)] == [200, 200, 200]
    assert kept.sock is before
    assert shown(kept) == first


def test_a_pair_that_is_none_is_refused_and_the_one_before_stays(site: Site) -> None:
    good = first_of(site.cert)
    kept = site.connect()
    assert status_of(kept) == 200
    another = site.issue()
    encrypted = load_pem_private_key(another.key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )
    for cert, key, said in (
        (another.chain.read_bytes(), site.key.read_bytes(), "are no certificate and its key (KEY_VALUES_MISMATCH)"),
        (b"garbage", another.key.read_bytes(), "are no certificate and its key"),
        (another.chain.read_bytes(), b"", "are no certificate and its key"),
        (another.chain.read_bytes(), encrypted, "is encrypted, and nobody is there to be asked"),
    ):
        site.cert.write_bytes(cert)
        site.key.write_bytes(key)
        site.hang_up("tls.refused")
        assert said in site.node.events("tls.refused")[-1]["error"]
        assert site.presented() == good
        assert status_of(kept) == 200
    site.cert.unlink()
    site.hang_up("tls.refused")
    assert f"tls_cert: cannot read {site.cert}: No such file or directory" in site.node.log_file.read_text()
    assert site.presented() == good
    site.put(another)
    site.hang_up("tls.reloaded")
    assert site.presented() == first_of(another.chain)
    assert status_of(kept) == 200
    assert "PRIVATE KEY" not in site.node.log_file.read_text()


def test_a_node_with_a_wrong_pair_does_not_start_and_says_which_file(new_node: NewNode, tmp_path: Path) -> None:
    site = Site(tmp_path, new_node)
    site.key.write_bytes(site.issue().key.read_bytes())
    flags = ("serve", "--data", str(tmp_path / "data"), "--port", "0", *site.flags)
    mismatched, one_only = usher(*flags), usher(*flags[:-2])
    (tmp_path / "usher.toml").write_text(f'tls_cert = "{site.cert}"\ntls_key = "{site.key}"\n')
    judged = usher("config", "check", str(tmp_path / "usher.toml"))

    assert (mismatched.returncode, one_only.returncode, judged.returncode) == (1, 2, 3)
    assert f"usher: tls_cert, tls_key: {site.cert} and {site.key} are no certificate and its key" in mismatched.stderr
    assert one_only.stderr == "usher: tls_cert, tls_key: one of the two is given; give both, or neither\n"
    assert "are no certificate and its key" in judged.stdout


def test_who_speaks_no_tls_or_does_not_speak_is_cut_off(
    new_node: NewNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USHER_REQUEST_S_MAX", "1")
    site = Site(tmp_path, new_node)
    site.node.start()
    port = int(site.node.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        plain.settimeout(10)
        silent.settimeout(10)
        plain.sendall(b"GET /readyz HTTP/1.1\r\nhost: usher\r\n\r\n")
        assert b"HTTP" not in plain.recv(1_000)
        assert silent.recv(1_000) == b""
    assert status_of(site.connect()) == 200
    assert site.node.stop() == 0


def test_sigterm_ends_a_node_with_open_tls_connections_in_time(site: Site) -> None:
    connections = [site.connect() for _ in range(5)]
    for connection in connections:
        assert status_of(connection) == 200
    began = time.monotonic()

    assert site.node.stop() == 0
    assert time.monotonic() - began < 10


def test_a_supervisor_hears_of_the_reload(new_node: NewNode, tmp_path: Path) -> None:
    site = Site(tmp_path, new_node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(30)
        site.node = new_node(
            tmp_path / "data", *site.flags, settings={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        ).start()
        assert supervisor.recv(1_000).startswith(b"READY=1\n")
        site.hang_up("tls.reloaded")
        assert supervisor.recv(1_000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert supervisor.recv(1_000).startswith(b"READY=1\n")
        assert site.node.stop() == 0


def test_sighup_ends_no_node_without_tls(new_node: NewNode, tmp_path: Path) -> None:
    site = Site(tmp_path, new_node)
    site.node = new_node(tmp_path / "data", "--log", "ledger").start()
    site.hang_up("node.not_reloaded")
    assert site.node.stop() == 0
