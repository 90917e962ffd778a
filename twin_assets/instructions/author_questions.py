"""Turn the author's own questions into questions to the author.

Scope: turning the author's "I" into "you", and checking that a clause is complete. Out of scope:
languages other than English (`question_wordings.py`).

An earlier version also generated questions from statements of a purpose, a cause or a condition.
In a blind review, none of five such questions was one that a reader would ask.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.instructions.question_wordings import WORDINGS
from twin_resources.models.retrieval.stop_words import load_stop_words

_ENGLISH = WORDINGS["en"]
_MIN_WORDS, _MAX_WORDS = 4, 14  # number of words in a question
_CONNECTORS = re.compile(
    r"^(?:and|but|so|now|then|still|well|yes|no|oh|however|of course|in short|also|first|finally|"
    r"for example|for instance|in fact|instead|otherwise|sometimes|usually|often|besides),?\s+",
    re.IGNORECASE,
)
_SECOND_PERSON = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "we": "you",
    "us": "you", "our": "your", "ours": "yours", "ourselves": "yourselves", "i'm": "you’re",
    "i've": "you’ve", "i'd": "you’d", "i'll": "you’ll", "we're": "you’re", "we've": "you’ve",
    "we'd": "you’d", "we'll": "you’ll",
}  # fmt: skip
_VERBS_WITH_I = {"am": "are", "was": "were"}  # before or after "I"
_UNUSUAL_CHARACTERS = re.compile(r"[{}\[\]<>=\\|`*_#@$%^~/“”\"()]|https?:|\.\w|\d{4,}|–|—| - |…")


def readdress_question(sentence: str) -> str:
    """Return the author's question, readdressed to the author, or "" if it depends on context."""
    clause = _strip_connectors(sentence)
    if not clause.endswith("?"):
        return ""
    clause = clause.rstrip("?")
    first_word = clause.split(" ", 1)[0].lower()
    reader_question = _to_reader_question(clause) if first_word in _ENGLISH.question_words else ""
    return f"{reader_question[:1].upper()}{reader_question[1:]}?" if reader_question else ""


def _strip_connectors(sentence: str) -> str:
    """Return a sentence without the words that connect it to the previous one."""
    previous, remaining = "", " ".join(sentence.split())
    while previous != remaining:
        previous, remaining = remaining, _CONNECTORS.sub("", remaining)
    return remaining


def _to_reader_question(clause: str) -> str:
    """Return a clause as a reader would ask it, or an empty string if it is incomplete."""
    words = clause.replace("’", "'").strip(" .!?").split()
    if not _MIN_WORDS <= len(words) <= _MAX_WORDS or _UNUSUAL_CHARACTERS.search(clause):
        return ""
    if not _is_self_contained(words) or len({"i", "you"} & {word.lower() for word in words}) == 2:
        return ""
    if not any(map(_is_content_word, words)):
        return ""
    if words[-1].lower() in _INCOMPLETE_LAST_WORDS or _TWO_SENTENCES.search(clause):
        return ""
    question = _to_second_person(words)
    if question[:1].isupper() and not _is_name(words[0]):
        question = question[:1].lower() + question[1:]
    return question


def _is_content_word(word: str) -> bool:
    """Return whether a word describes the subject of a question."""
    return len(word) > 2 and (word[:1].isupper() or word.lower() not in load_stop_words("en"))


_TWO_SENTENCES = re.compile(r"\S (?:she|he|it|they|that|there)['’](?:s|re|d|ll)\b")
_INCOMPLETE_LAST_WORDS_TEXT = (
    "a an the of to in on at for with from by and or but is are was were be been that which who "
    "my your our i you we as than so very too not if when because just only simply even mostly "
    "partly also into about like will can would"
)
_INCOMPLETE_LAST_WORDS = frozenset(_INCOMPLETE_LAST_WORDS_TEXT.split())


def _is_name(word: str) -> bool:
    return word not in {"A", "An"} and not word[1:].islower()


def _to_second_person(words: list[str]) -> str:
    """Turn the author's first-person words into the second person: `I am` → "you are"."""
    reader_words: list[str] = []
    for index, word in enumerate(words):
        normalized = word.lower().strip(",")
        neighbors = {neighbor.lower() for neighbor in words[max(0, index - 1) : index + 2]}
        if normalized in _VERBS_WITH_I and "i" in neighbors:
            reader_words.append(_VERBS_WITH_I[normalized])
        else:
            reader_words.append(
                word.replace(word.strip(","), _SECOND_PERSON[normalized])
                if normalized in _SECOND_PERSON
                else word
            )
    return " ".join(reader_words).replace("'", "’")


def _is_self_contained(words: list[str]) -> bool:
    """Return whether a clause has no word that refers to earlier text.

    A pronoun is allowed after at least four words, because its referent is then usually in the
    clause.
    """
    lower_words = [word.lower().strip(",.;:") for word in words]
    for index, word in enumerate(lower_words):
        if word not in _ENGLISH.referring_words:
            continue
        is_conjunction = word == "that" and index >= 2
        is_existential = word == "there" and lower_words[index + 1 : index + 2] in (["is"], ["are"])
        is_late_pronoun = index >= 4 and word in _LATE_PRONOUNS
        if not (is_conjunction or is_existential or is_late_pronoun):
            return False
    return True


_LATE_PRONOUNS = frozenset(["it", "its", "them", "their", "him", "his", "her"])
