"""Plants bad answers that a judge must score below the author's own.

Scope: creating plants for an author's held-out prompts, drawing plants for a batch.
Out of scope: the certificate (`statistics/judges.py`), scoring.

Each kind has one fault. `shuffled` is the author's answer to a different held-out question (a
mis-joined column). `off_topic` is the author's passage on a different subject. `another_author` is
another person's text. `unsupported` is the author's own answer with numbers and rare words from
another document. Plants depend only on the texts, so two runs plant the same.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest

ProbeKind = Literal["another_author", "off_topic", "shuffled", "unsupported"]
PROBE_KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)
REPLACED_WORD_SHARE = 0.3  # of an answer's distinctive words, the rarest first
_WORD = re.compile(r"[^\W\d_]{4,}|\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class AuthorAnswer:
    """A held-out prompt and the author's own answer.

    Attributes:
        passages: the context shown. It contains the answer's own chunk, which retrieval finds in
            production. Without it, the author's own answer would also be unsupported.
    """

    sample_id: str
    document_id: str
    question: str
    answer: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True)
class NegativeProbe:
    """A bad answer to `prompt`'s question, with the same passages."""

    kind: ProbeKind
    prompt: AuthorAnswer
    answer: str

    def judged_pair(self) -> tuple[JudgedAnswer, JudgedAnswer]:
        """Return the author's answer and the plant, as shown to a judge."""
        own = self.prompt
        return (
            JudgedAnswer(own.question, own.answer, own.passages),
            JudgedAnswer(own.question, self.answer, own.passages),
        )


def create_negative_probes(
    prompts: Sequence[AuthorAnswer],
    *,
    training_passages: Sequence[tuple[str, str]],
    other_passages: Sequence[str],
    kinds: Sequence[ProbeKind] = PROBE_KINDS,
) -> list[NegativeProbe]:
    """Create a plant of each kind for each prompt, if there is material for it.

    Args:
        training_passages: (document id, passage) of the author's training split, for `off_topic`.
        other_passages: other authors' passages, for `another_author`; no such plants if empty.

    Raises:
        TwinError: the prompts come from fewer than two documents, so nothing can be swapped.
    """
    if len({own.document_id for own in prompts}) < 2:
        raise TwinError(
            "make negative probes",
            found=f"{len(prompts)} held-out prompts from fewer than two documents",
            next_step="import more posts",
        )
    shuffled_prompts = sorted(prompts, key=lambda own: digest("shuffle", own.sample_id))
    frequency = Counter(word for own in prompts for word in set(_words(own.answer)))
    probes: list[NegativeProbe] = []
    for index, prompt in enumerate(shuffled_prompts):
        other = _next_prompt_from_other_document(shuffled_prompts, index)
        answers_by_kind: dict[ProbeKind, str] = {
            "shuffled": other.answer,
            "unsupported": replace_distinctive_words(prompt.answer, other.answer, frequency),
        }
        other_document_passages = [
            text for name, text in training_passages if name != prompt.document_id
        ]
        if other_document_passages:
            answers_by_kind["off_topic"] = _draw_text(other_document_passages, prompt, "off_topic")
        if other_passages:
            answers_by_kind["another_author"] = _draw_text(other_passages, prompt, "another_author")
        probes += [
            NegativeProbe(kind, prompt, answers_by_kind[kind])
            for kind in PROBE_KINDS
            if kind in kinds and kind in answers_by_kind
        ]
    return probes


def replace_distinctive_words(answer: str, source: str, frequency: Mapping[str, int]) -> str:
    """Replace the rarest distinctive words and all numbers of `answer` with words of `source`."""
    replacements = sorted(
        set(_words(source)) - set(_words(answer)), key=lambda word: (frequency.get(word, 0), word)
    )
    if not replacements:
        return source
    rare = sorted(set(_words(answer)), key=lambda word: (frequency.get(word, 0), word))
    replaced_words = set(rare[: max(1, round(REPLACED_WORD_SHARE * len(rare)))])
    replaced_words |= {word for word in rare if word[0].isdigit()}
    replacement_by_word = {
        word: replacements[index % len(replacements)]
        for index, word in enumerate(sorted(replaced_words))
    }

    def replace_word(match: re.Match[str]) -> str:
        word = replacement_by_word.get(match[0].casefold())
        if word is None:
            return match[0]
        return word.capitalize() if match[0][0].isupper() else word

    return _WORD.sub(replace_word, answer)


def draw_probes(
    probes: Sequence[NegativeProbe],
    *,
    count: int,
    batch: str,
    used_probes: Collection[tuple[str, str]] = (),
) -> list[NegativeProbe]:
    """Draw plants for one batch of judged answers, differently for each `batch`.

    Args:
        count: the most plants; fewer are returned if too few are left.
        used_probes: (sample id, kind) of the plants in earlier batches. They are not drawn again,
            because a second score of a plant adds no information.
    """
    unused_probes = [one for one in probes if (one.prompt.sample_id, one.kind) not in used_probes]
    return sorted(unused_probes, key=lambda one: digest(batch, one.kind, one.prompt.sample_id))[
        :count
    ]


def _next_prompt_from_other_document(prompts: Sequence[AuthorAnswer], index: int) -> AuthorAnswer:
    """Return the next prompt of another document, so that each answer changes and few repeat."""
    own, count = prompts[index], len(prompts)
    following = (prompts[(index + step) % count] for step in range(1, count))
    return next(other for other in following if other.document_id != own.document_id)


def _draw_text(texts: Sequence[str], prompt: AuthorAnswer, purpose: str) -> str:
    return texts[int(digest(purpose, prompt.sample_id), 16) % len(texts)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
