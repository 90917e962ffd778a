"""What the served answers are worth: topic, voice, support, recitation, safety, speed.

Belongs here: which answers each measure gets, the base's scores beside the candidate's.
Does not belong here: asking (`served_answers.py`), how a measure is computed (a module each, and
`twin_resources/quality/judges`), thresholds (`gate.py`).

Each answer serves every measure that can use it. A measure that cannot be taken says why, and the
gate repeats it.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from twin_assets.evaluation.gate import OnTopic
from twin_assets.evaluation.harm import memorisation, safety
from twin_assets.evaluation.harm.memorisation import Recitation
from twin_assets.evaluation.harm.safety import Flags, LeakSearch, Safety
from twin_assets.evaluation.judged import blind_judge, faithfulness, grounding
from twin_assets.evaluation.judged.blind_judge import BlindJudge, BlindRatings
from twin_assets.evaluation.judged.faithfulness import Faithfulness
from twin_assets.evaluation.judged.grounding import Grounding, Refusals
from twin_assets.evaluation.served import speed
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import (
    ANSWER_TOKENS,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.served.speed import ServedSpeed, TimedReply
from twin_assets.evaluation.style import voice_scores
from twin_assets.evaluation.style.delta import Delta, DocumentText, measure_delta
from twin_assets.evaluation.style.style_habits import StyleHabits, measure_style_habits
from twin_assets.evaluation.style.voice_figures import measure_voice_shown
from twin_assets.evaluation.style.voice_scores import Scores, Voice
from twin_resources.quality.judges.judge import Judge, JudgedAnswer
from twin_resources.quality.judges.panel import BASE_MODEL
from twin_resources.quality.judges.sentence_support import SentenceJudge
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.terms import JudgeTerms
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.quality.judges.voice import VoiceJudge
from twin_resources.quality.judges.voice_shown import VoiceShown
from twin_resources.statistics import bootstrap

WITH_POSTS = " with posts"


@dataclass(frozen=True)
class Judges:
    """The scores of an author; one that could not be calibrated is None, and its reason told.

    Attributes:
        voice: told apart from other people and the base; `voice_people`: from people alone.
        of_sentences: loads the judge of single sentences, which may be a model that a person
            names; None: none judges them.
    """

    support: SupportJudge
    topic: TopicJudge | None
    voice: VoiceJudge | None
    voice_people: VoiceJudge | None
    topic_why_not: str = ""
    voice_why_not: str = ""
    of_sentences: Callable[[], SentenceJudge] | None = None

    def voices(self) -> dict[str, VoiceJudge]:
        """Those that there are, by what their scores of the base are known as."""
        named = {"voice": self.voice, "voice of people": self.voice_people}
        return {name: judge for name, judge in named.items() if judge is not None}


def announce(scores: BaseScores, asked: PromptSet, judges: Judges) -> None:
    """Say which scores of the base's answers are wanted."""
    if judges.topic is not None:
        scores.want("topic", judges.topic.revision, asked.held_out)
    for name, judge in judges.voices().items():
        scores.want(name, judge.revision, asked.held_out)
        scores.want(name + WITH_POSTS, judge.revision, asked.with_posts)
    scores.want("support", judges.support.revision, _with_passages(asked))
    scores.want("flags", safety.revision(), asked.red_team)
    scores.want("declines", grounding.DECLINES_VERSION, asked.unanswerable)


def topic(asked: PromptSet, said: PromptAnswers, scores: BaseScores, judge: TopicJudge) -> OnTopic:
    """Topic scores of candidate and base on the same questions."""
    return topic_of_first(len(asked.held_out), asked, said, scores, judge)[0]


def topic_of_first(
    count: int, asked: PromptSet, said: PromptAnswers, scores: BaseScores, judge: TopicJudge
) -> tuple[OnTopic, list[float]]:
    """Topic scores on the first held-out questions, and the differences candidate − base."""
    positions = asked.held_out[:count]

    def score(places: Sequence[int], answers: Sequence[str]) -> list[float]:
        return _score(judge, asked, places, answers)

    mine = score(positions, [said.candidate[at].text for at in positions])
    theirs = scores.scores("topic", said.base, score)
    found = on_topic(
        mine,
        theirs,
        scale=(judge.calibration.unrelated, judge.calibration.own),
        documents=asked.documents[:count],
    )
    differences = [one - other for one, other in zip(mine, theirs, strict=True)]
    return replace(found, of_questions=len(asked.held_out)), differences


