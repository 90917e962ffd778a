"""Test the detection of sensitive data in answers, and the classes of questions."""

from __future__ import annotations

import pytest

from twin_resources.gateway.hooks.trace_logger import FINDING_NAMES, find_sensitive_kinds
from twin_resources.gateway.request.prompt_classes import classify_question
from twin_resources.privacy import KINDS


@pytest.mark.parametrize(
    ("answer", "findings"),
    [
        ("Write to ann.b+c@mail.bell.org today", ("email",)),
        ("Call +49 170 555 01 23", ("phone",)),
        ("It was 2026-03-01 10:00, version 1.2.3.4", ()),
        ("DE89 3704 0044 0532 0130 00", ("iban",)),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n", ("private_key",)),
        ("It starts with -----BEGIN RSA PRIVATE KEY-----", ()),
        ("a@bell.org, b@bell.org; password: hunter22!", ("secret", "email")),
        ("Listen on 127.0.0.1, mail ann@example.com", ()),
        ("export KEY=sk-abcdefghijklmnop1234", ("api_key",)),
        ("ghp_abcdefghijklmnopqrstuvwx", ("api_key",)),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", ("json_web_token",)),
        ("The array a[1] = 100000 of 2 000 000 items", ()),
        ("plain prose about clocks", ()),
    ],
)
def test_sensitive_data_in_an_answer_is_found(answer: str, findings: tuple[str, ...]) -> None:
    assert find_sensitive_kinds(answer) == findings
    assert set(findings) <= set(FINDING_NAMES.values())


def test_every_kind_has_a_name() -> None:
    only_in_questions = {"address", "date of birth", "number plate"}  # `stated_data.py`
    assert set(FINDING_NAMES) == set(KINDS) - {"name", "place"} - only_in_questions
    assert len(set(FINDING_NAMES.values())) == len(FINDING_NAMES)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Hello there!", "small_talk"),
        ("How do I wind a clock?", "how_to"),
        ("Brass versus steel: which lasts?", "comparison"),
        ("What do you think of quartz? Do you like it?", "opinion"),
        ("Why does it stop?", "explanation"),
        ("When was it built?", "fact"),
        ("Pendulums", "other"),
        ("", "other"),
    ],
)
def test_a_question_has_one_class(question: str, expected: str) -> None:
    assert classify_question(question) == expected
