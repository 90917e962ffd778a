"""Test the log of stages in a trace, and the stages of a reader in danger."""

from __future__ import annotations

import re

from tests.unit.gateway.exchanges import FakeRetriever, create_path, find_passage, prepare
from twin_resources.gateway.request_path import STAGES
from twin_resources.settings import Settings


async def test_the_trace_has_the_duration_of_each_stage(home: Settings) -> None:
    prepared = await prepare(create_path(home, FakeRetriever(find_passage)), "Which oil is it?")
    lines = prepared.trace_metadata()["twin.stages"].splitlines()
    assert [line.split()[0] for line in lines] == [stage.__name__ for stage in STAGES]
    assert all(re.fullmatch(r"\w+ \d+\.\d ms", line) for line in lines)


async def test_nothing_is_retrieved_for_a_reader_in_danger(home: Settings) -> None:
    retriever = FakeRetriever(find_passage)
    prepared = await prepare(create_path(home, retriever), "I want to die, I took all the pills")
    assert prepared.exchange.fixed_text.front_desk == "danger"
    assert retriever.questions == []
