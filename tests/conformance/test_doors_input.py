"""What doors make of questions that nobody can read, and what they keep to themselves."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.doors import DOORS, DoorBench, Node, Play, Says, Sent, node_with

pytestmark = pytest.mark.anyio
PLAY = Play()


async def test_a_body_that_is_too_long_is_no_question(node: Node) -> None:
    await node.issue()
    sent = node.door.start(PLAY)

    assert await node.asks(sent._replace(body=sent.body + b" " * 70_000)) is not Says.YES
    assert await node.attempts() == []


@pytest.mark.parametrize("play", [PLAY._replace(ip="nowhere"), PLAY._replace(ip=""), PLAY._replace(ip="1.2.3.4, 5")])
async def test_an_address_that_is_none_lets_nobody_in(node: Node, play: Play) -> None:
    await node.issue()

    assert await node.starts(play) is Says.NO
    assert await node.attempts() == []


@pytest.mark.parametrize("kind", [bench.kind for bench in DOORS])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_question_is_never_a_fault_and_lets_nobody_in_but_as_it_was(kind: str, data: st.DataObject) -> None:
    """Whatever is cut, doubled or changed: the ticket opens one video and no other."""
    bench = next(each for each in DOORS if each.kind == kind)
    sent = data.draw(damaged(bench))
    status, opened = asyncio.run(_answered(bench, sent))

    assert status not in (500, 501, 502)
    assert opened <= {("live", "cam1")}


@st.composite
def damaged(draw: st.DrawFn, bench: DoorBench) -> Sent:
    play = PLAY._replace(video=draw(st.sampled_from(["cam1", "cam2", "../live/cam1", "cam1/../cam2", "ca\x00m", "é"])))
    sent = draw(st.sampled_from([bench.start(play), bench.follow(play), bench.end(play)]).filter(bool))
    assert sent is not None
    for _ in range(draw(st.integers(0, 3))):
        body = bytearray(sent.body)
        if body and draw(st.booleans()):
            at = draw(st.integers(0, len(body)))
            body[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
            sent = sent._replace(body=bytes(body))
        elif sent.headers:
            name = draw(st.sampled_from(sorted(sent.headers)))
            text = draw(
                st.one_of(st.just(""), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40))
            )
            sent = sent._replace(headers={**sent.headers, name: text})
    return sent


async def _answered(bench: DoorBench, sent: Sent) -> tuple[int, set[tuple[str, str]]]:
    with tempfile.TemporaryDirectory() as folder:
        async with node_with(bench, Path(folder)) as node:
            await node.issue(app="live", video="cam1")
            answer = await node.send(sent)
            opened = {(each.app, each.video) for each in await node.attempts() if not each.reason}
            return answer.status_code, opened


async def test_no_pass_reaches_a_log_or_an_answer(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    await node.issue(password="user|s3cr3t-p4ss")
    play = PLAY._replace(password="user|s3cr3t-p4ss")
    with caplog.at_level(logging.DEBUG):
        answers = [await node.send(node.door.start(each)) for each in (play, play._replace(client="9", ip="nowhere"))]
        later = [sent for sent in (node.door.follow(play), node.door.end(play)) if sent is not None]
        answers += [await node.send(sent) for sent in later]

    # Without the client's own, which has the URL.
    ours = [caplog.handler.format(record) for record in caplog.records if not record.name.startswith("httpx")]
    said = "".join([*ours, *(answer.text + str(answer.headers) for answer in answers)])
    assert "s3cr3t" not in said
    assert node.token not in said
