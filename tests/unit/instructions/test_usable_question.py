"""Test which question is extracted from a teacher's reply."""

from __future__ import annotations

import pytest

from twin_assets.instructions.question_wordings import WORDINGS
from twin_assets.instructions.teacher import TeacherPrompt, build_request, extract_question

PASSAGE = (
    "When the quarry closed, the masons went to the harbour and built boats from oak, which they "
    "said was softer but never complained."
)


@pytest.mark.parametrize(
    ("reply", "question"),
    [
        ("What is granite for?", "What is granite for?"),
        ('"**What is granite for?**"\n\nI hope this helps!', "What is granite for?"),
        ("\n\n“Why did it close?”", "Why did it close?"),
        ("Question: Why did it close?", "Why did it close?"),
        ("Frage: Warum schloss er denn?", "Warum schloss er denn?"),
        ("<think>A mason asks.\nHm.</think>\nWhy did it close?", "Why did it close?"),
        ("", ""),
        ("Why?", ""),
        ("…\n---\n", ""),
        ("word " * 41, ""),
    ],
)
def test_the_question_is_extracted_from_the_reply(reply: str, question: str) -> None:
    assert extract_question(reply, passage=PASSAGE) == question


def test_a_question_that_quotes_the_answer_is_not_used() -> None:
    quotation = "Why is it that the masons went to the harbour and built boats from oak?"
    assert extract_question(quotation, passage=PASSAGE) == ""
    assert extract_question(quotation, passage="Another passage altogether.") == quotation
    question = "What did the masons build after the quarry closed?"
    assert extract_question(question, passage=PASSAGE) == question


def test_the_teacher_is_asked_in_the_authors_language() -> None:
    prompt = TeacherPrompt("The {quarry}", PASSAGE)
    requests = {language: build_request(prompt, language=language) for language in WORDINGS}
    assert len(set(requests.values())) == len(WORDINGS) == 7
    for language, request in requests.items():
        assert request.endswith(f"Title of the post: The {{quarry}}\n\nPassage:\n{PASSAGE}")
        assert ("A reader asks" in request) is (language == "en")
    assert build_request(prompt) == build_request(prompt, language="ja") == requests["en"]
