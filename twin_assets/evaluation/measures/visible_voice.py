"""What an author's voice is made of, counted so that a person can look at it.

Scope: rates of function words, sentence lengths, marks and openings of author, base and
tuned model. Out of scope: what decides (`voice_scores.py`), drawing (`report/plots.py`),
the record (`twin_resources/quality/judges/voice_shown.py`).

The author's texts are cut to the lengths of answers (`cut_as`). Only words that stand
in half of the author's posts are named, so that no subject and nobody's name is among them: the
figures go into Dagster's event log, which is kept when a post is forgotten.
Method: Mosteller and Wallace, 1963, "Inference in an authorship problem",
https://doi.org/10.1080/01621459.1963.10500849, for what function words tell.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from twin_assets.evaluation.measures.measure import DocumentText, Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import base_of_same
from twin_resources.quality.judges.voice_shown import ShownHabit, Trait, VoiceShown

MIN_TEXTS = 20  # of each writer, below which nothing is shown
IN_DOCUMENTS = 0.5  # share of the author's documents that a word stands in before it is named
WORDS_SHOWN, MARKS_SHOWN, OPENINGS_SHOWN = 10, 8, 6
OTHER = "another word"
SENTENCE_BINS = ((8, "under 8 words"), (16, "8 to 15"), (25, "16 to 24"), (10**9, "25 and more"))
MARKS = ".,;:!?()\"'-…/"
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n{2,}")


def measure_voice_shown(
    own: Sequence[DocumentText], *, base: Sequence[str], tuned: Sequence[str]
) -> VoiceShown | None:
    """Count the habits of three writers; None with fewer than `MIN_TEXTS` texts of one.

    Args:
        own: the author's prose.
        base, tuned: answers; those of the base may be to other questions.
    """
    base, tuned = ([text for text in texts if text.strip()] for texts in (base, tuned))
    if min(len(own), len(base), len(tuned)) < MIN_TEXTS:
        return None
    texts = cut_as([one.text for one in own], tuned), base, tuned
    named = _in_most_documents(own)
    return VoiceShown(
        habits=(
            _habit(
                "function words",
                "per 100 words",
                texts,
                lambda t: _words(t, named),
                100,
                most=WORDS_SHOWN,
                per=_word_count,
            ),
            _habit(
                "sentence length",
                "% of sentences",
                texts,
                _sentences,
                100,
                order=[name for _, name in SENTENCE_BINS],
            ),
            _habit(
                "punctuation",
                "per 100 words",
                texts,
                _marks,
                100,
                most=MARKS_SHOWN,
                per=_word_count,
            ),
            _habit(
                "openings",
                "% of texts",
                texts,
                lambda t: _openings(t, named),
                100,
                most=OPENINGS_SHOWN,
            ),
        ),
    )


def _habit(
    name: str,
    unit: str,
    texts: tuple[Sequence[str], Sequence[str], Sequence[str]],
    count: Callable[[Sequence[str]], Mapping[str, int]],
    scale: int,
    *,
    most: int | None = None,
    per: Callable[[Sequence[str]], int] | None = None,
    order: Sequence[str] = (),
) -> ShownHabit:
    """Rates of three writers.

    Args:
        count: of a trait in texts.
        most: traits, those first in which author and base differ most; None: all, in `order`.
        per: what the counts are divided by; None: by their own sum.
    """
    rates: list[dict[str, float]] = []
    for of in texts:
        counts = count(of)
        total = per(of) if per else sum(counts.values())
        rates.append({trait: scale * n / total for trait, n in counts.items()} if total else {})
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
    if most is not None:
        traits.sort(key=lambda one: (-abs(one.author - one.base), one.name))
    apart = [
        sum(abs(one.author - value) for one, value in zip(traits, values, strict=True))
        / max(len(traits), 1)
        for values in ([one.base for one in traits], [one.tuned for one in traits])
    ]
    return ShownHabit(name, unit, tuple(traits[:most]), round(apart[0], 3), round(apart[1], 3))


def _in_most_documents(own: Sequence[DocumentText]) -> frozenset[str]:
    """Words that stand in at least `IN_DOCUMENTS` of the author's documents."""
    documents: dict[str, set[str]] = {}
    for one in own:
        documents.setdefault(one.document, set()).update(_tokens(one.text))
    counts = Counter(word for words in documents.values() for word in words)
    return frozenset(word for word, n in counts.items() if n >= IN_DOCUMENTS * len(documents))


def _tokens(text: str) -> Iterable[str]:
    return (word.casefold() for word in words(text))


def _word_count(texts: Sequence[str]) -> int:
    return sum(len(words(text)) for text in texts)


def _words(texts: Sequence[str], named: frozenset[str]) -> Mapping[str, int]:
    return Counter(word for text in texts for word in _tokens(text) if word in named)


def _marks(texts: Sequence[str]) -> Mapping[str, int]:
    """Marks; the words between them are the last of `marks`."""
    sums = [sum(column) for column in zip(*map(marks, texts), strict=True)]
    return dict(zip(MARKS, sums, strict=False))


def _sentences(texts: Sequence[str]) -> Mapping[str, int]:
    counts = Counter[str]()
    for text in texts:
        for length in sentence_words(text):
            counts[next(name for end, name in SENTENCE_BINS if length < end)] += 1
    return counts


def _openings(texts: Sequence[str], named: frozenset[str]) -> Mapping[str, int]:
    first = (next(iter(_tokens(text)), "") for text in texts)
    return Counter(word if word in named else OTHER for word in first)


def cut_as(own: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The author's texts as long as answers are, in turn: a limit cuts long sentences off more
    often than short ones, and both sides must have lost them."""
    lengths = [len(answer.split()) for answer in answers if answer.strip()] or [0]
    return [
        " ".join(text.split()[: lengths[n % len(lengths)] or None]) for n, text in enumerate(own)
    ]


def marks(text: str) -> list[int]:
    """How often each mark stands, and last how many words stand without one."""
    plain = text.translate(_TYPOGRAPHY).replace("...", "…")
    counts = [plain.count(mark) for mark in MARKS]
    return [*counts, max(0, len(words(plain)) - sum(counts))]


def sentence_words(text: str) -> list[int]:
    """Words of each sentence; what a limit cut off after the last one does not count."""
    parts = [part for part in _END.split(text.strip()) if part.strip()]
    if len(parts) > 1 and not re.search(r"[.!?…][\"')\]]*$", parts[-1].strip()):
        parts.pop()
    return [len(words(part)) for part in parts]


def words(text: str) -> list[str]:
    """The words of a text as they stand, without marks."""
    return _WORD.findall(text)


def _take(context: MeasureContext) -> VoiceShown | None:
    """The base's answers to the same questions where all were asked, else to others."""
    if context.too_few:
        return None
    return measure_voice_shown(
        context.own_texts,
        base=base_of_same(context.asked, context.said) or context.known.base_answers,
        tuned=[context.said.candidate[at].text for at in context.asked.held_out],
    )


MEASURE = Measure(
    name="shown",
    value=VoiceShown,
    take=_take,
)
