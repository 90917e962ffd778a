"""What a trace tells of the stages of a request: each in its order, and no text of anybody."""

from __future__ import annotations

import re

from tests.unit.gateway.test_request_path import FOUND, Found, Retrieving, path, prepare
from twin_resources.gateway.stages import STAGES
from twin_resources.settings import Settings


async def test_each_stage_has_a_line_with_what_it_has_changed(home: Settings) -> None:
    prepared = await prepare(path(home, Retrieving(lambda: Found((FOUND,)))), "Which oil is it?")
    told = prepared.trace_metadata()["twin.stages"]
    lines = told.splitlines()
    assert [re.split(" ", line)[0] for line in lines] == [stage.__name__ for stage in STAGES]
    assert "model v3 (stable)" in lines[0]
    assert lines[2].startswith("retrieve")
    assert "passages 1" in lines[2]
    assert re.fullmatch(r"score_models \d+\.\d ms", lines[4]), "nothing to tell is not told"
    assert "messages 2" in lines[6]
    assert all(re.match(r"\w+ \d+\.\d ms", line) for line in lines)
    for text in ("Which oil", FOUND.text, FOUND.title):
        assert text not in told


async def test_a_question_for_the_front_desk_is_looked_for_in_no_post(home: Settings) -> None:
    retrieving = Retrieving(lambda: Found((FOUND,)))
    prepared = await prepare(path(home, retrieving), "Are you a real person?")
    lines = prepared.stage_log.splitlines()
    assert "fixed identity" in lines[1]
    assert re.fullmatch(r"retrieve \d+\.\d ms", lines[2])
    assert retrieving.asked == []
