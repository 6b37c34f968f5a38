"""The page of a live event: its own commands, files and URLs, as far as they can run beside other servers of a machine.

What installs, and what starts with a machine, is left out; its addresses, ports and folders are a test's own.
"""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.nodes import running_node
from tests.servers.media import make_film
from tests.servers.nginx import in_folder, running_configuration, temp_paths
from tests.servers.ports import free_port
from tests.servers.rtmp import publishing
from tests.servers.tls import make_certificate

pytestmark = pytest.mark.client

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "live-event.md"
_HERE = ("apt-get", "(cd", "ln", "useradd", "systemctl", "certbot", "chown", "nginx", "export")
_LIVE = "live.example.com"
_WAIT_S_MAX = 30.0


class Reader:
    """Follows the page in a folder of their own."""

    def __init__(self, folder: Path, node_url: str, data: Path) -> None:
        self.folder = folder
        folder.mkdir()
        certificate = make_certificate(folder, _LIVE, "www.example.com")
        self.tls, self.rtmp = free_port(), free_port()
        for name in ("nginx/conf.d", "media", "shop"):
            (folder / name).mkdir(parents=True)
        # The longest first: one stands in another.
        self._here = {
            "/etc/letsencrypt/live/live.example.com/fullchain.pem": str(certificate.chain),
            "/etc/letsencrypt/live/live.example.com/privkey.pem": str(certificate.key),
            "/etc/nginx/nginx.conf": f"{folder}/nginx/printed.conf",
            "/etc/nginx/conf.d": f"{folder}/nginx/conf.d",
            "/srv/media": f"{folder}/media",
            "/srv/shop": f"{folder}/shop",
            "/etc/usher": f"{folder}/etc",
            "127.0.0.1:8088": node_url.removeprefix("http://"),
            "/var/log/nginx": f"{folder}/nginx",
            "listen 443": f"listen 127.0.0.1:{self.tls}",
            "listen=443": f"listen=127.0.0.1:{self.tls}",
            "listen 1935": f"listen 127.0.0.1:{self.rtmp}",
            f"rtmp://{_LIVE}": f"rtmp://127.0.0.1:{self.rtmp}",
            "user www-data": "user root" if os.geteuid() == 0 else "user www-data",
        }
        self.page = self.moved(_PAGE.read_text())
        bins = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {
            **os.environ,
            "PATH": bins,
            "USHER_DATA": str(data),
            "USHER_CREDENTIALS": f"{folder}/etc/arena.json",
            "USHER_URL": f"{node_url}/stable/",
        }

    def moved(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def files(self, language: str) -> str:
        (text,) = re.findall(rf"^```{language}\n(.*?)^```$", self.page, re.MULTILINE | re.DOTALL)
        return str(text)

    def run(self, section: str) -> list[str]:
        """Run the commands of a section that can run here; what each printed."""
        (text,) = re.findall(rf"^## \d\. {section}\n(.*?)(?=^## |\Z)", self.page, re.MULTILINE | re.DOTALL)
        lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", "")
        return [self._run(line) for line in lines.splitlines() if line.split()[0] not in _HERE]

    def _run(self, line: str) -> str:
        ran = subprocess.run(
            ["bash", "-c", line], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        return ran.stdout

    def configuration(self) -> str:
        """The printed one, moved to where it can run."""
        for file in (self.folder / "nginx").rglob("*.conf"):
            file.write_text(self.moved(file.read_text()))
        printed = (self.folder / "nginx" / "printed.conf").read_text()
        return f"{in_folder(self.folder / 'nginx')}\n" + printed.replace(
            "http {\n", f"http {{\n{temp_paths(self.folder / 'nginx')}\n"
        )

    def get(self, path: str) -> tuple[int, bytes]:
        """What a viewer gets of the media."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.tls, context=context, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": _LIVE, "User-Agent": "player"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def buy(self, shop: str, email: str) -> str:
        """What the shop's page shows to a buyer: the path of the stream that is his."""
        form = urllib.parse.urlencode({"email": email}).encode()
        with urllib.request.urlopen(f"{shop}/watch.php", form, timeout=10) as answer:
            page = answer.read().decode()
        (url,) = re.findall(r'<video [^>]*src="([^"]+)"', page)
        assert url.startswith(f"https://{_LIVE}/")
        return html.unescape(url).removeprefix(f"https://{_LIVE}")

    @contextmanager
    def shop(self) -> Iterator[str]:
        """The shop's page as PHP's own server has it."""
        account = json.loads((self.folder / "etc" / "arena.json").read_text())
        told = {"CDN": str(account["cdn"]), "API_KEY": account["api_key"], "SECRET": account["secret"]}
        port = free_port()
        php = shutil.which("php")
        assert php is not None, "php is not installed; `make packages` installs it"
        process = subprocess.Popen(
            [php, "-S", f"127.0.0.1:{port}", "-t", str(self.folder / "shop")],
            env={**os.environ, **told},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await_answer(lambda: b"Buy a ticket" in urllib.request.urlopen(f"{url}/watch.php", timeout=5).read())
            yield url
        finally:
            process.terminate()
            process.wait()


def await_answer(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while True:
        try:
            if is_there():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_the_page_leads_from_an_empty_machine_to_a_sold_ticket_and_its_count(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", "--log", "ledger") as node:
        reader = Reader(tmp_path / "reader", node.url, node.data)
        reader.run("Make your account")
        reader.run("Take the stream, and guard it")
        (tmp_path / "reader" / "shop" / "watch.php").write_text(reader.files("php"))
        (tmp_path / "reader" / "nginx" / "conf.d" / "shop.conf").write_text(reader.files("nginx"))
        film = make_film(tmp_path / "film.mp4", seconds=10)
        (encoder,) = re.findall(r"The encoder sends to `([^`]+)`", reader.page)
        nginx = tmp_path / "reader" / "nginx"
        with running_configuration(nginx, reader.configuration(), [reader.tls, reader.rtmp]) as server:
            with publishing(film, encoder.partition("?")[0] + "?pass=wrong") as stranger:
                assert not stranger.wait(timeout_s=20).ended_well
            with reader.shop() as shop, publishing(film, encoder) as sent:
                sent.await_frames(30)
                path = reader.buy(shop, "ada@example.com")
                await_answer(lambda: (tmp_path / "reader/media/live/arena/index.m3u8").exists())
                status, playlist = reader.get(path)
                assert (status, playlist[:7]) == (200, b"#EXTM3U")
                segment = re.findall(r"^[^#\n]+\.ts$", playlist.decode(), re.MULTILINE)[-1]
                status, media = reader.get(path.rpartition("/")[0] + "/" + segment)
                assert (status, media[:1]) == (200, b"G")
                assert reader.get("/live/arena/index.m3u8")[0] == 403
                assert reader.get(path.replace("/live/arena/", "/live/other/"))[0] == 403
                (listed,) = reader.run("Go live")
                # Another screen of the same buyer, while the first plays.
                assert "arena" in listed
        accepted, refused, _, users = reader.run("Count afterwards")
        logs = "".join(file.read_text(errors="replace") for file in nginx.rglob("*.log")) + server.error_log()

    assert '"error_count": 1' in accepted
    assert '"error_count": 1' in refused
    assert '"value": "ada@example.com"' in users
    assert "ada@example.com" not in logs
    assert "an%20encoder" not in logs
