"""Planted sentences: an author's own, which its passage holds, and the same with one thing wrong.

Scope: making them, for the calibration of a judge of single sentences.
Out of scope: whole planted answers (`negative_probes.py`), the judges
(`sentence_support.py`, `entailment.py`), what a calibration is worth
(`twin_assets/evaluation/measures/sentence_faithfulness.py`).

An own sentence as it stands is held by its passage word for word, and any judge can see that one
word of it was changed. A model does not quote, it rewords, so that three of four planted sentences,
right and wrong ones alike, are reworded first: another opening, contractions turned round, the end
after the last comma left out. Kinds of what is wrong: https://arxiv.org/abs/1910.12840 (Kryscinski
et al. 2020: negations, numbers, names swapped by rule).

Negations and contractions are English; of other languages there are no such plants.
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
MIN_WORDS, MAX_WORDS = 6, 40  # of a sentence that is planted
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
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")  # a capital that no sentence begins with


@dataclass(frozen=True)
class PlantedSentence:
    """A sentence with the passages that it is held against.

    Attributes:
        wrong: what is wrong with it; None: nothing, the passages say so.
        document_id: of the passages.
    """

    sentence: str
    passages: tuple[str, ...]
    document_id: str
    wrong: WrongKind | None = None


def plant_sentences(passages: Sequence[tuple[str, str]], *, most: int) -> list[PlantedSentence]:
    """Own sentences, and each with one thing wrong, as far as there is something to spoil.

    Args:
        passages: (document id, text) of one author.
        most: own sentences, drawn by a hash of the text; each gives up to one plant a kind.

    Returns:
        Right and wrong ones; empty where the passages are of fewer than two documents.
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
        own = reworded(sentence)  # before it is spoilt, else what is wrong may be left out again
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
    """With its first negation taken out or, where it has none, `not` behind its first auxiliary;
    None: there is neither."""
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
    """With every number another one that the passages do not name; None: it has no number.

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
    """With its names swapped for others; None: it has none, or there is none to put there.

    Args:
        names: that the passages do not name.
    """
    if not names or not _NAME.search(sentence):
        return None
    return _NAME.sub(
        lambda match: names[int(digest(sentence, match[0]), 16) % len(names)], sentence
    )


def reworded(sentence: str) -> str:
    """As somebody would say it who does not quote; one of four, drawn by its hash, stays."""
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
