"""Viewers as Hypothesis draws them for test_sessions_model.py: few of everything, so that they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from openusher.model.account import Edge
from openusher.model.address import parse_address, parse_net
from openusher.model.session import SessionFilter
from openusher.watching import Asked
from tests.oracles.session_model import File, Model, Question

T = TypeVar("T")
CDNS = (1, 2)
EDGES_EACH = 2
PASSES = ("ann|1", "bob|2")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1")
AGENTS = ("tv", "phone")
ANY = 4
# What sessions may have in common.
TRAITS = ("id", "key", "password", "ip", "video")


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
    """What is asked: with one of the newest tickets that may be good, or as the viewer of one of the newest sessions
    that live; `ANY`, of all there were. None is what that viewer began with."""

    method: str
    cdn: int
    which: int
    how: str
    edge: int | None
    file: int | None
    ip: int | None
    agent: int | None


def _drawn(how: list[str], place: st.SearchStrategy[int | None], methods: list[str]) -> st.SearchStrategy[Drawn]:
    return st.builds(
        Drawn,
        method=st.sampled_from(methods),
        cdn=st.sampled_from([1, 1, 2]),
        which=st.sampled_from([0, 0, 0, 1, 1, 2, 3, ANY]),
        how=st.sampled_from(how),
        edge=place.map(lambda edge: edge and edge // 6),
        file=place,
        ip=place,
        agent=place.map(lambda agent: agent and agent // 6),
    )


_WITH_A_TICKET = ["ticket"] * 6 + ["wrong pass", "no ticket"]
# With a cookie alone, with one that was not signed by us, with that of the session before as well.
_ON = ["by cookie", "by cookie", "by ticket", "by ticket", "by both", "by both", "by forged", "by two", "by wrong pass"]
_numbers = st.integers(0, 9)
_changes = st.one_of(st.none(), st.none(), st.none(), _numbers)
starts = _drawn(_WITH_A_TICKET, _numbers, ["GET"])
goes_on = _drawn(_ON, _changes, ["GET"])
asks = st.one_of(starts, goes_on)
_OTHERS = ["HEAD", "HEAD", "OPTIONS", "POST"]
_others = st.one_of(_drawn(_WITH_A_TICKET, _numbers, _OTHERS), _drawn(_ON, _changes, _OTHERS))
by_any_method = st.one_of(*[starts, goes_on] * 4, _others)


class Viewers:
    """Makes what is drawn into what is asked: of the model, and of Usher."""

    def __init__(self, model: Model, edges: Mapping[int, Sequence[Edge]]) -> None:
        self._model = model
        self._edges = edges
        # What opened a session, and its cookie, by its number.
        self.opened: dict[int, tuple[Question, str]] = {}

    def asks(self, drawn: Drawn) -> tuple[Question, Asked]:
        if drawn.how.startswith("by") and self.opened:
            question, cookies = self._goes_on(newest(self._sessions(drawn.which), drawn.which), drawn.how)
        else:
            question, cookies = self._starts(drawn), []
        self._change(question, drawn)
        return question, self._asked(question, cookies)

    def _sessions(self, which: int) -> list[int]:
        live = [session["number"] for session in self._model.live()]
        return live if live and which != ANY else list(self.opened)

    def _starts(self, drawn: Drawn) -> Question:
        known = self._model.tickets[drawn.cdn]
        active = [key for key, ticket in known.items() if ticket["active"]]
        key = newest(active if active and drawn.which != ANY else list(known), drawn.which)
        password = "eve" if drawn.how == "wrong pass" else known[key]["pass"]
        return {
            "cdn": drawn.cdn,
            "edge": self._edges[drawn.cdn][0].number,
            "method": "GET",
            "file": FILES[0],
            "key": key if drawn.how != "no ticket" else "",
            "password": password if drawn.how != "no ticket" else "",
            "ip": ADDRESSES[0],
            "agent": AGENTS[0],
            "cookies": [],
        }

    def _goes_on(self, number: int, how: str) -> tuple[Question, list[str]]:
        first, cookie = self.opened[number]
        question = first.copy()
        question["cookies"], cookies = [], []
        if how == "by forged":
            cookies.append(cookie[:-1] + ("0" if cookie[-1] != "0" else "1"))
        elif how not in ("by ticket", "by wrong pass"):
            named = [number - 1, number] if how == "by two" and number - 1 in self.opened else [number]
            question["cookies"] = named
            cookies = [self.opened[each][1] for each in named]
        if how in ("by cookie", "by forged"):
            question["key"] = question["password"] = ""
        if how == "by wrong pass":
            question["password"] = "eve"
        return question, cookies

    def comes_back(self, number: int, ip: str) -> tuple[Question, Asked]:
        """What opened a session, asked again without its cookie."""
        question: Question = {**self.opened[number][0], "ip": ip, "cookies": []}
        return question, self._asked(question, [])

    def alike(self, which: int, by: str) -> tuple[int, SessionFilter, list[int]]:
        """The live sessions that have something in common with one of the newest: account, filter, numbers."""
        number = newest(self._sessions(which), which)
        first, cookie = self.opened[number]
        filters = {
            "id": SessionFilter(id=cookie.partition(".")[0]),
            "key": SessionFilter(key=first["key"]),
            "password": SessionFilter(password=first["password"]),
            "ip": SessionFilter(ip=parse_net(first["ip"])),
            "video": SessionFilter(video=first["file"]["video"]),
        }
        live = [session["number"] for session in self._model.live() if session["cdn"] == first["cdn"]]
        found = [each for each in live if self._trait(each, by) == self._trait(number, by)]
        return first["cdn"], filters[by], found

    def _trait(self, number: int, by: str) -> object:
        first, _ = self.opened[number]
        traits = {
            "key": first["key"],
            "password": first["password"],
            "ip": first["ip"],
            "video": first["file"]["video"],
        }
        return traits.get(by, number)

    def _change(self, question: Question, drawn: Drawn) -> None:
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