def on_topic(
    candidate: Sequence[float],
    base: Sequence[float],
    *,
    scale: tuple[float, float],
    documents: Sequence[str] | None = None,
) -> OnTopic:
    """Means, their difference, and the intervals of all three.

    Args:
        documents: what each question is about; questions of one document are drawn together.
    """
    difference = bootstrap.paired_difference(candidate, base, groups=documents)
    return OnTopic(
        questions=len(candidate),
        candidate=sum(candidate) / len(candidate),
        base=sum(base) / len(base),
        low=difference.low,
        high=difference.high,
        scale=scale,
        of_candidate=bootstrap.mean(candidate, groups=documents),
        of_base=bootstrap.mean(base, groups=documents),
    )


def voices(
    asked: PromptSet,
    said: PromptAnswers,
    scores: BaseScores,
    judges: Judges,
    *,
    base_parameters: int | None,
) -> Voice:
    """Voice scores of author, candidate, base, and base with posts in its prompt."""
    if judges.voice is None:
        return voice_scores.not_measured(
            len(asked.held_out), judges.voice_why_not, base_parameters=base_parameters
        )
    mine = [said.candidate[at].text for at in asked.held_out]

    def scored(name: str, judge: VoiceJudge) -> tuple[VoiceJudge, Scores]:
        def score(_positions: Sequence[int], answers: Sequence[str]) -> list[float]:
            return voice_scores.scores_of(judge, answers)

        with_posts = None
        if asked.with_posts:
            with_posts = scores.scores(name + WITH_POSTS, said.base, score)
        return judge, Scores(
            own=voice_scores.scores_of(judge, voice_scores.as_long_as(asked.own, mine)),
            candidate=voice_scores.scores_of(judge, mine),
            base=scores.scores(name, said.base, score),
            base_with_posts=with_posts,
        )

    found = {name: scored(name, judge) for name, judge in judges.voices().items()}
    return voice_scores.measure_voice(
        asked.documents,
        against_all=found["voice"],
        against_people=found.get("voice of people"),
        base_parameters=base_parameters,
    )


def distance(
    own: Sequence[DocumentText],
    hands: Sequence[WriterSample],
    base_answers: Sequence[str],
    asked: PromptSet,
    said: PromptAnswers,
) -> Delta:
    """Cosine Delta of all that the candidate wrote on held-out questions.

    Args:
        own: the author's prose.
        base_answers: of the base model, to other questions.
    """
    reference = {
        hand.name: [DocumentText(document, text) for document, text in hand.passages]
        for hand in hands
    }
    base = [DocumentText(str(number), text) for number, text in enumerate(base_answers)]
    return measure_delta(
        own,
        {**reference, BASE_MODEL: base},
        candidate=[said.candidate[at].text for at in asked.held_out],
        base=base_answers,
        base_hand=BASE_MODEL,
    )


def habits(own: Sequence[str], asked: PromptSet, said: PromptAnswers) -> StyleHabits:
    """Style habits; the base's only when all of its answers were asked for."""
    positions = list(asked.held_out)
    base = [said.base[at] for at in positions if at in said.base]
    return measure_style_habits(
        own,
        candidate=[said.candidate[at].text for at in positions],
        base=base if len(base) == len(positions) else (),
        groups=asked.documents,
        complete=[len(said.candidate[at].tokens) < ANSWER_TOKENS for at in positions],
    )


def shown(
    own: Sequence[DocumentText], base_answers: Sequence[str], asked: PromptSet, said: PromptAnswers
) -> VoiceShown | None:
    """Habits to look at; the base's of the same questions where all were asked, else of others."""
    positions = list(asked.held_out)
    base = [said.base[at] for at in positions if at in said.base]
    return measure_voice_shown(
        own,
        base=base if len(base) == len(positions) else base_answers,
        tuned=[said.candidate[at].text for at in positions],
    )


def support(
    asked: PromptSet, said: PromptAnswers, scores: BaseScores, judge: SupportJudge
) -> Grounding | None:
    """How far answers rest on their passages; None with too few prompts that show any."""
    positions = _with_passages(asked)
    if len(positions) < grounding.FEWEST:
        return None

    def score(positions: Sequence[int], answers: Sequence[str]) -> list[float]:
        return _score(judge, asked, positions, answers)

    answered = [
        JudgedAnswer(asked.questions[at], said.candidate[at].text, asked.passages[at])
        for at in positions
    ]
    return grounding.compare(
        judge.score_all(answered),
        scores.scores("support", said.base, score),
        elsewhere=judge.score_all(grounding.with_other_passages(answered)),
        documents=[asked.documents[at] for at in positions],
    )


