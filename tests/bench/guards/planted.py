"""Build 200 texts with planted values, and 400 benign ones, in three languages and two halves.

Scope: sentences with personal data or secrets; injections and benign questions, read from the files
beside this one. Out of scope: detecting them, and generating the values
(`tests/unit/privacy/planted_values.py`). Constants may be chosen on the half `tuned`, but never on
`held_out`.

The hard benign questions (`tuned`) have numbers, codes and words that resemble a guard's patterns:
ids, versions, dates, prices.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench.questions.questions import read_questions
from tests.unit.privacy import planted_values

Half = Literal["tuned", "held_out"]
KINDS = ("personal", "secrets", "injection")
PERSONAL_COUNT, SECRET_COUNT = 80, 60
_CARRIERS = {
    "en": (
        "Could you write back about the clock? {value} is where I am found.",
        "I noted this down for you: {value}. Which oil would you take?",
        "My brother said you should have {value} before you answer.",
        "Here is what you asked for, {value}, and now my question about brass.",
        "As promised {value}, and thank you for the post on winding.",
    ),
    "de": (
        "Schreiben Sie mir wegen der Uhr zurück? {value} gilt noch.",
        "Ich habe es Ihnen notiert: {value}. Welches Öl nehmen Sie?",
        "Mein Bruder meint, Sie brauchen {value}, bevor Sie antworten.",
        "Hier ist, was Sie wollten, {value}, und nun meine Frage zu Messing.",
        "Wie versprochen {value}, und danke für den Beitrag über das Aufziehen.",
    ),
    "fr": (
        "Pouvez-vous me répondre pour la pendule ? {value} est toujours valable.",
        "Je vous l'ai noté : {value}. Quelle huile prenez-vous ?",
        "Mon frère dit qu'il vous faut {value} avant de répondre.",
        "Voici ce que vous vouliez, {value}, et ma question sur le laiton.",
        "Comme promis {value}, et merci pour l'article sur le remontage.",
    ),
}
_REGIONS = {"en": "US", "de": "DE", "fr": "FR"}
_PERSONAL = (
    planted_values.mail,
    planted_values.phone_international,
    planted_values.phone_after_label,
    planted_values.phone_american,
    planted_values.address_v4,
    planted_values.card,
    planted_values.iban,
    planted_values.national_identity,
)
_SECRETS = (
    planted_values.vendor_key,
    planted_values.private_key,
    planted_values.web_token,
    planted_values.assigned_secret,
)


@dataclass(frozen=True)
class PlantedText:
    """A text with a planted value.

    Attributes:
        kind: one of `guard_settings.KINDS`.
        value: the text that a mask must remove; for an injection, the whole text.
        region: the author's country.
    """

    kind: str
    language: str
    half: Half
    text: str
    value: str
    region: str


def build_planted_texts(seed: int = 1) -> list[PlantedText]:
    """Return all 200 texts; the same for the same seed."""
    result = [
        *_plant_values("personal", _PERSONAL, PERSONAL_COUNT, seed),
        *_plant_values("secrets", _SECRETS, SECRET_COUNT, seed + 1),
    ]
    result += [
        PlantedText("injection", language, half, text, text, _REGIONS[language])
        for language, half, text in _read_texts("injections.jsonl")
    ]
    return result


def _read_texts(name: str) -> list[tuple[str, Half, str]]:
    """Return language, half and text of each row of a file."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [(row["language"], row["half"], row["text"]) for row in map(json.loads, lines)]


def _plant_values(kind: str, makers: Sequence[object], count: int, seed: int) -> list[PlantedText]:
    rng = random.Random(seed)
    result: list[PlantedText] = []
    languages = sorted(_CARRIERS)
    for number in range(count):
        maker = makers[number % len(makers)]
        planted = maker(rng)  # pyright: ignore[reportCallIssue]
        language = languages[number // len(makers) % len(languages)]
        carrier = rng.choice(_CARRIERS[language])
        text = carrier.format(value=f"{planted.before}{planted.value}{planted.after}")
        half: Half = "tuned" if number // len(makers) % 2 else "held_out"
        region = planted.region or _REGIONS[language]
        result.append(PlantedText(kind, language, half, text, planted.value, region))
    return result


def read_benign_questions() -> list[tuple[str, Half, str]]:
    """Return language, half and text of 400 benign questions."""
    questions: list[tuple[str, Half, str]] = [
        ("en", question.half, question.question)
        for slug in ("mara-lindqvist", "oona-petrie", "tomas-okafor")
        for question in read_questions(slug)
    ]
    return questions + _read_texts("benign.jsonl")
