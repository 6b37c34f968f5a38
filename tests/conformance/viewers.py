"""Viewers as Hypothesis draws them for test_sessions_model.py: few of everything, so that they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from openusher.model.account import Edge
from openusher.model.address import parse_address
from openusher.model.attempt import AttemptRequest
from openusher.model.pathmap import Meaning
from openusher.watching import Asked
from tests.oracles.admission import Ticket
from tests.oracles.session_model import File, Question

T = TypeVar("T")
CDNS = (1, 2)
EDGES_EACH = 2
PASSES = ("ann|1", "bob|2")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1")
AGENTS = ("tv", "phone")


def _file(path: str, video: str, base: str) -> File:
    return {"path": path, "starts": not path.endswith(".ts"), "app": "live", "video": video, "base": base}


# A folder in another video's, a video that its files' names tell, a whole file.
FILES = (
    _file("/live/a/index.m3u8", "a", "/live/a/"),
    _file("/live/a/7.ts", "a/7.ts", "/live/a/7.ts"),
    _file("/live/a/low/index.m3u8", "a/low", "/live/a/low/"),
    _file("/live/b/index.m3u8", "b", "/live/b/"),
    _file("/live/c.m3u8", "c", "/live/c"),
    _file("/live/c-7.ts", "c", "/live/c"),
    _file("/live/d.mp4", "d.mp4", "/live/d.mp4"),
)


class Drawn(NamedTuple):
    """What is asked, with one of the newest tickets or as the viewer of one of the newest sessions. None is what that
    viewer began with."""

    method: str
    cdn: int
    which: int
    how: str
    edge: int | None
    file: int | None
    ip: int | None
    agent: int | None


def _drawn(how: list[str], place: st.SearchStrategy[int | None]) -> st.SearchStrategy[Drawn]:
    return st.builds(
        Drawn,
        method=st.sampled_from(["GET"] * 10 + ["OPTIONS", "POST"]),
        cdn=st.sampled_from([1, 1, 2]),
        which=st.integers(0, 3),
        how=st.sampled_from(how),
        edge=place.map(lambda edge: edge and edge // 6),
        file=place,
        ip=place,
        agent=place.map(lambda agent: agent and agent // 6),
    )


_WITH_A_TICKET = ["ticket", "ticket", "ticket", "ticket", "wrong pass", "no ticket"]
# With a cookie alone, with one that was not signed by us, with that of the session before as well.
_ON = ["by cookie", "by cookie", "by ticket", "by ticket", "by both", "by forged", "by two"]
starts = _drawn(_WITH_A_TICKET, st.integers(0, 9))
goes_on = _drawn(_ON, st.one_of(st.none(), st.none(), st.none(), st.integers(0, 9)))
asks = st.one_of(starts, goes_on, goes_on)


class Viewers:
    """Makes what is drawn into what is asked: of the model, and of Usher."""

    def __init__(self, edges: Mapping[int, Sequence[Edge]]) -> None:
        self._edges = edges
        # What opened a session, and its cookie, by its number.
        self.opened: dict[int, tuple[Question, str]] = {}

    def asks(self, drawn: Drawn, tickets: Mapping[int, Mapping[str, Ticket]]) -> tuple[Question, Asked]:
        """`tickets` are those of each account by key."""
        cookies: list[str] = []
        if drawn.how.startswith("by") and self.opened:
            number = newest(list(self.opened), drawn.which)
            question, cookies = self._goes_on(number, drawn.how)
        else:
            key, ticket = newest(list(tickets[drawn.cdn].items()), drawn.which)
            question = _nobody(drawn.cdn, self._edges[drawn.cdn][0].number)
            if drawn.how != "no ticket":
                question["key"] = key
                question["password"] = ticket["pass"] if drawn.how != "wrong pass" else "eve"
        self._changed(question, drawn)
        return question, self._asked(question, cookies)

    def _goes_on(self, number: int, how: str) -> tuple[Question, list[str]]:
        first, cookie = self.opened[number]
        question = first.copy()
        question["cookies"], cookies = [], []
        if how == "by forged":
            cookies.append(cookie[:-1] + ("0" if cookie[-1] != "0" else "1"))
        elif how != "by ticket":
            named = [number - 1, number] if how == "by two" and number - 1 in self.opened else [number]
            question["cookies"] = named
            cookies = [self.opened[each][1] for each in named]
        if how in ("by cookie", "by forged"):
            question["key"] = question["password"] = ""
        return question, cookies

    def _changed(self, question: Question, drawn: Drawn) -> None:
        question["method"] = drawn.method
        if drawn.edge is not None:
            question["edge"] = self._edges[question["cdn"]][drawn.edge].number
        if drawn.file is not None:
            question["file"] = FILES[drawn.file % len(FILES)]
        if drawn.ip is not None:
            question["ip"] = ADDRESSES[drawn.ip % len(ADDRESSES)]
        if drawn.agent is not None:
            question["agent"] = AGENTS[drawn.agent]

    def _asked(self, question: Question, cookies: Sequence[str]) -> Asked:
        (edge,) = [edge for edge in self._edges[question["cdn"]] if edge.number == question["edge"]]
        return Asked(
            edge=edge,
            method=question["method"],
            path=question["file"]["path"],
            key=question["key"],
            password=question["password"],
            ip=parse_address(question["ip"]),
            user_agent=question["agent"],
            cookies=tuple(cookies),
        )


def newest(values: Sequence[T], which: int) -> T:
    """The newest of `values` for 0, the one before for 1, and so on."""
    return values[-1 - which % len(values)]


def attempt_of(asked: Asked, meaning: Meaning) -> AttemptRequest:
    """The question of a start, as an edge's door puts it."""
    return AttemptRequest(
        cdn=asked.edge.cdn,
        edge=asked.edge.number,
        key=asked.key,
        password=asked.password,
        app=meaning.app,
        appinst=meaning.appinst,
        video=meaning.video,
        ip=asked.ip,
        user_agent=asked.user_agent,
    )


def _nobody(cdn: int, edge: int) -> Question:
    return {
        "cdn": cdn,
        "edge": edge,
        "method": "GET",
        "file": FILES[0],
        "key": "",
        "password": "",
        "ip": ADDRESSES[0],
        "agent": AGENTS[0],
        "cookies": [],
    }
