"""Group the judges of served answers; `judging/calibrated_judges.py` calibrates them."""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin_resources.quality.judges.sentence_support import SentenceJudge
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.quality.judges.voice import VoiceJudge


@dataclass(frozen=True)
class Judges:
    """The judges of an author; a judge that could not be calibrated is None, with a reason.

    Attributes:
        voice: judge that separates the author from other people and the base.
        voice_vs_people: judge that separates the author from other people only.
        load_sentence_judge: function that loads the judge of single sentences, which may be a
            configured model; None if there is no such judge.
        gateway_sentence_judge: the gateway's judge of sentences, if it differs from the gate's.
    """

    topic: TopicJudge | None
    voice: VoiceJudge | None
    voice_vs_people: VoiceJudge | None
    topic_missing_reason: str = ""
    voice_missing_reason: str = ""
    load_sentence_judge: Callable[[], SentenceJudge] | None = None
    gateway_sentence_judge: SentenceJudge | None = None

    def voice_judges(self) -> dict[str, VoiceJudge]:
        """Return the existing voice judges by the names of their stored scores."""
        judges_by_score = {"voice": self.voice, "voice of people": self.voice_vs_people}
        return {name: judge for name, judge in judges_by_score.items() if judge is not None}


def join_prompt_text(prompt: Sequence[dict[str, str]]) -> str:
    """Return the whole text of a prompt."""
    return "\n".join(message["content"] for message in prompt)
