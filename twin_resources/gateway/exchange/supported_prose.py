"""Show only the sentences of an answer's prose that the author's posts support.

Scope: judging each sentence of a stream, and the content of `twin.prose` and `twin.draft`.
Out of scope: the other filters (`answer_ending.py`), the judge
(`quality/judges/sentence_support.py`), its threshold (the gate's claim
`says_what_the_posts_say`), whether prose is shown at all (`authors/answer_forms.py`).

As in the evaluation gate, questions and sentences without a content word make no claim and are not
judged; they are kept or dropped with the sentence before them. A "yes" or "no" alone is a claim
that nothing supports. An answer whose first claim is unsupported is not shown. Shown text cannot be
withdrawn, so a stream shows nothing while fewer than half of its sentences are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.gateway.exchange.stop_criteria import last_sentence_end
from twin_resources.quality.judges.repeated_words import is_reply
from twin_resources.quality.judges.support import distinctive_words, sentence_spans

if TYPE_CHECKING:
    from twin_resources.quality.judges.sentence_support import SentenceJudge

MIN_KEPT_SHARE = 0.5  # share of the sentences that make a claim
NOT_JUDGED = "the request named the draft, and its sentences are not judged"
NO_QUOTATION = "there is no quotation above it"


@dataclass
class ProseNote:
    """The state of an answer's prose.

    Attributes:
        hidden_reason: why no prose is shown, in one clause; empty if prose is shown or if the
            author's settings exclude it.
        draft_model: the model name that returns the prose anyway, or empty.
        draft_reason: why the prose is a draft; empty if it is not a draft.
        supported_sentences: the judged sentences, or None if they are not judged.
    """

    hidden_reason: str = ""
    draft_model: str = ""
    draft_reason: str = ""
    supported_sentences: SupportedSentenceFilter | None = field(default=None, repr=False)

    def fields(self, *, label: str) -> dict[str, Any]:
        """Return the field `twin.prose`.

        Args:
            label: the sentence that says whose words the prose is; empty if none is shown.
        """
        sentences, is_shown = self.supported_sentences, bool(label)
        return {
            "shown": is_shown,
            "label": label,
            "why": "" if is_shown else self.hidden_reason,
            "model": "" if is_shown else self.draft_model,
            "judged": sentences is not None,
            "sentences": sentences.claim_count if sentences else 0,
            "left_out": sentences.claim_count - sentences.kept_count if sentences else 0,
        }


class SupportedSentenceFilter:
    """A filter that keeps the supported sentences of a growing answer.

    Args:
        judge: the judge for which the threshold was set.
        threshold: minimum score of a shown sentence.
        passages: source texts of the answer.
        run_in_thread: calls a function in a thread.

    Attributes:
        claim_count, kept_count: number of sentences that make a claim, and of the supported ones.
    """

    def __init__(
        self,
        judge: SentenceJudge,
        threshold: float,
        passages: Sequence[str],
        run_in_thread: Callable[..., Any] = asyncio.to_thread,
    ) -> None:
        self.claim_count = 0
        self.kept_count = 0
        self._judge, self._threshold = judge, threshold
        self._passages, self._run_in_thread = tuple(passages), run_in_thread
        self._text = ""
        self._pending = ""  # kept text, not shown while fewer than half of the sentences are kept
        self._is_previous_kept = False  # whether the previous sentence was kept
        self._is_first_kept = True  # whether the first sentence that makes a claim was kept

    @property
    def has_enough_support(self) -> bool:
        """Whether the first sentence, and at least half of the sentences, are kept."""
        is_mostly_kept = self.kept_count >= MIN_KEPT_SHARE * self.claim_count
        return self.kept_count > 0 and self._is_first_kept and is_mostly_kept

    def describe_loss(self) -> str:
        """Return why the answer is not shown, in one clause."""
        removed_count = self.claim_count - self.kept_count
        lost = f"{removed_count} of {self.claim_count} sentences are unsupported"
        return lost if self._is_first_kept else f"{lost}, the first among them"

    async def feed(self, text: str, *, is_final: bool = False) -> str:
        """Add text and return the part that can be shown now.

        Args:
            is_final: whether this is the end of the answer.
        """
        self._text += text
        end = len(self._text) if is_final else last_sentence_end(self._text)
        if not is_final and end == len(self._text):
            return ""  # "3." may become "3.5"
        complete_text, self._text = self._text[:end], self._text[end:]
        spans = sentence_spans(complete_text)
        claims = [span.strip() for span in spans if _is_claim(span)]
        scores = iter(await self._run_in_thread(self._score_claims, claims) if claims else ())
        for span in spans:
            if _is_claim(span):
                self.claim_count += 1
                self._is_previous_kept = next(scores) >= self._threshold
                self.kept_count += self._is_previous_kept
                self._is_first_kept &= self._is_previous_kept or self.claim_count > 1
            if self._is_previous_kept:
                self._pending += span
            elif "\n\n" in span and self._pending:
                self._pending = f"{self._pending.rstrip()}\n\n"
        if not self.has_enough_support:
            return ""
        shown_text, self._pending = self._pending, ""
        return shown_text

    def _score_claims(self, claims: Sequence[str]) -> list[float]:
        return self._judge.score([(claim, self._passages) for claim in claims])


def _is_claim(sentence: str) -> bool:
    has_words = bool(distinctive_words(sentence)) or is_reply(sentence)
    return has_words and not sentence.rstrip().endswith("?")
