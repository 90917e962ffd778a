"""Create bad answers (negative probes) that a judge must score below the author's own.

Scope: creating probes for an author's held-out prompts, drawing probes for a batch.
Out of scope: the certificate (`statistics/judge_certification.py`), scoring.

Each kind has one fault. `shuffled` is the author's answer to a different held-out question (as
after a wrong join). `off_topic` is the author's passage on a different subject. `another_author` is
another person's text. `unsupported` is the author's own answer with numbers and rare words from
another document. Probes depend only on the texts, so every run creates the same probes.
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
REPLACED_WORD_SHARE = 0.3  # share of an answer's distinctive words, rarest first
_WORD = re.compile(r"[^\W\d_]{4,}|\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class AuthorAnswer:
    """A held-out prompt and the author's own answer.

    Attributes:
        passages: the passages in the prompt. As in production, they contain the answer's own chunk;
            without that chunk, the author's own answer would also be unsupported.
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
        """Return the author's answer and the probe, as shown to a judge."""
        prompt = self.prompt
        return (
            JudgedAnswer(prompt.question, prompt.answer, prompt.passages),
            JudgedAnswer(prompt.question, self.answer, prompt.passages),
        )


def create_negative_probes(
    prompts: Sequence[AuthorAnswer],
    *,
    training_passages: Sequence[tuple[str, str]],
    other_passages: Sequence[str],
) -> list[NegativeProbe]:
    """Create a probe of each kind for each prompt, where the texts allow it.

    Args:
        training_passages: (document id, passage) of the author's training split, for `off_topic`.
        other_passages: other authors' passages, for `another_author`; if empty, this kind is
            omitted.

    Raises:
        TwinError: answers cannot be swapped, because the prompts come from fewer than two
            documents.
    """
    if len({prompt.document_id for prompt in prompts}) < 2:
        raise TwinError(
            "create negative probes",
            found=f"{len(prompts)} held-out prompts from fewer than two documents",
            next_step="import more posts",
        )
    shuffled_prompts = sorted(prompts, key=lambda prompt: digest("shuffle", prompt.sample_id))
    frequency = Counter(word for prompt in prompts for word in set(_words(prompt.answer)))
    probes: list[NegativeProbe] = []
    for index, prompt in enumerate(shuffled_prompts):
        other_prompt = _find_next_prompt_from_other_document(shuffled_prompts, index)
        answers_by_kind: dict[ProbeKind, str] = {
            "shuffled": other_prompt.answer,
            "unsupported": replace_distinctive_words(prompt.answer, other_prompt.answer, frequency),
        }
        other_document_passages = [
            text for document_id, text in training_passages if document_id != prompt.document_id
        ]
        if other_document_passages:
            answers_by_kind["off_topic"] = _draw_text(other_document_passages, prompt, "off_topic")
        if other_passages:
            answers_by_kind["another_author"] = _draw_text(other_passages, prompt, "another_author")
        probes += [
            NegativeProbe(kind, prompt, answers_by_kind[kind])
            for kind in PROBE_KINDS
            if kind in answers_by_kind
        ]
    return probes


def replace_distinctive_words(answer: str, source: str, frequency: Mapping[str, int]) -> str:
    """Replace all numbers and the rarest distinctive words of `answer` with words of `source`."""
    replacements = sorted(
        set(_words(source)) - set(_words(answer)), key=lambda word: (frequency.get(word, 0), word)
    )
    if not replacements:
        return source
    words_by_rarity = sorted(set(_words(answer)), key=lambda word: (frequency.get(word, 0), word))
    replaced_words = set(
        words_by_rarity[: max(1, round(REPLACED_WORD_SHARE * len(words_by_rarity)))]
    )
    replaced_words |= {word for word in words_by_rarity if word[0].isdigit()}
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
    """Draw probes for one batch of judged answers, differently for each `batch`.

    Args:
        count: the maximum number of probes.
        batch: the id of the batch.
        used_probes: (sample id, kind) of the probes in earlier batches. They are not drawn again,
            because scoring a probe twice adds no information.
    """
    unused_probes = [
        probe for probe in probes if (probe.prompt.sample_id, probe.kind) not in used_probes
    ]
    return sorted(
        unused_probes, key=lambda probe: digest(batch, probe.kind, probe.prompt.sample_id)
    )[:count]


def _find_next_prompt_from_other_document(
    prompts: Sequence[AuthorAnswer], index: int
) -> AuthorAnswer:
    """Return the next prompt from another document, so that few answers are used twice."""
    current_prompt, count = prompts[index], len(prompts)
    next_prompts = (prompts[(index + step) % count] for step in range(1, count))
    return next(
        prompt for prompt in next_prompts if prompt.document_id != current_prompt.document_id
    )


def _draw_text(texts: Sequence[str], prompt: AuthorAnswer, purpose: str) -> str:
    return texts[int(digest(purpose, prompt.sample_id), 16) % len(texts)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
