"""What served answers are judged with, and which of them a judge gets.

Scope: the calibrated judges, answers as a judge reads them.
Out of scope: asking (`served_answers.py`), measures and their thresholds
(`twin_assets/evaluation/measures`, a file each), calibrating (`judged/calibrated_judges.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.quality.judges.judge import Judge, JudgedAnswer
from twin_resources.quality.judges.sentence_support import SentenceJudge
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.quality.judges.voice import VoiceJudge


@dataclass(frozen=True)
class Judges:
    """The scores of an author; one that could not be calibrated is None, and its reason told.

    Attributes:
        voice: told apart from other people and the base; `voice_people`: from people alone.
        of_sentences: loads the judge of single sentences, which may be a model that a person
            names; None: none judges them.
        of_gateway: the judge of sentences that a gateway has, where the gate's is another.
    """

    support: SupportJudge
    topic: TopicJudge | None
    voice: VoiceJudge | None
    voice_people: VoiceJudge | None
    topic_why_not: str = ""
    voice_why_not: str = ""
    of_sentences: Callable[[], SentenceJudge] | None = None
    of_gateway: SentenceJudge | None = None

    def voices(self) -> dict[str, VoiceJudge]:
        """Those that there are, by what their scores of the base are known as."""
        named = {"voice": self.voice, "voice of people": self.voice_people}
        return {name: judge for name, judge in named.items() if judge is not None}


def answers_to(
    prompts: PromptSet, positions: Sequence[int], texts: Sequence[str]
) -> list[JudgedAnswer]:
    """Texts as answers to the held-out questions at some positions, with their passages."""
    return [
        JudgedAnswer(prompts.questions[at], text, prompts.passages[at])
        for at, text in zip(positions, texts, strict=True)
    ]


def scored(
    judge: Judge, prompts: PromptSet, positions: Sequence[int], texts: Sequence[str]
) -> list[float]:
    """A judge's scores of them."""
    return judge.score_all(answers_to(prompts, positions, texts))


def with_passages(prompts: PromptSet) -> list[int]:
    """Positions of held-out prompts that show passages."""
    return [at for at in prompts.held_out if prompts.passages[at]]


def base_of_same(prompts: PromptSet, answers: PromptAnswers) -> list[str] | None:
    """The base's answers to all held-out questions; None: not all were asked for."""
    base = [answers.base[at] for at in prompts.held_out if at in answers.base]
    return base if len(base) == len(prompts.held_out) else None


def shown_prompt(prompt: Sequence[dict[str, str]]) -> str:
    """Everything that the model was shown."""
    return "\n".join(message["content"] for message in prompt)
