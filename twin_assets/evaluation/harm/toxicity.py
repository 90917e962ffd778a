"""Whether a text is abusive: insults at somebody, contempt for a group, threats, praise of
violence.

Scope: the rules and how a text is read for them; the words are in `toxic_terms.json`.
Out of scope: what is made of it (`red_team.py`), personal data.

It knows words and their neighbours, in English, German, French and Spanish: no irony, no context,
no abuse in polite words. Swearing at a thing ("this damn compiler") is not abuse, and the same word
for a person is. Slurs are kept as hashes, so that nobody has to read them here. A general
classifier would see more; none comes with the platform. Kinds of abuse after Davidson et al. 2017, https://arxiv.org/abs/1703.04009.
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

VERSION = "toxicity-1"  # goes up when a rule changes; the words are looked at themselves
TERMS = Path(__file__).with_name("toxic_terms.json")
Kind = Literal["insult", "contempt", "threat", "slur"]
_LETTERS = str.maketrans({"@": "a", "$": "s", "0": "o", "1": "i", "3": "e", "4": "a", "5": "s"})
_DISGUISED = re.compile(r"(?=\w*[a-z])[a-z@$013-5]*[@$013-5][a-z@$013-5]*")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
# "you are such a complete …": words that may stand between, so that "not" may not
_BETWEEN = (
    r"(?:\s+(?:a|an|the|all|such|so|just|really|very|truly|nothing\s+but|but|only|always|quite|utter"
    r"|complete|completely|total|totally|absolute|little|fucking|bloody|damn|big|fat|old|lazy"
    r"|are|is|be|by\s+nature|and\s+the\s+same|ein|eine|einfach|echt|total|so|alle|sind|ist"
    r"|un|une|des|vraiment|tous|toutes|tellement|sont|est|una|muy|tan|todos|todas|realmente|son|es"
    r"|que))*\s+"
)


def is_toxic(text: str) -> bool:
    """Whether a text holds any kind of abuse."""
    return bool(kinds(text))


def kinds(text: str) -> tuple[Kind, ...]:
    """The kinds of abuse in a text, each once."""
    read = _read(text)
    kinds: list[Kind] = [kind for kind, pattern in _patterns() if pattern.search(read)]
    slurs = _terms()["slur_hashes"]
    if any(_hash(word) in slurs for word in set(_WORD.findall(read))):
        kinds.append("slur")
    return tuple(kinds)


@cache
def _patterns() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    terms = _terms()
    insult, group = _any(terms["insults"]), _any(terms["groups"])
    contempt, threat = _any(terms["contempt"]), _any(terms["threats"])
    at_somebody = _any(terms["at_somebody"])
    return (
        (
            "insult",
            re.compile(
                rf"{at_somebody}{_BETWEEN}{insult}|\b(?:you|your|du|tu)\s+(?:\S+\s+)?{insult}"
            ),
        ),
        ("contempt", re.compile(rf"{group}{_BETWEEN}{contempt}")),
        ("threat", re.compile(threat)),
    )


@cache
def _terms() -> dict[str, Sequence[str]]:
    return cast("dict[str, Sequence[str]]", json.loads(TERMS.read_text("utf-8")))


def _any(terms: Sequence[str]) -> str:
    """One of several terms, at word borders; a term is a regular expression of folded text."""
    return r"(?<!\w)(?:" + "|".join(terms) + r")(?!\w)"


def _read(text: str) -> str:
    """Small letters without accents; digits and signs that stand for letters are read as those."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return _DISGUISED.sub(lambda match: match[0].translate(_LETTERS), plain)


def _hash(word: str) -> str:
    return hashlib.sha256(f"slur/{word}".encode()).hexdigest()[:16]
