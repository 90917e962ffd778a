"""Test the erasure from the trace store's file while the store's process has it open."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.answer_spans import export_spans
from tests.erasure_targets import reader_target
from tests.graph.erasure.planted_words import QUESTION_WORD
from tests.graph.erasure.spans import make_span
from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, StartStore
from tests.live.trace_store.conftest import start_store as start_store_fixture
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.trace_store import EmbeddedTraces
from twin_resources.settings import load_settings

pytestmark = pytest.mark.live
start_store = start_store_fixture
READER = "0123456789abcdef"


def test_erasing_from_a_running_store_leaves_nothing_in_its_file(
    tmp_path: Path, start_store: StartStore
) -> None:
    store, now = start_store(), datetime.now(UTC)
    secret = f"Where in the whole wide world has the {QUESTION_WORD} gone this year?"
    with httpx.Client(base_url=store.host, auth=(PUBLIC_KEY, SECRET_KEY)) as http:
        for number, reader in ((1, READER), (2, "somebody")):
            question = secret if reader == READER else "And the others, what do they do?"
            texts = {"question": question, "passage": "x"}
            export_spans(http, make_span(number, reader=reader, chunk="c", at=now, **texts))
        with store.client() as client:
            assert len(list(client.observations())) == 2
            traces = EmbeddedTraces(Installation.for_settings(load_settings(tmp_path)))
            target = reader_target(READER)
            assert traces.find_remaining(target)
            assert traces.erase(target) == 1
            assert traces.find_remaining(target) == []
            observations = list(client.observations())
    assert [observation["traceId"] for observation in observations] == [f"{2:032x}"]
    for path in tmp_path.glob("traces.sqlite*"):
        assert QUESTION_WORD.encode() not in path.read_bytes(), path.name
    assert store.process.poll() is None
