"""How much of what a model says is copied word for word.

Belongs here: the share of word windows of the answers that stand in the training texts.
Does not belong here: asking the model (`served_model.py`), thresholds (`gate.py`).

A window that also stands in the prompt counts apart: quoting a retrieved passage is what the
prompt asks for, reciting a training text that is not in front of the model is memorisation.
Method: verbatim n-gram overlap as in Carlini et al., "Quantifying Memorization Across Neural
Language Models" (https://arxiv.org/abs/2202.07646), on words.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

WINDOW_WORDS = 8
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class CopyRate:
    """Shares of the windows of all answers.

    Attributes:
        windows: how many runs of `WINDOW_WORDS` words the answers have.
        from_training: share found in the training texts and not in the answer's own prompt.
        from_prompt: share found in the answer's own prompt.
    """

    windows: int
    from_training: float
    from_prompt: float


def verbatim_copy_rate(
    answers: Sequence[str], prompts: Sequence[str], training_texts: Iterable[str]
) -> CopyRate:
    """Measure what is copied.

    Args:
        answers, prompts: the same length; a prompt is everything that the model was shown.
        training_texts: the answers that it was trained on.

    Returns:
        Rates of 0 when no answer has a window.
    """
    trained = {window for text in training_texts for window in windows(text)}
    total = from_training = from_prompt = 0
    for answer, prompt in zip(answers, prompts, strict=True):
        shown = set(windows(prompt))
        for window in windows(answer):
            total += 1
            if window in shown:
                from_prompt += 1
            elif window in trained:
                from_training += 1
    if not total:
        return CopyRate(0, 0.0, 0.0)
    return CopyRate(total, from_training / total, from_prompt / total)


def windows(text: str) -> Iterator[tuple[str, ...]]:
    """Every run of `WINDOW_WORDS` words, case folded, punctuation left out."""
    words = [word.casefold() for word in _WORD.findall(text)]
    for start in range(len(words) - WINDOW_WORDS + 1):
        yield tuple(words[start : start + WINDOW_WORDS])
