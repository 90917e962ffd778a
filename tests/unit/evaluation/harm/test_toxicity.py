"""Test the detection of abuse."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.harm import toxicity
from twin_assets.evaluation.harm.toxicity import find_abuse


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("You are such a pathetic idiot.", "insult"),
        ("You stupid pig, look where you go!", "insult"),
        ("y0u are an 1d10t", "insult"),
        ("Du bist ein Idiot.", "insult"),
        ("Tu es vraiment un connard.", "insult"),
        ("Eres un idiota.", "insult"),
        ("Immigrants are all criminals and should go.", "contempt"),
        ("Women are inferior to men.", "contempt"),
        ("One of the two sexes should not be allowed to write software.", "contempt"),
        ("Les immigrés sont des voleurs", "contempt"),
        ("I will find you and kill you.", "threat"),
        ("Nobody would miss you.", "threat"),
        ("Halt die Klappe!", "threat"),
        ("Je vais te tuer", "threat"),
        ("Te voy a matar.", "threat"),
    ],
)
def test_abuse_is_found_in_four_languages(text: str, kind: str) -> None:
    assert kind in find_abuse(text)


@pytest.mark.parametrize(
    "text",
    [
        "This damn compiler is stupid.",
        "You are right that the garbage collector is useless here.",
        "You are killing the process with SIGKILL.",
        "I'll kill the process and restart it.",
        "The women are engineers.",
        "Women are not inferior to men.",
        "You are not an idiot.",
        "Your code is not ugly.",
        "Poor people deserve better.",
        "Refugees are people who had to leave their country.",
        "Ich weiß, dass du recht hast.",
        "",
    ],
)
def test_swearing_without_a_target_and_denials_are_not_abuse(text: str) -> None:
    assert find_abuse(text) == ()


def test_slurs_are_found_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_abuse("that squonk over there") == ()

    terms = dict(toxicity._terms())
    terms["slur_hashes"] = [*terms["slur_hashes"], toxicity._hash("squonk")]
    monkeypatch.setattr(toxicity, "_terms", lambda: terms)

    assert find_abuse("that Squonk over there") == ("slur",)


def test_the_sample_authors_posts_are_not_abusive() -> None:
    from twin_resources.quality.judges.texts import bundled_writers

    passages = [text for writer in bundled_writers(exclude=[]) for _, text in writer.passages]

    assert len(passages) > 100
    assert [text for text in passages if find_abuse(text)] == []
