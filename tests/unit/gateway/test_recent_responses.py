"""Test requests of the Responses API that name earlier answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api import recent_responses
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

REFERENCE: list[Any] = [
    {"role": "user", "content": [{"type": "input_text", "text": "Which oil?"}]},
    {"type": "item_reference", "id": "msg_7"},
    {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]},
]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite")


def open_in_memory(outbox: Outbox) -> RecentResponses:
    state = State.open("sqlite://")
    return RecentResponses(lambda: state, outbox)


def replace_references(
    recent: RecentResponses, *, reader: str = "eve", **fields: Any
) -> tuple[list[str], list[str], Any]:
    """Return the texts of the conversation, what was ignored, and the function that stores."""
    body: dict[str, Any] = {"model": "twin/ann", "input": "Which oil?"} | fields
    ignored, store = recent.replace_references(body, reader)
    assert not {"previous_response_id", "store"} & body.keys(), "LiteLLM would look for them"
    texts = [
        item["content"] if isinstance(item["content"], str) else item["content"][0]["text"]
        for item in body["input"]
    ]
    return texts, ignored, store


def store_answer(recent: RecentResponses, trace_id: str = "7", **fields: Any) -> None:
    store = replace_references(recent, **fields)[2]
    if store is not None:
        store(trace_id, "One drop.")


def test_a_request_may_refer_to_an_earlier_answer(home: Settings, outbox: Outbox) -> None:
    """The request names the id of the message (as the AI SDK does) or of the response.

    Another gateway process of the home answers it.
    """
    gateways = [RecentResponses(lambda: open_home_state(home), outbox) for _ in range(2)]
    store_answer(gateways[0])
    by_message: dict[str, Any] = {"input": REFERENCE}
    by_response: dict[str, Any] = {"input": "How much?", "previous_response_id": "resp_7"}
    for fields in (by_message, by_response):
        texts, ignored, _ = replace_references(gateways[1], **fields)
        assert (texts, ignored) == (["Which oil?", "One drop.", "How much?"], [])
        texts, ignored, _ = replace_references(gateways[1], reader="bob", **fields)
        assert "One drop." not in texts, "other readers cannot refer to the answer"
        assert len(ignored) == 1


def test_a_conversation_is_reassembled_and_each_text_is_stored_once(outbox: Outbox) -> None:
    recent = open_in_memory(outbox)
    store_answer(recent, "1", input="Mail eve.bell@gmail.com: which oil?")
    turn = {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]}
    reference = {"type": "item_reference", "id": "msg_1"}
    items = [{"role": "user", "content": "And?"}, reference, turn]
    store_answer(recent, "2", input=items, previous_response_id="resp_1")
    store_answer(recent, "3", input="When?", previous_response_id="resp_2")
    texts = [turn["content"] for turn in recent.load_turns("eve", "3") or ()]
    masked = "Mail [e-mail]: which oil?"
    first_two = [masked, "One drop.", "And?", "One drop.", "How much?", "One drop."]
    assert texts == [*first_two, "When?", "One drop."]
    with recent._store.read_transaction() as connection:
        rows = connection.execute(sa.select(recent_responses.gateway_responses)).all()
    assert str(rows).count("One drop.") == 3


def test_a_reference_to_an_expired_answer_is_reported_as_ignored(outbox: Outbox) -> None:
    now = [0.0]
    recent = open_in_memory(outbox)
    recent.clock = lambda: now[0]

    def list_stored() -> list[str]:
        recent.delete_expired()
        return [number for number in "789" if recent.load_answer("eve", number) is not None]

    for number in "789":
        now[0] += 1
        store_answer(recent, number)
    assert list_stored() == ["7", "8", "9"]
    now[0] = 2 + recent_responses.RETENTION_S
    assert list_stored() == ["9"]
    expired = replace_references(recent, input="How much?", previous_response_id="resp_7")
    assert expired[:2] == (["How much?"], ["previous_response_id"])
    assert len(replace_references(recent, previous_response_id="resp_9")[0]) == 3
    assert replace_references(recent, store=False)[2] is None
    assert replace_references(recent, input=REFERENCE)[1] == ["item_reference"]


def test_without_a_store_answers_are_sent_but_not_found_later(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, outbox: Outbox
) -> None:
    unwritable = RecentResponses(lambda: State.open(f"sqlite:///{tmp_path}"), outbox)
    store_answer(unwritable)
    assert "an answer was not stored for later requests" in capsys.readouterr().err
    with pytest.raises(RefusedError) as excinfo:
        replace_references(unwritable, previous_response_id="resp_7")
    assert excinfo.value.status == 503
