"""The core of all doors that are asked for each file, before it is sent: by nginx's `auth_request` and its like.

Each server describes a viewer's request in its own way, which its skin reads, and is answered with a status: 200 lets
the file be sent, 403 refuses it, 503 says that nobody knows.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Protocol

from openusher.errors import InvalidParameter, NotAuthorised, UsherError
from openusher.livesession import Live
from openusher.model.address import parse_address
from openusher.model.attempt import AttemptRequest
from openusher.model.discreet import Discreet
from openusher.model.edge import COOKIE, ONE_COOKIE, EdgeKind, option
from openusher.model.limits import USER_AGENT_BYTES_MAX, cut_text
from openusher.model.pathmap import Meaning
from openusher.usher import Usher
from openusher.watching import Asked, Verdict
from openusher.web.asgi import Answered, Headers, Respond
from openusher.web.edges.endpoint import Call
from openusher.web.edges.hooks import is_refusal, retry_after
from openusher.web.edges.question import Question, request_of
from openusher.web.edges.tickets import carried_ticket, served_path

_COOKIES = re.compile(rf"(?:^|;)\s*{COOKIE}_[0-9a-f]{{8}}=([^;\s]*)")
_REASON = b"x-usher-reason"
# Whatever a server's other settings say of answers without a date of expiry.
_NEVER_KEPT = (b"cache-control", b"no-store")
_PLAIN: Headers = [_NEVER_KEPT]


class Viewed(Discreet, frozen=True, kw_only=True):
    """What a viewer asked a server for: `target` as it came, with its query; `ip` as text; `path` as the server serves
    it, None where that is the target without ticket and query, decoded once."""

    target: str
    method: str
    ip: str
    path: str | None = None


class Skin(Protocol):
    """What one kind of server makes of a viewer's request."""

    kind: EdgeKind
    # Whether the server hands on cookies of names that it knows beforehand.
    has_one_cookie: bool

    def read(self, call: Call) -> Viewed:
        """What the viewer asked for. Raises InvalidParameter, KeyError for a header that is missing, ValueError."""
        ...

    def keeps(self, seconds: str) -> Headers:
        """What lets the server keep an answer for so long; empty where it keeps none."""
        ...


class ForwardDoor:
    """The door. Most that it is asked are follow-ups, which it answers from memory and at once."""

    method = "GET"

    def __init__(self, usher: Usher, skin: Skin) -> None:
        self._usher = usher
        self._skin = skin
        self.kind = skin.kind

    def ask(self, call: Call, answer: Respond) -> None:
        """Say whether the file may be sent that the server describes."""
        asked = self._read(call)

        def question(meaning: Meaning) -> AttemptRequest:
            return _question(asked, meaning)

        def verdict(given: Verdict | Exception) -> None:
            if isinstance(given, Verdict):
                answer(*self._answer_of(given, asked))
            else:
                answer(*_fault(given))

        self._usher.watching.ask(asked, question, verdict)

    def refused(self, error: UsherError) -> Answered:
        # Servers show their viewers a 401, which would have them look for a password.
        if isinstance(error, NotAuthorised):
            return 403, b"", [(_REASON, b"Invalid edge token"), _NEVER_KEPT], error
        return _fault(error)

    def _read(self, call: Call) -> Asked:
        """Raises InvalidParameter."""
        try:
            viewed = self._skin.read(call)
            ip = parse_address(viewed.ip)
            carried = carried_ticket(viewed.target)
            path = served_path(viewed.target, carried) if viewed.path is None else viewed.path
        except KeyError as error:
            name = error.args[0].decode()
            raise InvalidParameter(name, "this header is missing") from None
        except ValueError:
            raise InvalidParameter("headers", "no UTF-8, or no address") from None
        headers = call.headers
        agent = headers.get(b"user-agent", b"").decode(errors="replace")
        if len(agent) * 4 > USER_AGENT_BYTES_MAX:
            agent, _ = cut_text(agent, bytes_max=USER_AGENT_BYTES_MAX)
        return Asked(
            edge=call.edge,
            method=viewed.method,
            path=path,
            key=carried.key,
            password=carried.password,
            ip=ip,
            user_agent=agent,
            cookies=_cookies(headers[b"cookie"]) if b"cookie" in headers else (),
            ip_text=viewed.ip,
            referer=headers.get(b"referer", b"").decode(errors="replace"),
            raw_path=carried.path,
            has_ticket_in_path=carried.in_path,
        )

    def _answer_of(self, verdict: Verdict, asked: Asked) -> Answered:
        if verdict.reason:
            return 403, b"", [(_REASON, verdict.reason.encode()), _NEVER_KEPT], verdict
        live = verdict.live
        if live is None:
            return 200, b"", _PLAIN, verdict
        # Where the path carries the ticket, every file's URL does.
        if not asked.has_ticket_in_path:
            text = self._usher.watching.book.cookie_of(live)
            if text not in asked.cookies:
                name = ONE_COOKIE if self._skin.has_one_cookie else _cookie_name(live.session.base)
                cookie = _cookie(name, text, asked, self._usher.session_resume_s)
                return 200, b"", [(b"set-cookie", cookie), _NEVER_KEPT], verdict
        recheck_s = asked.edge.options.get("recheck_s", "0")
        if recheck_s == "0" or not _is_keepable(verdict, live):
            return 200, b"", _PLAIN, verdict
        return 200, b"", self._skin.keeps(recheck_s) or [_NEVER_KEPT], verdict


def _is_keepable(verdict: Verdict, live: Live) -> bool:
    """Whether the server may keep the answer, by folder: never a start, and not where a folder has several videos."""
    return not verdict.is_start and live.session.base.endswith("/")


def _question(asked: Asked, meaning: Meaning) -> AttemptRequest:
    question = Question(
        key=asked.key,
        password=asked.password,
        app=meaning.app,
        appinst=meaning.appinst,
        video=meaning.video,
        ip=asked.ip_text,
        pageurl=asked.referer,
        user_agent=asked.user_agent,
    )
    return request_of(question, asked.edge)


def _cookies(header: bytes) -> tuple[str, ...]:
    """The values of those that are named as ours."""
    return tuple(_COOKIES.findall(header.decode("latin-1")))


def _cookie_name(base: str) -> str:
    """One for each video: several may lie in one folder."""
    return f"{COOKIE}_{blake2b(base.encode(), digest_size=4).hexdigest()}"


def _cookie(name: str, text: str, asked: Asked, max_age_s: int) -> bytes:
    """For the start's folder as the player spelled it."""
    folder = asked.raw_path[: asked.raw_path.rfind("/") + 1]
    secure = "; Secure" if option(asked.edge, "cookie_secure") == "on" else ""
    same_site = option(asked.edge, "cookie_same_site")
    if same_site == "None":
        # Browsers that take no cookies of third parties take those which are kept for the page's site alone.
        same_site += "; Partitioned"
    path = "".join(c for c in folder if c not in ";\r\n")
    return f"{name}={text}; Path={path}; Max-Age={max_age_s}; HttpOnly{secure}; SameSite={same_site}".encode()


def _fault(error: Exception) -> Answered:
    """Not decided: the server must let nobody in, and the viewer may ask again."""
    if is_refusal(error):
        return 403, b"", [(_REASON, b"Not understood"), _NEVER_KEPT], error
    return 503, b"", [retry_after(error), _NEVER_KEPT], error
