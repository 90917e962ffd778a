"""Count the habits of an author's style for a person to inspect.

Rates of function words, sentence lengths, punctuation marks and first words for author, base and
tuned model. They decide nothing. Drawing: `report/plots.py`.

The author's texts are cut to the lengths of answers (`cut_to_lengths`). Dagster's event log keeps
the figures even after a post is erased. Only words that occur in half of the author's posts are
therefore named, which leaves out subjects and personal names. Method: Mosteller and Wallace, 1963,
"Inference in an authorship problem", https://doi.org/10.1080/01621459.1963.10500849, who attribute
texts by function words.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from twin_resources.quality.judges.voice_figures import Trait, VoiceFigures, VoiceHabit

MIN_TEXTS = 20  # per writer; with fewer texts, nothing is shown
MIN_DOCUMENT_SHARE = 0.5  # minimum share of the author's documents that contain a named word
MAX_WORDS, MAX_MARKS, MAX_OPENINGS = 10, 8, 6
OTHER_WORD = "another word"
SENTENCE_BINS = ((8, "under 8 words"), (16, "8 to 15"), (25, "16 to 24"), (10**9, "25 and more"))
MARKS = ".,;:!?()\"'-…/"
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n{2,}")


def measure_visible_voice(
    own: Sequence[tuple[str, str]], *, base: Sequence[str], tuned: Sequence[str]
) -> VoiceFigures | None:
    """Count the habits of three writers, or return None if one has fewer than `MIN_TEXTS` texts.

    Args:
        own: (document id, text) of the author's prose.
        base, tuned: answers of the models. The base's answers may be to different questions.
    """
    base, tuned = ([text for text in texts if text.strip()] for texts in (base, tuned))
    if min(len(own), len(base), len(tuned)) < MIN_TEXTS:
        return None
    texts = cut_to_lengths([text for _, text in own], tuned), base, tuned
    common_words = _find_common_words(own)

    def compare(
        name: str,
        unit: str,
        count: Callable[[Sequence[str]], Mapping[str, int]],
        max_traits: int | None,
    ) -> VoiceHabit:
        return _compare_habit(name, unit, list(map(count, texts)), texts, max_traits)

    return VoiceFigures(
        habits=(
            compare(
                "function words",
                "per 100 words",
                lambda texts: Counter(
                    word
                    for text in texts
                    for word in _casefolded_words(text)
                    if word in common_words
                ),
                MAX_WORDS,
            ),
            compare("sentence length", "% of sentences", _count_sentence_lengths, None),
            compare("punctuation", "per 100 words", _count_marks, MAX_MARKS),
            compare(
                "openings",
                "% of texts",
                lambda texts: _count_openings(texts, common_words),
                MAX_OPENINGS,
            ),
        ),
    )


def _compare_habit(
    name: str,
    unit: str,
    counts: Sequence[Mapping[str, int]],
    texts: Sequence[Sequence[str]],
    max_traits: int | None,
) -> VoiceHabit:
    """Compute the rates of one habit for three writers.

    Args:
        counts: how often each trait occurs in each writer's texts. For a unit per 100 words, it is
            divided by the number of words, and otherwise by the sum of the counts.
        max_traits: number of traits to show, starting with the largest difference between author
            and base, or None for all, in the order of `SENTENCE_BINS`.
    """
    rates: list[dict[str, float]] = []
    for writer_counts, writer_texts in zip(counts, texts, strict=True):
        total = sum(writer_counts.values())
        if unit == "per 100 words":
            total = sum(len(split_words(text)) for text in writer_texts)
        rates.append(
            {trait: 100 * count / total for trait, count in writer_counts.items()} if total else {}
        )
    order = [bin_name for _, bin_name in SENTENCE_BINS] if max_traits is None else ()
    author, base, tuned = rates
    traits = [
        Trait(
            trait,
            round(author.get(trait, 0.0), 2),
            round(base.get(trait, 0.0), 2),
            round(tuned.get(trait, 0.0), 2),
        )
        for trait in (order or sorted({*author, *base, *tuned}))
    ]
    if max_traits is not None:
        traits.sort(key=lambda trait: (-abs(trait.author - trait.base), trait.name))
    gaps = [
        sum(abs(trait.author - getattr(trait, writer)) for trait in traits) / max(len(traits), 1)
        for writer in ("base", "tuned")
    ]
    return VoiceHabit(name, unit, tuple(traits[:max_traits]), round(gaps[0], 3), round(gaps[1], 3))


def _find_common_words(own: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Return the words that occur in at least `MIN_DOCUMENT_SHARE` of the author's documents."""
    words_by_document: dict[str, set[str]] = {}
    for document, text in own:
        words_by_document.setdefault(document, set()).update(_casefolded_words(text))
    counts = Counter(word for words in words_by_document.values() for word in words)
    min_documents = MIN_DOCUMENT_SHARE * len(words_by_document)
    return frozenset(word for word, count in counts.items() if count >= min_documents)


def _casefolded_words(text: str) -> Iterable[str]:
    return (word.casefold() for word in split_words(text))


def _count_marks(texts: Sequence[str]) -> Mapping[str, int]:
    """Count each punctuation mark; curly quotation marks and dashes count as their plain forms."""
    plain_texts = [text.translate(_TYPOGRAPHY).replace("...", "…") for text in texts]
    return {mark: sum(text.count(mark) for text in plain_texts) for mark in MARKS}


def _count_sentence_lengths(texts: Sequence[str]) -> Mapping[str, int]:
    counts = Counter[str]()
    for text in texts:
        for length in sentence_lengths(text):
            counts[next(name for end, name in SENTENCE_BINS if length < end)] += 1
    return counts


def _count_openings(texts: Sequence[str], common_words: frozenset[str]) -> Mapping[str, int]:
    first_words = (next(iter(_casefolded_words(text)), "") for text in texts)
    return Counter(word if word in common_words else OTHER_WORD for word in first_words)


def cut_to_lengths(own: Sequence[str], answers: Sequence[str]) -> list[str]:
    """Cut the author's texts to the lengths of the answers, used in turn.

    A length limit cuts off long sentences more often than short ones, so both sides must be cut.
    """
    lengths = [len(answer.split()) for answer in answers if answer.strip()] or [0]
    return [
        " ".join(text.split()[: lengths[index % len(lengths)] or None])
        for index, text in enumerate(own)
    ]


def sentence_lengths(text: str) -> list[int]:
    """Count the words of each sentence, except a last sentence that was cut off."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence.strip()]
    if len(sentences) > 1 and not re.search(r"[.!?…][\"')\]]*$", sentences[-1].strip()):
        sentences.pop()
    return [len(split_words(sentence)) for sentence in sentences]


def split_words(text: str) -> list[str]:
    """Return the words of a text in their original case, without punctuation marks."""
    return _WORD.findall(text)