def says_what_the_posts_say(
    asked: PromptSet, said: PromptAnswers, own: Sequence[DocumentText], judge: SentenceJudge
) -> Faithfulness | str:
    """How much of the answers their passages do not support, or why that is not known.

    Args:
        own: the author's prose, on which the judge is calibrated.
    """
    positions = _with_passages(asked)
    calibration = faithfulness.calibrate(judge, [(one.document, one.text) for one in own])
    if calibration is None:
        return f"fewer than {2 * faithfulness.FEWEST} sentences of the author to calibrate on"
    found = faithfulness.measure_faithfulness(
        judge,
        calibration,
        [
            JudgedAnswer(asked.questions[at], said.candidate[at].text, asked.passages[at])
            for at in positions
        ],
        documents=[asked.documents[at] for at in positions],
    )
    return found or f"fewer than {faithfulness.FEWEST} sentences in answers with passages"


def refusals(asked: PromptSet, said: PromptAnswers, scores: BaseScores) -> Refusals | None:
    """How often each says that it does not know what no post tells."""
    if not asked.unanswerable:
        return None
    base = scores.scores(
        "declines",
        said.base,
        lambda _positions, answers: [float(grounding.declines(text)) for text in answers],
    )
    mine = [grounding.declines(said.candidate[at].text) for at in asked.unanswerable]
    return grounding.refusals(mine, [bool(value) for value in base])


def red_team(
    asked: PromptSet, said: PromptAnswers, scores: BaseScores, training_texts: Sequence[str]
) -> Safety | None:
    """What both answer to prompts that ask for harm."""
    if not asked.red_team:
        return None
    nothing = LeakSearch([])
    base = scores.scores(
        "flags",
        said.base,
        lambda positions, answers: [
            _flags(asked, at, text, nothing).number
            for at, text in zip(positions, answers, strict=True)
        ],
    )
    mine = red_team_flags(asked, said, training_texts)
    return safety.compare(mine, [Flags.of_number(value) for value in base])


def red_team_flags(
    asked: PromptSet, said: PromptAnswers, training_texts: Sequence[str]
) -> list[Flags]:
    """What the candidate's answers to prompts that ask for harm hold."""
    trained = LeakSearch(training_texts)
    return [_flags(asked, at, said.candidate[at].text, trained) for at in asked.red_team]


def _flags(asked: PromptSet, position: int, text: str, leaks: LeakSearch) -> Flags:
    return safety.flags(text, prompt=_shown(asked.prompts[position]), leaks=leaks)


def recited(
    asked: PromptSet,
    said: PromptAnswers,
    parity: CandidateAnswers,
    training_texts: Sequence[str],
    *,
    training: memorisation.TrainingSpans | None = None,
) -> tuple[memorisation.CopyRate, Recitation]:
    """How much of all that the candidate said was copied word for word.

    Args:
        training: made of the training texts, where it is asked for again and again.
    """
    prompts = [*parity.prompts, *(asked.prompts[at] for at in said.candidate)]
    texts = [answer.text for answer in (*parity.first, *said.candidate.values())]
    shown = [_shown(prompt) for prompt in prompts]
    return (
        memorisation.verbatim_copy_rate(texts, shown, training_texts),
        memorisation.recitation(
            texts, shown, training or memorisation.TrainingSpans(training_texts)
        ),
    )


def rated(
    asked: PromptSet, said: PromptAnswers, model: str, samples: Sequence[str], *, terms: JudgeTerms
) -> BlindRatings:
    """A language model's ratings of candidate, base and author, blind to who wrote what.

    Args:
        model: a LiteLLM model name.
        samples: prose of the author that answers none of the questions.
        terms: of that model.

    Raises:
        TwinError: the model cannot be reached, or gives too few ratings.
    """

    def answered(texts: Sequence[str]) -> list[JudgedAnswer]:
        return [
            JudgedAnswer(*one) for one in zip(asked.questions, texts, asked.passages, strict=True)
        ]

    return blind_judge.compare(
        BlindJudge(model, samples=samples, terms=terms),
        {
            "candidate": answered([said.candidate[at].text for at in asked.held_out]),
            "base": answered([said.base[at] for at in asked.held_out]),
            "author": answered(asked.own),
        },
    )


def replies(said: PromptAnswers) -> ServedSpeed | None:
    """How fast the candidate answered; None when it said nothing."""
    timed = [TimedReply(len(one.tokens), one.seconds) for one in said.candidate.values()]
    if not any(one.tokens for one in timed):
        return None
    return speed.measure_speed(timed, wall_s=said.wall_s, at_once=said.at_once)


def _score(
    judge: Judge, asked: PromptSet, positions: Sequence[int], answers: Sequence[str]
) -> list[float]:
    return judge.score_all(
        [
            JudgedAnswer(asked.questions[at], text, asked.passages[at])
            for at, text in zip(positions, answers, strict=True)
        ]
    )


def _with_passages(asked: PromptSet) -> list[int]:
    return [at for at in asked.held_out if asked.passages[at]]


def _shown(prompt: Sequence[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in prompt)
