"""Detect abuse in a text: insults, contempt for a group, threats, praise of violence.

Scope: the rules and applying them to a text; the words are in `toxic_terms.json`.
Out of scope: rating the findings (`red_team.py`) and personal data.

The rules match words and their neighbors in English, German, French and Spanish. They miss irony,
context and abuse in polite words. Swearing at a thing ("this damn compiler") is not abuse, but the
same word about a person is. Slurs are stored as hashes, so that developers need not read them. A
general classifier would detect more, but the platform has none. The kinds of abuse follow Davidson
et al. 2017, https://arxiv.org/abs/1703.04009.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, cast

VERSION = "toxicity-1"  # increases when a rule changes; the words are part of the revision
TERMS_FILE = Path(__file__).with_name("toxic_terms.json")
AbuseKind = Literal["insult", "contempt", "threat", "slur"]
_LETTERS = str.maketrans({"@": "a", "$": "s", "0": "o", "1": "i", "3": "e", "4": "a", "5": "s"})
_OBFUSCATED_WORD = re.compile(r"(?=\w*[a-z])[a-z@$013-5]*[@$013-5][a-z@$013-5]*")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
# Words allowed between the parts of "you are such a complete …"; "not" is not one of them.
_FILLER_WORDS = (
    r"(?:\s+(?:a|an|the|all|such|so|just|really|very|truly|nothing\s+but|but|only|always|quite|utter"
    r"|complete|completely|total|totally|absolute|little|fucking|bloody|damn|big|fat|old|lazy"
    r"|are|is|be|by\s+nature|and\s+the\s+same|ein|eine|einfach|echt|total|so|alle|sind|ist"
    r"|un|une|des|vraiment|tous|toutes|tellement|sont|est|una|muy|tan|todos|todas|realmente|son|es"
    r"|que))*\s+"
)


def find_abuse(text: str) -> tuple[AbuseKind, ...]:
    """Return the kinds of abuse in a text, without duplicates; empty if there is none."""
    normalized = _normalize(text)
    kinds: list[AbuseKind] = [kind for kind, pattern in _patterns() if pattern.search(normalized)]
    slurs = _terms()["slur_hashes"]
    if any(_hash(word) in slurs for word in set(_WORD.findall(normalized))):
        kinds.append("slur")
    return tuple(kinds)


@cache
def _patterns() -> tuple[tuple[AbuseKind, re.Pattern[str]], ...]:
    terms = _terms()
    insult, group = _build_alternation(terms["insults"]), _build_alternation(terms["groups"])
    contempt, threat = _build_alternation(terms["contempt"]), _build_alternation(terms["threats"])
    address_pattern = _build_alternation(terms["at_somebody"])
    return (
        (
            "insult",
            re.compile(
                rf"{address_pattern}{_FILLER_WORDS}{insult}|\b(?:you|your|du|tu)\s+(?:\S+\s+)?{insult}"
            ),
        ),
        ("contempt", re.compile(rf"{group}{_FILLER_WORDS}{contempt}")),
        ("threat", re.compile(threat)),
    )


@cache
def _terms() -> dict[str, Sequence[str]]:
    return cast("dict[str, Sequence[str]]", json.loads(TERMS_FILE.read_text("utf-8")))


def _build_alternation(terms: Sequence[str]) -> str:
    """Return a pattern that matches any of the terms (regular expressions) as whole words."""
    return r"(?<!\w)(?:" + "|".join(terms) + r")(?!\w)"


def _normalize(text: str) -> str:
    """Fold case, remove accents, and replace digits and signs with the intended letters."""
    folded_text = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    folded_text = "".join(
        character for character in folded_text if not unicodedata.combining(character)
    )
    return _OBFUSCATED_WORD.sub(lambda match: match[0].translate(_LETTERS), folded_text)


def _hash(word: str) -> str:
    return hashlib.sha256(f"slur/{word}".encode()).hexdigest()[:16]
