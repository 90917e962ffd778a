"""Define the forms of an answer, and the forms for which a model version is released.

Scope: their names, the form that replaces an unreleased one, the description of a release.
Out of scope: the author's setting (`author_file.py`), the claim that releases prose (the gate's
`says_what_the_posts_say`), making an answer.

`quote` gives the author's own sentences. `quote_and_voice` adds generated prose under its own
heading. `voice` gives generated prose alone. Prose is shown if the answering version is released
for it. A client requests a draft by name (`twin/<author>@voice`), and the draft is marked.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

AnswerForm = Literal["quote", "quote_and_voice", "voice"]
AnswerSetting = Literal["auto", "quote", "quote_and_voice", "voice"]
"""`auto` and `quote_and_voice` both add prose below the quotations if it is released."""
ANSWER_FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)
QUOTE_ONLY: tuple[AnswerForm, ...] = ("quote",)
VOICE: AnswerForm = "voice"
PROSE_QUESTION_COUNT = 30  # asked of an answer model; the claim needs about sixty sentences
NOT_MEASURED_REASON = "the gate has not measured whether it says what the posts say"
NO_MODEL_REASON = "no model server is ready"
NO_VERSION_REASON = "no version has been released yet, and a base model's prose is not measured"


@dataclass(frozen=True)
class SentenceThreshold:
    """The judge and the threshold that check each sentence of released prose during serving.

    Attributes:
        judge: revision of the gate's `SentenceSupport`; scores of two revisions are not comparable.
        threshold: score below which a sentence counts as unsupported.
    """

    judge: str
    threshold: float


@dataclass(frozen=True)
class ProseRelease:
    """Whether a version's prose may be shown.

    Attributes:
        why_not: a clause with the figure, or empty if the claim is met.
        cut: the check of each sentence, or None if the verdict contains none; sentences are then
            not judged.
        forced: whether a person released the version against the gate; the registry stores the
            reason.
    """

    why_not: str = NOT_MEASURED_REASON
    cut: SentenceThreshold | None = None
    forced: bool = False

    @property
    def forms(self) -> tuple[AnswerForm, ...]:
        """The answer forms for which the version is released."""
        return QUOTE_ONLY if self.why_not else ANSWER_FORMS

    @property
    def description(self) -> str:
        """The text for the README, page, commands, model list and report."""
        return f"quotations alone: {self.why_not}" if self.why_not else "quotations and prose"


def resolve_form(setting: AnswerSetting, release: ProseRelease) -> AnswerForm:
    """Return the form of the answer.

    Args:
        setting: the author's setting `answer`.
        release: the release of the answering version.
    """
    if setting == "quote":
        return "quote"
    if setting == VOICE and (release.forced or not release.why_not):
        return VOICE
    return "quote" if release.why_not else "quote_and_voice"
