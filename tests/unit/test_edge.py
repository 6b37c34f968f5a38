"""What an edge can be set to: what could never work is refused with the name of the option."""

from __future__ import annotations

import pytest

from openusher.errors import InvalidParameter
from openusher.model.account import Edge
from openusher.model.edge import EdgeKind, checked_options, shown_options

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


@pytest.mark.parametrize(
    "url", ["http://[", "http://[::1", "http://a]b", "http://x:99999", "http://x:y", "http://", "http://u:pa/ss@h:1985"]
)
def test_a_control_url_that_has_no_host_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameter, match="control"):
        checked_options(EdgeKind.NGINX_RTMP, {"control": [url]})


@pytest.mark.parametrize("password", ["secret", "se@cret", "sec:ret", "@"])
def test_nothing_of_a_control_urls_password_is_shown(password: str) -> None:
    options = checked_options(EdgeKind.SRS, {"control": [f"http://admin:{password}@10.0.0.1:1985/a@b"]})
    edge = Edge(number=1, cdn=1, name="edge", token_digest="", kind=EdgeKind.SRS, options=options)

    assert shown_options(edge) == {"control": "http://***@10.0.0.1:1985/a@b"}
