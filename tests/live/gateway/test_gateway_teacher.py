"""Test a teacher that is the served base model behind the gateway, without a simulation."""

from __future__ import annotations

import pytest

from tests.live.gateway.stack import Stack
from twin_assets.instructions.teacher import Teacher, TeacherPrompt, extract_question

pytestmark = pytest.mark.live

PASSAGES = (
    "A clock wants one drop of oil on each pivot, and no more than one drop. More of it runs along "
    "the plates, gathers dust, and wears the pivots that it was meant to save.",
    "When the quarry closed, the masons went to the harbour and built boats from oak. They said it "
    "was softer than granite and never complained.",
    "I keep my sourdough starter in the fridge and feed it on Fridays. It forgives a missed week, "
    "but it sulks, and the bread of that week is flat.",
)
MODEL = "openai/twin/ann@base"


def test_the_base_model_writes_questions_through_the_gateway(
    base_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", f"{base_stack.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", base_stack.key)
    teacher = Teacher(MODEL, timeout_s=120)
    replies = teacher.ask([TeacherPrompt("", passage) for passage in PASSAGES])
    assert teacher.fatal_error is None
    assert {reply.outcome for reply in replies} <= {"written", "unusable"}
    questions = [
        (reply, passage)
        for reply, passage in zip(replies, PASSAGES, strict=True)
        if reply.outcome == "written"
    ]
    assert questions
    for reply, passage in questions:
        assert extract_question(reply.question, passage=passage) == reply.question
    assert all(reply.prompt_tokens > 50 and reply.answer_tokens > 0 for reply in replies)
    assert all(reply.usd == 0.0 for reply in replies)  # the model has no price
