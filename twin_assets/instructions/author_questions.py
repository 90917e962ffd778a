"""Turn the author's own questions into questions to the author.

Scope: turning the author's "I" into "you", and whether a clause is complete by itself. Out of
scope: other languages (`question_wordings.py`).

An earlier version also made questions from the form of a statement (a purpose, a cause, a
condition). Of five that were read blind, none was one that a reader would ask.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.instructions.question_wordings import WORDINGS
from twin_assets.instructions.stop_words import stop_words_of

_ENGLISH = WORDINGS["en"]
_SHORTEST, _LONGEST = 4, 14  # words of a question
_CONNECTORS = re.compile(
    r"^(?:and|but|so|now|then|still|well|yes|no|oh|however|of course|in short|also|first|finally|"
    r"for example|for instance|in fact|instead|otherwise|sometimes|usually|often|besides),?\s+",
    re.IGNORECASE,
)
_YOURS = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "we": "you",
    "us": "you", "our": "your", "ours": "yours", "ourselves": "yourselves", "i'm": "you’re",
    "i've": "you’ve", "i'd": "you’d", "i'll": "you’ll", "we're": "you’re", "we've": "you’ve",
    "we'd": "you’d", "we'll": "you’ll",
}  # fmt: skip
_WITH_I = {"am": "are", "was": "were"}  # next to "I"
_STRANGE = re.compile(r"[{}\[\]<>=\\|`*_#@$%^~/“”\"()]|https?:|\.\w|\d{4,}|–|—| - |…")


def own_question(sentence: str) -> str:
    """Return the author's question, readdressed to the author, or "" if it depends on context."""
    bare = _bare(sentence)
    if not bare.endswith("?"):
        return ""
    bare = bare.rstrip("?")
    first = bare.split(" ", 1)[0].lower()
    asked = _as_asked(bare) if first in _ENGLISH.asks else ""
    return f"{asked[:1].upper()}{asked[1:]}?" if asked else ""


def _bare(sentence: str) -> str:
    """Return a sentence without the words that connect it to the previous one."""
    before, bare = "", " ".join(sentence.split())
    while before != bare:
        before, bare = bare, _CONNECTORS.sub("", bare)
    return bare


def _as_asked(clause: str) -> str:
    """Return a clause as a reader would ask it, or an empty text if it is incomplete."""
    words = clause.replace("’", "'").strip(" .!?").split()
    if not _SHORTEST <= len(words) <= _LONGEST or _STRANGE.search(clause):
        return ""
    if not _stands_alone(words) or len({"i", "you"} & {word.lower() for word in words}) == 2:
        return ""
    if not any(map(_tells, words)):
        return ""
    if words[-1].lower() in _DANGLING or _TWO_SENTENCES.search(clause):
        return ""
    said = _to_the_author(words)
    if said[:1].isupper() and not _is_name(words[0]):
        said = said[:1].lower() + said[1:]
    return said


def _tells(word: str) -> bool:
    """Return whether a word describes the subject of a question."""
    return len(word) > 2 and (word[:1].isupper() or word.lower() not in stop_words_of("en"))


_TWO_SENTENCES = re.compile(r"\S (?:she|he|it|they|that|there)['’](?:s|re|d|ll)\b")
_DANGLING_TEXT = (
    "a an the of to in on at for with from by and or but is are was were be been that which who "
    "my your our i you we as than so very too not if when because just only simply even mostly "
    "partly also into about like will can would"
)
_DANGLING = frozenset(_DANGLING_TEXT.split())


def _is_name(word: str) -> bool:
    return word not in {"A", "An"} and not word[1:].islower()


def _to_the_author(words: list[str]) -> str:
    """Turn the author's words about themselves into words to the author: `I am` → "you are"."""
    said: list[str] = []
    for place, word in enumerate(words):
        bare = word.lower().strip(",")
        beside = {other.lower() for other in words[max(0, place - 1) : place + 2]}
        if bare in _WITH_I and "i" in beside:
            said.append(_WITH_I[bare])
        else:
            said.append(word.replace(word.strip(","), _YOURS[bare]) if bare in _YOURS else word)
    return " ".join(said).replace("'", "’")


def _stands_alone(words: list[str]) -> bool:
    """Return whether nothing in a clause refers to earlier text.

    A pronoun may follow at least four words, because its referent is then usually in the clause.
    """
    lowered = [word.lower().strip(",.;:") for word in words]
    for place, word in enumerate(lowered):
        if word not in _ENGLISH.unclear:
            continue
        conjunction = word == "that" and place >= 2
        there_is = word == "there" and lowered[place + 1 : place + 2] in (["is"], ["are"])
        late = place >= 4 and word in _LATE
        if not (conjunction or there_is or late):
            return False
    return True


_LATE = frozenset(["it", "its", "them", "their", "him", "his", "her"])
