"""Prose of an answer, shown only as far as the author's posts support it.

Scope: judging each sentence while it streams, what `twin.prose` and `twin.draft` say.
Out of scope: LiteLLM's chunks (`answer_ending.py`), the judge
(`quality/judges/sentence_support.py`), its threshold (the gate's claim `says_what_the_posts_say`),
whether prose is shown at all (`authors/answer_forms.py`).

A question, and a sentence without a telling word, claim nothing that could be judged, as in the
gate: they share the fate of the sentence before them. What was shown cannot be taken back, so a
stream shows nothing more once fewer than half of its sentences are kept, until half are again.
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

MIN_KEPT = 0.5  # of the sentences that claim something
NOT_JUDGED = "prose was asked for by name, and its sentences are not judged"
NO_QUOTATION = "there is no quotation above it"


@dataclass
class ProseNote:
    """What an answer says of its prose.

    Attributes:
        why_not: why none is shown, one clause; empty: it is, or the author wants none.
        ask: the model that gives it all the same; empty: none does.
        draft: why the prose is a draft; empty: it is none.
        judged: what of it may be shown; None: its sentences are not judged.
    """

    why_not: str = ""
    ask: str = ""
    draft: str = ""
    judged: SupportedSentences | None = field(default=None, repr=False)

    def fields(self, *, shown: bool) -> dict[str, Any]:
        """`twin.prose`."""
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
    """The prose of one answer while it grows: which sentences of it may be shown.

    Args:
        judge: the one that the threshold is of.
        threshold: a sentence that scores below it is left out.
        passages: texts that the answer rests on.
        run: calls a function off the event loop.

    Attributes:
        sentences, kept: those that claim something, and how many of them are supported.
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
        self._waiting = ""  # kept, and not shown while fewer than half are
        self._keeps = False  # the sentence before

    @property
    def is_enough(self) -> bool:
        """Whether at least half of the sentences are kept, and one is."""
        return self.kept > 0 and self.kept >= MIN_KEPT * self.sentences

    async def feed(self, text: str, *, ended: bool = False) -> str:
        """More text; returns what can be shown now.

        Args:
            ended: nothing follows.
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
