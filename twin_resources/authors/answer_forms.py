"""The forms that an answer may have, and which of them a model's version is released for.

Scope: their names, what is given where the wanted one is not released, what people read of a
release. Out of scope: the author's setting (`author_file.py`), the claim that releases
prose (the gate's `says_what_the_posts_say`), making an answer.

`quote` is the author's own sentences; `quote_and_voice` the same, with generated prose under a
heading of its own; `voice` generated prose alone. Prose is shown where the version that answers is
released for it; a draft (`twin/<author>@voice`) is asked for by name and says what it is.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

AnswerForm = Literal["quote", "quote_and_voice", "voice"]
AnswerSetting = Literal["auto", "quote", "quote_and_voice", "voice"]
"""`auto` and `quote_and_voice` are the same: prose below the quotations where it is released."""
ANSWER_FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)
QUOTE_ONLY: tuple[AnswerForm, ...] = ("quote",)
VOICE: AnswerForm = "voice"
NOT_MEASURED = "whether it says what the posts say has not been measured"
NO_MODEL = "no model server is ready"
NO_VERSION = "no version has been released yet, and a base model's prose is not measured"


@dataclass(frozen=True)
class SentenceCut:
    """By what a sentence of released prose is judged again while it is served.

    Attributes:
        judge: revision of the gate's `SentenceSupport`; another one's scores are not comparable.
        threshold: a sentence that scores below it counts as unsupported.
    """

    judge: str
    threshold: float


@dataclass(frozen=True)
class ProseRelease:
    """Whether a version's prose may be shown.

    Attributes:
        why_not: one clause with the figure; empty: the claim is met.
        cut: None: its verdict names none, and sentences are not judged.
        forced: a person released the version in spite of the gate; the reason is in the registry.
    """

    why_not: str = NOT_MEASURED
    cut: SentenceCut | None = None
    forced: bool = False

    @property
    def forms(self) -> tuple[AnswerForm, ...]:
        """The forms of answers that the version is released for."""
        return QUOTE_ONLY if self.why_not else ANSWER_FORMS

    @property
    def in_words(self) -> str:
        """What README, page, commands, model list and report say of it."""
        return f"quotations alone: {self.why_not}" if self.why_not else "quotations and prose"


def given_form(wanted: AnswerSetting, release: ProseRelease) -> AnswerForm:
    """The form that is given.

    Args:
        wanted: the author's setting `answer`.
        release: of the version that answers.
    """
    if wanted == "quote":
        return "quote"
    if wanted == VOICE and (release.forced or not release.why_not):
        return VOICE
    return "quote" if release.why_not else "quote_and_voice"
