"""Create probes from an author's sentences: supported ones, and copies with one error each.

Scope: creating the probes that calibrate a judge of single sentences.
Out of scope: whole answers as probes (`negative_probes.py`), the judges (`sentence_support.py`,
`entailment.py`), the quality of a calibration
(`twin_assets/evaluation/measures/sentence_faithfulness.py`).

A passage contains its own sentences word for word, so any judge detects one changed word. Models,
however, reword instead of quoting. Three in four probe sentences, correct and incorrect, are
therefore reworded first: with a different opening, with contractions expanded or introduced, or
without the part after the last comma. The kinds of errors follow Kryscinski et al., 2020,
https://arxiv.org/abs/1910.12840 (negations, numbers and names swapped by rule).

Negations and contractions are English. Other languages have no such probes.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.support import split_sentences

SentenceErrorKind = Literal["negated", "number", "name", "elsewhere"]
SENTENCE_ERROR_KINDS: tuple[SentenceErrorKind, ...] = get_args(SentenceErrorKind)
MIN_WORDS, MAX_WORDS = 6, 40  # words in a probe sentence
_OPENINGS = (
    "In my experience ",
    "The short answer is that ",
    "I have written that ",
    "It depends, but usually ",
)
_CONTRACTIONS = {
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
_EXPANSIONS = {short: long for long, short in _CONTRACTIONS.items()}
_NEGATION = re.compile(r"(?i)\b(?:not|never|cannot|no|nothing|nobody|none)\b|n['’]t\b")
_AUXILIARY = re.compile(
    r"(?i)\b(is|are|was|were|can|could|will|would|should|must|may|might|has|had)\b(?!\s*n['’]t)"
)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_NUMBER_WORD_TEXT = (
    "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty "
    "sixty eighty ninety hundred thousand"
)
_NUMBER_WORDS: Sequence[str] = _NUMBER_WORD_TEXT.split()
_NUMBER_WORD = re.compile(rf"(?i)\b(?:{'|'.join(_NUMBER_WORDS)})\b")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")  # a capitalized word inside a sentence


@dataclass(frozen=True)
class ProbeSentence:
    """A sentence with the passages against which it is checked.

    Attributes:
        error_kind: the kind of its error, or None if the passages support it.
        document_id: the document of the first passage.
    """

    sentence: str
    passages: tuple[str, ...]
    document_id: str
    error_kind: SentenceErrorKind | None = None


def create_probe_sentences(
    passages: Sequence[tuple[str, str]], *, max_sentences: int
) -> list[ProbeSentence]:
    """Create probes from the author's sentences, each with one copy per applicable kind of error.

    Args:
        passages: (document id, text) of one author.
        max_sentences: the maximum number of supported sentences, drawn by a hash of the text. Each
            yields at most one incorrect copy per kind of error.

    Returns:
        Correct and incorrect sentences; empty if the passages come from fewer than two documents.
    """
    if len({document for document, _ in passages}) < 2:
        return []
    shuffled_passages = sorted(passages, key=lambda passage: digest("passage", *passage))
    sampled_sentences = [
        (index, sentence)
        for index, (_, text) in enumerate(shuffled_passages)
        for sentence in _eligible_sentences(text)
    ]
    sampled_sentences = sorted(sampled_sentences, key=lambda pair: digest("sentence", pair[1]))[
        :max_sentences
    ]
    names = sorted({name for _, text in shuffled_passages for name in _NAME.findall(text)})
    probe_sentences: list[ProbeSentence] = []
    for index, sentence in sampled_sentences:
        document, text = shuffled_passages[index]
        second_passage = _find_passage_of_other_document(shuffled_passages, index, document)
        prompt_passages = (text, second_passage[1])
        passages_text = " ".join(prompt_passages).casefold()
        unrelated_text = _find_passage_of_other_document(
            shuffled_passages, index + len(shuffled_passages) // 2, document
        )[1]
        supported_sentence = reword(sentence)  # before the error, because rewording could remove it
        unsupported_sentence = next(
            (
                sentence
                for sentence in _eligible_sentences(unrelated_text)
                if sentence.casefold() not in passages_text
            ),
            None,
        )
        variants: dict[SentenceErrorKind, str | None] = {
            "negated": negate(supported_sentence),
            "number": replace_numbers(supported_sentence, passages_text),
            "name": replace_names(
                supported_sentence, [name for name in names if name.casefold() not in passages_text]
            ),
            "elsewhere": None if unsupported_sentence is None else reword(unsupported_sentence),
        }
        probe_sentences.append(ProbeSentence(supported_sentence, prompt_passages, document))
        probe_sentences += [
            ProbeSentence(variant, prompt_passages, document, kind)
            for kind, variant in variants.items()
            if variant is not None
        ]
    return probe_sentences


def negate(sentence: str) -> str | None:
    """Remove a sentence's first negation; if it has none, add `not` after its first auxiliary.

    Returns:
        The changed sentence, or None if it has neither a negation nor an auxiliary.
    """
    if (match := _NEGATION.search(sentence)) is not None:
        replacement = "can" if match[0].casefold() == "cannot" else ""
        substitute = {
            "no": "some",
            "nothing": "everything",
            "nobody": "everybody",
            "none": "all",
            "never": "always",
        }.get(match[0].casefold(), replacement)
        parts = (
            sentence[: match.start()].rstrip() if not substitute else sentence[: match.start()],
            substitute,
        )
        return "".join((*parts, sentence[match.end() :]))
    if (match := _AUXILIARY.search(sentence)) is not None:
        return f"{sentence[: match.end()]} not{sentence[match.end() :]}"
    return None


def replace_numbers(sentence: str, passages_text: str) -> str | None:
    """Replace every number with one that the passages do not contain.

    Args:
        passages_text: the passages, case folded.

    Returns:
        The changed sentence, or None if it has no number.
    """

    def replace_number(match: re.Match[str]) -> str:
        number = int(re.sub(r"\D", "", match[0])[:9])
        return next(
            str(candidate)
            for step in range(1, 1000)
            if not re.search(rf"\b{(candidate := number + step * 7)}\b", passages_text)
        )

    def replace_number_word(match: re.Match[str]) -> str:
        index = _NUMBER_WORDS.index(match[0].casefold())
        candidates = [*_NUMBER_WORDS[index + 3 :], *_NUMBER_WORDS[:index]]
        word = next(
            (
                candidate
                for candidate in candidates
                if not re.search(rf"\b{candidate}\b", passages_text)
            ),
            candidates[0],
        )
        return word.capitalize() if match[0][0].isupper() else word

    changed_sentence = _NUMBER_WORD.sub(replace_number_word, _DIGITS.sub(replace_number, sentence))
    return changed_sentence if changed_sentence != sentence else None


def replace_names(sentence: str, names: Sequence[str]) -> str | None:
    """Replace the names in a sentence.

    Args:
        names: names that the passages do not contain.

    Returns:
        The changed sentence, or None if it has no name or `names` is empty.
    """
    if not names or not _NAME.search(sentence):
        return None
    return _NAME.sub(
        lambda match: names[int(digest(sentence, match[0]), 16) % len(names)], sentence
    )


def reword(sentence: str) -> str:
    """Reword a sentence. Its hash selects the method; one in four sentences stays unchanged."""
    method = int(digest("reworded", sentence), 16) % 4
    if method == 1:
        opening = _OPENINGS[int(digest("opening", sentence), 16) % len(_OPENINGS)]
        continuation = (
            sentence if re.match(r"I\b|[A-Z]{2}", sentence) else _lowercase_first(sentence)
        )
        return opening + continuation
    if method == 2:
        for table in (_CONTRACTIONS, _EXPANSIONS):
            for phrase, replacement in table.items():
                if re.search(rf"\b{re.escape(phrase)}\b", sentence):
                    return re.sub(rf"\b{re.escape(phrase)}\b", replacement, sentence, count=1)
    if method >= 2:
        head, comma, tail = sentence.rpartition(", ")
        if comma and len(head.split()) >= MIN_WORDS and len(tail.split()) >= 3:
            return head + "."
    return sentence


def _lowercase_first(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _eligible_sentences(text: str) -> list[str]:
    return [
        sentence
        for sentence in split_sentences(text)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS and sentence.endswith((".", "!"))
    ]


def _find_passage_of_other_document(
    passages: Sequence[tuple[str, str]], start: int, document: str
) -> tuple[str, str]:
    count = len(passages)
    candidates = (passages[(start + step) % count] for step in range(count))
    return next(passage for passage in candidates if passage[0] != document)
