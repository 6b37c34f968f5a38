"""HTTP itself, against a real node: limits of size and time, methods, paths, connections that are kept or break off."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.e2e.rawhttp import RawConnection, chunked, request
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection, signed_text

BODY_BYTES_MAX = 65_536
SEVU, DOOR = "/stable/", "/v1/authorize"
# Shorter than a real node's 10 s, so that what must be cut off is cut off soon.
REQUEST_S_MAX = 3


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USHER_REQUEST_S_MAX", str(REQUEST_S_MAX))
        with running_node(tmp_path_factory.mktemp("transport") / "data", "--log", "ledger") as started:
            yield started


@pytest.fixture
def raw(node: Node) -> Iterator[RawConnection]:
    with RawConnection(node.url) as connected:
        yield connected


def count_body(account: Account, *, size: int = 0) -> bytes:
    """A good sevu.errorcount as a form, filled up to `size` bytes with empty fields."""
    padding = "x" * (size // 2)
    body = urllib.parse.urlencode({"json": signed_text(account, "sevu.errorcount", padding=padding)}).encode()
    return body.ljust(size, b"&")


def question_body(*, size: int) -> bytes:
    """A question to the door of `size` bytes, by a user agent that will be cut."""
    question = {"app": "live", "video": "cam1", "ip": "192.0.2.1", "user_agent": ""}
    return json.dumps({**question, "user_agent": "x" * (size - len(json.dumps(question)))}).encode()


def bearer(account: Account) -> str:
    return f"Bearer {account.edge_token}"


# Size


@pytest.mark.parametrize("way", ["announced", "chunked"])
def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(way: str, account: Account, raw: RawConnection) -> None:
    def post(path: str, body: bytes) -> tuple[int, dict[str, object]]:
        if way == "announced":
            raw.send(request("POST", path, body, authorization=bearer(account)))
        else:
            head = request("POST", path, transfer_encoding="chunked", authorization=bearer(account))
            raw.send(head, chunked(body))
        answer = raw.answer()
        return answer.status, json.loads(answer.body)

    fits, too_large = count_body(account, size=BODY_BYTES_MAX), count_body(account, size=BODY_BYTES_MAX + 1)
    # All on one connection: what was too large is read to its end, and the next request is understood.
    assert (len(fits), post(SEVU, fits)[1]["code"]) == (BODY_BYTES_MAX, 2051)
    status, reply = post(SEVU, too_large)
    assert (status, reply["code"], reply["status"]) == (200, 9003, "failure")
    assert post(SEVU, b"json=" + b"x" * 2_000_000)[1]["code"] == 9003
    status, reply = post(DOOR, question_body(size=BODY_BYTES_MAX))
    assert (status, reply["reason"]) == (200, "Missing Auth Token")
    status, reply = post(DOOR, question_body(size=BODY_BYTES_MAX + 1))
    assert (status, reply) == (413, {"error": {"field": "", "message": "the body is longer than 65536 bytes"}})
    assert post(DOOR, b"x" * 2_000_000)[0] == 413
    assert post(SEVU, fits)[1]["code"] == 2051


@pytest.mark.parametrize("announced", ["65537", "9999999999", "99999999999", "9" * 18])
def test_a_length_too_large_is_refused_before_any_byte_of_the_body(announced: str, raw: RawConnection) -> None:
    raw.send(request("POST", SEVU, content_length=announced, expect="100-continue"))
    answer = raw.answer()

    assert json.loads(answer.body)["code"] == 9003
    # A client that asks before it sends may send something else next.
    assert answer.headers["connection"] == "close"
    assert raw.rest() == b""


def test_a_door_of_too_large_a_question_also_closes_on_who_asked_first(account: Account, raw: RawConnection) -> None:
    raw.send(request("POST", DOOR, content_length="65537", expect="100-continue", authorization=bearer(account)))
    answer = raw.answer()

    assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: usher\r\ncookie: " + b"c" * 33_000 + b"\r\n\r\n",
        b"GET /?" + b"q" * 33_000 + b" HTTP/1.1\r\nhost: usher\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(5_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: usher\r\ncookie: " + b"c" * 1_000_000,
    ],
    ids=["one header", "address", "many headers", "never ending"],
)
def test_headers_of_more_than_32_kib_are_refused(head: bytes, pieces: int, raw: RawConnection) -> None:
    size = -(-len(head) // pieces)
    try:
        raw.send(*(head[at : at + size] for at in range(0, len(head), size)))
    except (BrokenPipeError, ConnectionResetError):
        # Refused while we were still sending.
        return
    received = raw.rest()

    assert received.startswith(b"HTTP/1.1 431 ") or (received == b"" and len(head) > 500_000)
    assert received.count(b"HTTP/1.1 ") <= 1


def test_headers_of_30_kib_are_taken(account: Account, raw: RawConnection) -> None:
    raw.send(request("POST", SEVU, count_body(account), cookie="c" * 30_000))

    assert json.loads(raw.answer().body)["code"] == 2051


def test_a_large_body_before_the_next_requests_headers_does_not_count_as_headers(
    account: Account, raw: RawConnection
) -> None:
    first, second = request("POST", SEVU, count_body(account, size=60_000)), request("POST", SEVU, count_body(account))
    raw.send(first + second[:50])
    assert json.loads(raw.answer().body)["code"] == 2051
    raw.send(second[50:])

    assert json.loads(raw.answer().body)["code"] == 2051


# Methods and paths


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/stable", "/stable/", "/dev/", "/cp/api/0.8/"])
def test_the_api_says_in_its_own_form_that_it_needs_a_post(method: str, path: str, connection: Connection) -> None:
    status, headers, body = connection.request(method, f"{path}?json=%7B%7D")

    assert (status, headers["content-type"]) == (200, "application/json")
    if method == "HEAD":
        assert body == b""
    else:
        reply = json.loads(body)
        assert list(reply) == ["code", "message", "status", "handle_time"]
        assert (reply["code"], reply["status"]) == (9002, "failure")
        assert "POST" in reply["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_the_door_takes_a_post_only(method: str, account: Account, connection: Connection) -> None:
    status, headers, _ = connection.request(method, DOOR, headers={"Authorization": bearer(account)})

    assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    ["/stable//", "/Stable/", "/v1", "/v1/", "/v1/authorize/", "/accounts", "/status", "/cp/api/", "/x", "/%00", "/.."],
)
def test_nothing_else_is_there(path: str, connection: Connection) -> None:
    for method in ("GET", "POST"):
        assert connection.request(method, path, b"{}" if method == "POST" else b"")[0] == 404


def test_a_path_may_be_escaped_and_carry_a_query(account: Account, connection: Connection) -> None:
    for path in ("/st%61ble/", "/stable/?x=1"):
        assert connection.post_text(signed_text(account, "sevu.errorcount"), path=path)["code"] == 2051


def test_balancers_learn_that_the_node_is_alive_and_ready(connection: Connection) -> None:
    assert connection.request("GET", "/healthz")[::2] == (200, b"alive\n")
    assert connection.request("GET", "/readyz")[::2] == (200, b"ready\n")


# Connections


def test_a_connection_is_kept_for_many_requests(account: Account, raw: RawConnection) -> None:
    for _ in range(100):
        raw.send(request("POST", DOOR, question_body(size=200), authorization=bearer(account)))
        answer = raw.answer()
        assert (answer.status, answer.headers.get("connection")) == (200, None)


def test_a_connection_is_kept_while_it_is_idle_whatever_was_answered(node: Node, account: Account) -> None:
    asked = request("POST", DOOR, question_body(size=200), authorization=bearer(account))
    refused = request("POST", DOOR, b"{}", authorization="Bearer nobody's")
    with RawConnection(node.url) as allowed, RawConnection(node.url) as stranger:
        for connection, sent in ((allowed, asked), (stranger, refused)):
            connection.send(sent)
            assert connection.answer().status in (200, 401)
        # Were the clock of a request still running, it would be over by then.
        for connection in (allowed, stranger):
            connection.socket.settimeout(REQUEST_S_MAX / 2 + 1)
            with pytest.raises(TimeoutError):
                connection.socket.recv(1)
        for connection, sent in ((allowed, asked), (stranger, refused)):
            connection.socket.settimeout(20)
            connection.send(sent)
            assert connection.answer().status in (200, 401)


def test_questions_sent_ahead_are_answered_in_order(account: Account, raw: RawConnection) -> None:
    ids = [f"0192e4a8-7c3f-7d52-9f0a-{number:012x}" for number in range(20)]
    bodies = [json.dumps({"app": "a", "video": "v", "ip": "192.0.2.1", "attempt_id": each}).encode() for each in ids]
    last = request("POST", DOOR, bodies[-1], authorization=bearer(account), connection="close")
    raw.send(b"".join([*(request("POST", DOOR, body, authorization=bearer(account)) for body in bodies[:-1]), last]))
    received = raw.rest().decode()

    assert received.count("HTTP/1.1 200 OK") == 20
    positions = [received.index(each) for each in ids]
    assert positions == sorted(positions)


def test_requests_sent_ahead_are_answered_in_order(account: Account, raw: RawConnection) -> None:
    names = [f"x{number}" for number in range(20)]
    bodies = [
        urllib.parse.urlencode({"json": signed_text(account, "sevu.errorcount", **{name: 1})}).encode()
        for name in names
    ]
    last = request("POST", SEVU, bodies[-1], connection="close")
    raw.send(b"".join([*(request("POST", SEVU, body) for body in bodies[:-1]), last]))
    received = raw.rest().decode()

    assert received.count("HTTP/1.1 200 OK") == 20
    positions = [received.index(f'"ignored":["{name}"]') for name in names]
    assert positions == sorted(positions)


def test_http_1_0_is_answered_and_closed(account: Account, raw: RawConnection) -> None:
    raw.send(request("POST", SEVU, count_body(account)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    received = raw.rest()

    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b'"code":2051' in received


def test_an_offer_to_change_to_http_2_is_not_taken_and_the_request_is_answered(
    account: Account, raw: RawConnection
) -> None:
    """Java's own client makes this offer with every request."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAB"}
    for _ in range(2):
        raw.send(request("POST", DOOR, question_body(size=200), authorization=bearer(account), **offer))
        answer = raw.answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (200, "Missing Auth Token")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\nx",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
    ],
    ids=lambda garbage: garbage[:60].decode("latin-1").encode("unicode_escape").decode(),
)
def test_what_is_not_http_is_refused_and_closed(garbage: bytes, raw: RawConnection, connection: Connection) -> None:
    raw.send(garbage)
    received = raw.rest()

    assert received == b"" or received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 408 "))
    assert connection.request("GET", "/healthz")[0] == 200


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(node: Node, account: Account) -> None:
    before = attempts_recorded(node)
    whole = request("POST", DOOR, question_body(size=5_000), authorization=bearer(account))
    for path in (DOOR, SEVU):
        for length in (1, 30, 150, 1_000, 5_000):
            with RawConnection(node.url) as raw:
                raw.send(whole.replace(DOOR.encode(), path.encode(), 1)[:length])
    with node.connect() as connection:
        assert connection.count(account, app="live", user="nobody") == 0

    assert attempts_recorded(node) == before
    assert "Traceback" not in node.log_file.read_text()


