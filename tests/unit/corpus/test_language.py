"""Test the detection of languages, and word counts."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from twin_assets.corpus import language
from twin_assets.corpus.language import count_words, detect_language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The quick brown fox jumps over the lazy dog, and it isn't even Tuesday.", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund, und das am Dienstag.", "de"),
        ("El veloz zorro marrón salta sobre el perro perezoso todos los martes.", "es"),
        ("これは日本語で書かれた短い文章です。時計の修理について書きます。", "ja"),
        ("这是一篇关于修理钟表的短文，写于星期二的早晨，天气很好。", "zh"),
        ("```python\nimport os\nfor line in open('x'): print(line)\n```\nKurz.", "und"),
        ("", "und"),
        ("42 + 17 = 59", "und"),
    ],
)
def test_languages_are_detected(text: str, code: str) -> None:
    assert detect_language(text) == code


def test_code_does_not_count_as_language() -> None:
    code = "```\n" + "the quick brown fox is not english here\n" * 50 + "```\n"
    assert detect_language(code + "Das ist ein deutscher Satz über Uhren und Werkstätten.") == "de"


def test_the_model_comes_from_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("language detection tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    language._load_detector.cache_clear()  # pyright: ignore[reportPrivateUsage]
    assert detect_language("Le renard brun saute par-dessus le chien paresseux.") == "fr"


@pytest.mark.parametrize(
    ("text", "word_count"),
    [
        ("It's a well-known fact: 3.5 isn't 4.", 7),
        ("", 0),
        ("— … !", 0),
        ("時計の話", 4),
        ("한국어 문장 입니다", 3),
        ("`git commit` twice", 3),
    ],
)
def test_words_are_counted(text: str, word_count: int) -> None:
    assert count_words(text) == word_count
