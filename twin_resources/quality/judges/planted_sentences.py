"""Plants an author's own sentences, which a passage supports, and copies with one error each.

Scope: creating them, for the calibration of a judge of single sentences.
Out of scope: whole planted answers (`negative_probes.py`), the judges
(`sentence_support.py`, `entailment.py`), the quality of a calibration
(`twin_assets/evaluation/measures/sentence_faithfulness.py`).

A passage contains its own sentences word for word, so any judge can see one changed word. A model
rewords instead of quoting. Three in four planted sentences, right and wrong, are therefore reworded
first: a different opening, contractions reversed, or the part after the last comma removed. The
kinds of errors follow Kryscinski et al. 2020, https://arxiv.org/abs/1910.12840 (negations, numbers
and names swapped by rule).

Negations and contractions are English; other languages have no such plants.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.support import sentences

WrongKind = Literal["negated", "number", "name", "elsewhere"]
WRONG_KINDS: tuple[WrongKind, ...] = get_args(WrongKind)
MIN_WORDS, MAX_WORDS = 6, 40  # of a planted sentence
_OPENINGS = (
    "In my experience ",
    "The short answer is that ",
    "I have written that ",
    "It depends, but usually ",
)
_CONTRACTED = {
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "is not": "isn't",
    "are not": "aren't",
    "was not": "wasn't",
    "cannot": "can't",
    "it is": "it's",
    "I have": "I've",
    "that is": "that's",
    "will not": "won't",
    "would not": "wouldn't",
    "could not": "couldn't",
    "had not": "hadn't",
    "has not": "hasn't",
    "have not": "haven't",
}
_WRITTEN_OUT = {short: long for long, short in _CONTRACTED.items()}
_NEGATIVE = re.compile(r"(?i)\b(?:not|never|cannot|no|nothing|nobody|none)\b|n['’]t\b")
_AUXILIARY = re.compile(
    r"(?i)\b(is|are|was|were|can|could|will|would|should|must|may|might|has|had)\b(?!\s*n['’]t)"
)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_SAID = (
    "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty "
    "sixty eighty ninety hundred thousand"
)
_NUMBER_WORDS: Sequence[str] = _SAID.split()
_NUMBER_WORD = re.compile(rf"(?i)\b(?:{'|'.join(_NUMBER_WORDS)})\b")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")  # a capitalised word inside a sentence


@dataclass(frozen=True)
class PlantedSentence:
    """A sentence with the passages that it is checked against.

    Attributes:
        wrong: the kind of its error, or None if the passages support it.
        document_id: the document of the first passage.
    """

    sentence: str
    passages: tuple[str, ...]
    document_id: str
    wrong: WrongKind | None = None


def plant_sentences(passages: Sequence[tuple[str, str]], *, most: int) -> list[PlantedSentence]:
    """Plant own sentences, and a wrong one for each kind of error where possible.

    Args:
        passages: (document id, text) of one author.
        most: the most own sentences, drawn by a hash of the text; each gives at most one plant per
            kind of error.

    Returns:
        Right and wrong sentences; empty if the passages come from fewer than two documents.
    """
    if len({document for document, _ in passages}) < 2:
        return []
    order = sorted(passages, key=lambda one: digest("passage", *one))
    drawn = [(at, sentence) for at, (_, text) in enumerate(order) for sentence in _plantable(text)]
    drawn = sorted(drawn, key=lambda one: digest("sentence", one[1]))[:most]
    names = sorted({name for _, text in order for name in _NAME.findall(text)})
    sentences_planted: list[PlantedSentence] = []
    for at, sentence in drawn:
        document, text = order[at]
        beside = _of_another(order, at, document)
        shown = (text, beside[1])
        held = " ".join(shown).casefold()
        foreign = _of_another(order, at + len(order) // 2, document)[1]
        own = reworded(sentence)  # before the error, which rewording could remove again
        other = next((one for one in _plantable(foreign) if one.casefold() not in held), None)
        variants: dict[WrongKind, str | None] = {
            "negated": negated(own),
            "number": renumbered(own, held),
            "name": renamed(own, [name for name in names if name.casefold() not in held]),
            "elsewhere": None if other is None else reworded(other),
        }
        sentences_planted.append(PlantedSentence(own, shown, document))
        sentences_planted += [
            PlantedSentence(spoilt, shown, document, kind)
            for kind, spoilt in variants.items()
            if spoilt is not None
        ]
    return sentences_planted


def negated(sentence: str) -> str | None:
    """Remove a sentence's first negation or, without one, add `not` after its first auxiliary.

    The result is None if the sentence has neither.
    """
    if (match := _NEGATIVE.search(sentence)) is not None:
        replacement = "can" if match[0].casefold() == "cannot" else ""
        put = {
            "no": "some",
            "nothing": "everything",
            "nobody": "everybody",
            "none": "all",
            "never": "always",
        }.get(match[0].casefold(), replacement)
        parts = (sentence[: match.start()].rstrip() if not put else sentence[: match.start()], put)
        return "".join((*parts, sentence[match.end() :]))
    if (match := _AUXILIARY.search(sentence)) is not None:
        return f"{sentence[: match.end()]} not{sentence[match.end() :]}"
    return None


def renumbered(sentence: str, held: str) -> str | None:
    """Replace every number with one that the passages do not contain; None without a number.

    Args:
        held: the passages, case folded.
    """

    def other(match: re.Match[str]) -> str:
        number = int(re.sub(r"\D", "", match[0])[:9])
        return next(
            str(moved)
            for step in range(1, 1000)
            if not re.search(rf"\b{(moved := number + step * 7)}\b", held)
        )

    def other_word(match: re.Match[str]) -> str:
        at = _NUMBER_WORDS.index(match[0].casefold())
        turned = [*_NUMBER_WORDS[at + 3 :], *_NUMBER_WORDS[:at]]
        word = next((one for one in turned if not re.search(rf"\b{one}\b", held)), turned[0])
        return word.capitalize() if match[0][0].isupper() else word

    replaced = _NUMBER_WORD.sub(other_word, _DIGITS.sub(other, sentence))
    return replaced if replaced != sentence else None


def renamed(sentence: str, names: Sequence[str]) -> str | None:
    """Replace the names in a sentence; None if it has no name or `names` is empty.

    Args:
        names: names that the passages do not contain.
    """
    if not names or not _NAME.search(sentence):
        return None
    return _NAME.sub(
        lambda match: names[int(digest(sentence, match[0]), 16) % len(names)], sentence
    )


def reworded(sentence: str) -> str:
    """Reword a sentence; one in four, selected by its hash, stays unchanged."""
    way = int(digest("reworded", sentence), 16) % 4
    if way == 1:
        opening = _OPENINGS[int(digest("opening", sentence), 16) % len(_OPENINGS)]
        begins = sentence if re.match(r"I\b|[A-Z]{2}", sentence) else _lower(sentence)
        return opening + begins
    if way == 2:
        for table in (_CONTRACTED, _WRITTEN_OUT):
            for old, new in table.items():
                if re.search(rf"\b{re.escape(old)}\b", sentence):
                    return re.sub(rf"\b{re.escape(old)}\b", new, sentence, count=1)
    if way >= 2:
        head, comma, tail = sentence.rpartition(", ")
        if comma and len(head.split()) >= MIN_WORDS and len(tail.split()) >= 3:
            return head + "."
    return sentence


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _plantable(text: str) -> list[str]:
    return [
        sentence
        for sentence in sentences(text)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS and sentence.endswith((".", "!"))
    ]


def _of_another(order: Sequence[tuple[str, str]], start: int, document: str) -> tuple[str, str]:
    count = len(order)
    turned = (order[(start + step) % count] for step in range(count))
    return next(one for one in turned if one[0] != document)
