"""Test the log of stages in a trace: their order, what each stage changed, and no private text."""

from __future__ import annotations

import re

from tests.unit.gateway.exchanges import PASSAGE, FakeRetriever, create_path, find_passage, prepare
from twin_resources.gateway.request_path import STAGES
from twin_resources.settings import Settings


async def test_the_trace_has_one_line_per_stage_without_private_text(home: Settings) -> None:
    prepared = await prepare(create_path(home, FakeRetriever(find_passage)), "Which oil is it?")
    stage_log = prepared.trace_metadata()["twin.stages"]
    lines = stage_log.splitlines()
    assert [line.split()[0] for line in lines] == [stage.__name__ for stage in STAGES]
    assert "model v3 (stable)" in lines[0]
    assert lines[2].startswith("retrieve")
    assert "passages 1" in lines[2]
    assert re.fullmatch(r"score_models \d+\.\d ms", lines[5]), (
        "a stage that changed nothing has only its time"
    )
    assert "messages 2" in lines[7]
    assert all(re.match(r"\w+ \d+\.\d ms", line) for line in lines)
    for private_text in ("Which oil", PASSAGE.text, PASSAGE.title):
        assert private_text not in stage_log


async def test_nothing_is_retrieved_for_a_reader_in_danger(home: Settings) -> None:
    retriever = FakeRetriever(find_passage)
    prepared = await prepare(create_path(home, retriever), "I want to die, I took all the pills")
    lines = prepared.stage_log.splitlines()
    assert "fixed danger" in lines[1]
    assert re.fullmatch(r"retrieve \d+\.\d ms", lines[2])
    assert retriever.questions == []
