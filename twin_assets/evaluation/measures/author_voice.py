"""Whether answers sound like the author: voice scores of candidate, base and author.

Belongs here: which answers are scored, the measure's place in the gate. Does not belong here:
comparing the scores (`style/voice_scores.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twin_assets.evaluation.measures import held_out_perplexity
from twin_assets.evaluation.measures.held_out_perplexity import FEWEST_PASSAGES
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.style import voice_claims, voice_scores
from twin_assets.evaluation.style.voice_scores import Scores, Voice
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge

WITH_POSTS = " with posts"


def compare_voices(
    prompts: PromptSet,
    prompt_answers: PromptAnswers,
    scores: BaseScores,
    judges: Judges,
    unseen: Sequence[WriterSample] = (),
) -> Voice:
    """Voice scores of author, candidate, base, and base with posts in its prompt.

    Args:
        unseen: other people's texts that no judge was trained on: the floor of a score.
    """
    if judges.voice is None:
        return voice_scores.not_measured(len(prompts.held_out), judges.voice_why_not)
    mine = [prompt_answers.candidate[at].text for at in prompts.held_out]

    own = voice_scores.as_long_as(prompts.own[: len(mine)], mine)
    foreign = voice_scores.unseen_texts(unseen, mine)

    def scored(name: str, judge: VoiceJudge) -> tuple[VoiceJudge, Scores]:
        def score(_positions: Sequence[int], answers: Sequence[str]) -> list[float]:
            return voice_scores.scores_of(judge, answers)

        with_posts = None
        if prompts.with_posts:
            with_posts = scores.scores(name + WITH_POSTS, prompt_answers.base, score)
        return judge, Scores(
            own=voice_scores.scores_of(judge, own),
            candidate=voice_scores.scores_of(judge, mine),
            base=scores.scores(name, prompt_answers.base, score),
            base_with_posts=with_posts,
            others=voice_scores.scores_of(judge, [text for _, text in foreign]),
            others_documents=[document for document, _ in foreign],
        )

    scores_by_writer = {name: scored(name, judge) for name, judge in judges.voices().items()}
    return voice_scores.measure_voice(
        prompts.documents[: len(mine)],
        against_all=scores_by_writer["voice"],
        against_people=scores_by_writer.get("voice of people"),
        of_prompts=len(prompts.questions),
    )


def _announce(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    for name, judge in judges.voices().items():
        scores.want(name, judge.revision, prompts.held_out)
        scores.want(name + WITH_POSTS, judge.revision, prompts.with_posts)


def _take(context: MeasureContext) -> Voice:
    known, held_out = context.known, context.of(held_out_perplexity.MEASURE)
    if context.too_few and held_out is not None:
        why = f"{held_out.passages} held-out passages, {FEWEST_PASSAGES} are needed"
        return voice_scores.not_measured(0, f"{why}; import more posts")
    return compare_voices(context.asked, context.said, context.scores, known.judges, known.unseen)


def _metadata(voice: Voice) -> Mapping[str, float]:
    compared = voice.against_all
    if compared is None:
        return {}
    figures = {
        "voice": round(compared.candidate.value, 3),
        "voice_of_base_model": round(compared.base.value, 3),
        "voice_of_author": round(compared.own.value, 3),
    }
    if compared.floor is not None:
        figures["voice_of_other_people"] = round(compared.floor.value, 3)
    return figures


MEASURE = Measure(
    name="voice",
    value=Voice,
    take=_take,
    needs=(held_out_perplexity.MEASURE,),
    announce=_announce,
    claims=(
        ClaimRule(
            voice_scores.LESS_LIKE_BASE,
            "Voice score above the base's and above a fifth of the way from it to the author's "
            "unseen posts, and not .02 below that of the base with posts in its prompt, intervals "
            "included.",
            voice_claims.sounds_less_like_the_base,
        ),
        # Shown by no model of 135M parameters: +.007 [-.04, .05] over the base.
        ClaimRule(
            voice_claims.LIKE_AUTHOR,
            "Voice score against other people alone is above the base's; "
            "stated only, for base models of less than a billion parameters.",
            voice_claims.sounds_like_this_author,
            stated_for_small_bases=True,
        ),
    ),
    lines=voice_claims.lines,
    metadata=_metadata,
)