def test_a_client_that_goes_away_before_its_answer_still_left_an_attempt(node: Node, account: Account) -> None:
    """The question was whole: it is decided, recorded and counted, once."""
    body = json.dumps({"key": "gone", "app": "live", "video": "v", "ip": "192.0.2.1"}).encode()
    with RawConnection(node.url) as raw:
        raw.send(request("POST", DOOR, body, authorization=bearer(account)))
    with node.connect() as connection:
        for _ in range(200):
            if connection.count(account, key="gone") == 1:
                break
        assert connection.count(account, key="gone") == 1


def attempts_recorded(node: Node) -> int:
    shown = usher("status", "--data", str(node.data), "--json")
    return int(json.loads(shown.stdout)["last_attempt_id"])


# Pieces


def test_an_answer_comes_in_one_piece(account: Account, raw: RawConnection) -> None:
    """Head and body apart are two packets, and wake whoever reads them twice."""
    for _ in range(20):
        raw.send(request("POST", DOOR, question_body(size=200), authorization=bearer(account)))
        piece = raw.socket.recv(65_536)

        assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
        assert piece.endswith(b"}")


def test_an_answer_without_a_body_is_sent_at_once(raw: RawConnection) -> None:
    """And the connection goes on: what follows is the next answer, whole."""
    raw.send(request("HEAD", "/healthz"))
    head = raw.socket.recv(65_536)
    raw.send(request("GET", "/healthz"))

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert raw.answer().status == 200
