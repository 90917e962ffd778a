"""Show only the sentences of an answer's prose that the author's posts support.

Scope: judging each sentence of a stream, the content of `twin.prose` and `twin.draft`.
Out of scope: LiteLLM's chunks (`answer_ending.py`), the judge
(`quality/judges/sentence_support.py`), its threshold (the gate's claim `says_what_the_posts_say`),
whether prose is shown at all (`authors/answer_forms.py`).

A question, and a sentence without a content word, make no claim that could be judged, as in the
gate. They are kept or dropped with the sentence before them. Shown text cannot be withdrawn, so a
stream shows nothing while fewer than half of its sentences are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.gateway.exchange.stop_criteria import last_sentence_end
from twin_resources.quality.judges.support import sentence_spans, telling_words

if TYPE_CHECKING:
    from twin_resources.quality.judges.sentence_support import SentenceJudge

MIN_KEPT = 0.5  # share of the sentences that make a claim
NOT_JUDGED = "prose was asked for by name, and its sentences are not judged"
NO_QUOTATION = "there is no quotation above it"


@dataclass
class ProseNote:
    """The state of an answer's prose.

    Attributes:
        why_not: why no prose is shown, one clause; empty if it is, or if the author wants none.
        ask: the model name that returns the prose anyway, or empty.
        draft: why the prose is a draft, or empty if it is none.
        judged: the judged sentences, or None if they are not judged.
    """

    why_not: str = ""
    ask: str = ""
    draft: str = ""
    judged: SupportedSentences | None = field(default=None, repr=False)

    def fields(self, *, shown: bool) -> dict[str, Any]:
        """Return the field `twin.prose`."""
        judged = self.judged
        return {
            "shown": shown,
            "why": "" if shown else self.why_not,
            "model": "" if shown else self.ask,
            "judged": judged is not None,
            "sentences": judged.sentences if judged else 0,
            "left_out": judged.sentences - judged.kept if judged else 0,
        }


class SupportedSentences:
    """The sentences of a growing answer that may be shown.

    Args:
        judge: the judge for which the threshold was set.
        threshold: minimum score of a shown sentence.
        passages: source texts of the answer.
        run: calls a function off the event loop.

    Attributes:
        sentences, kept: number of sentences that make a claim, and of the supported ones.
    """

    def __init__(
        self,
        judge: SentenceJudge,
        threshold: float,
        passages: Sequence[str],
        run: Callable[..., Any] = asyncio.to_thread,
    ) -> None:
        self.sentences = 0
        self.kept = 0
        self._judge, self._threshold = judge, threshold
        self._passages, self._run = tuple(passages), run
        self._text = ""
        self._waiting = ""  # kept text, not shown while fewer than half of the sentences are kept
        self._keeps = False  # whether the previous sentence was kept

    @property
    def is_enough(self) -> bool:
        """Whether at least one sentence and at least half of them are kept."""
        return self.kept > 0 and self.kept >= MIN_KEPT * self.sentences

    async def feed(self, text: str, *, ended: bool = False) -> str:
        """Add text and return the part that can be shown now.

        Args:
            ended: whether this is the last text.
        """
        self._text += text
        end = len(self._text) if ended else last_sentence_end(self._text)
        if not ended and end == len(self._text):
            return ""  # "3." may become "3.5"
        whole, self._text = self._text[:end], self._text[end:]
        spans = sentence_spans(whole)
        claims = [span.strip() for span in spans if _claims_something(span)]
        scores = iter(await self._run(self._scores, claims) if claims else ())
        for span in spans:
            if _claims_something(span):
                self.sentences += 1
                self._keeps = next(scores) >= self._threshold
                self.kept += self._keeps
            if self._keeps:
                self._waiting += span
            elif "\n\n" in span and self._waiting:
                self._waiting = f"{self._waiting.rstrip()}\n\n"
        if not self.is_enough:
            return ""
        shown, self._waiting = self._waiting, ""
        return shown

    def _scores(self, claims: Sequence[str]) -> list[float]:
        return self._judge.score([(claim, self._passages) for claim in claims])


def _claims_something(sentence: str) -> bool:
    return bool(telling_words(sentence)) and not sentence.rstrip().endswith("?")
