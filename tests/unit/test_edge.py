"""What an edge can be set to: what could never work is refused with the name of the option."""

from __future__ import annotations

import pytest

from openusher.errors import InvalidParameter
from openusher.model.edge import EdgeKind, checked_options

TLS = {"listen": ["443 ssl"], "certificate": ["/etc/ssl/media.pem"], "certificate_key": ["/etc/ssl/media.key"]}


@pytest.mark.parametrize(
    "origin",
    ["https://www.example.com", "https://www.example.com:8443", "http://localhost:3000", "http://10.0.0.1", "*"],
)
def test_a_site_is_taken_as_browsers_write_it(origin: str) -> None:
    assert checked_options(EdgeKind.NGINX, {"cors_origin": [origin]}) == {"cors_origin": origin}


@pytest.mark.parametrize(
    "origin",
    [
        "www.example.com",
        "https://www.example.com/",
        "https://www.Example.com",
        "https://www.example.com:443",
        "http://www.example.com:80",
        "https://www.example.com:0",
        "https://*.example.com",
        "ftp://www.example.com",
        "null",
        "",
    ],
)
def test_a_site_that_no_browser_would_name_so_is_refused(origin: str) -> None:
    with pytest.raises(InvalidParameter, match="cors_origin"):
        checked_options(EdgeKind.NGINX, {"cors_origin": ["https://other.example.com", origin]})


def test_a_certificate_comes_with_its_key_and_a_listen_that_uses_it() -> None:
    assert set(checked_options(EdgeKind.NGINX, TLS)) == set(TLS)
    for missing, said in (("certificate", "both"), ("certificate_key", "both"), ("listen", "443 ssl")):
        with pytest.raises(InvalidParameter, match=said):
            checked_options(EdgeKind.NGINX, {name: value for name, value in TLS.items() if name != missing})
