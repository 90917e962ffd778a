"""Compare the candidate's voice with its base's, by judges of the author's style.

Scope: choosing the scored answers, the two claims, their words. Out of scope: comparing
the scores and their limits (`voice_scores.py`), whether a claim may refuse (`gate.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.measures import voice_scores
from twin_assets.evaluation.measures.held_out_perplexity import MIN_PASSAGES
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.measures.voice_scores import (
    BELOW_POSTS_BY,
    LESS_LIKE_BASE,
    SHARE_OF_THE_WAY,
    Scores,
    Voice,
    VoiceCompared,
)
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge
from twin_resources.registry.moves import GateClaim

MIN_PROMPTS = 30
LIKE_AUTHOR = "sounds_like_this_author"
WITH_POSTS = " with posts"


def sounds_less_like_the_base(voice: Voice) -> GateClaim:
    """Compare with the base, part of the way to the author, and the base that reads posts.

    Each condition holds by a bet, or if none is won by the lower end of its interval: candidate −
    base > 0, candidate − `Scores.on_the_way` > 0, candidate − base with posts ≥ −`BELOW_POSTS_BY`.
    """
    compared = voice.against_all
    undecided = _undecided(LESS_LIKE_BASE, voice, compared)
    if undecided is not None or compared is None:
        return undecided or GateClaim(LESS_LIKE_BASE, None, None, 0.0, "not decided")
    against = (
        f"voice score {compared.candidate.value:.2f} against {compared.base.value:.2f} of the base "
        f"model: {compared.over_base.told()} on {voice.count}{compared.scale}"
    )
    if compared.over_posts is None or compared.base_with_posts is None:
        detail = f"not decided: {against}; the base with posts in its prompt was not asked"
        return GateClaim(LESS_LIKE_BASE, None, compared.over_base.value, 0.0, detail)
    detail = (
        f"{against}; {compared.base_with_posts.value:.2f} of the base with posts of the author in "
        f"its prompt: {compared.over_posts.told()}, limit -{BELOW_POSTS_BY}"
    )
    if compared.posts_prompts is not None:
        detail += f", on the first {compared.posts_prompts} of them, where a bet on above was won"
    if compared.over_way is not None:
        detail += (
            f"; {compared.over_way.told()} past {100 * SHARE_OF_THE_WAY:.0f} % of the way from the "
            "base to the author, limit 0"
        )
        if compared.gap_closed is not None:
            gone = compared.gap_closed
            detail += (
                f" (gone: {100 * gone.value:.0f} %, 95 %: {100 * gone.low:.0f} to "
                f"{100 * gone.high:.0f} %)"
            )
    if compared.stopped is not None:
        detail += f"; a bet on {compared.stopped} these limits was won"
    met = compared.is_less_like_the_base
    return GateClaim(LESS_LIKE_BASE, met, compared.over_base.value, 0.0, detail)


def sounds_like_this_author(voice: Voice) -> GateClaim:
    """Compare with the base by the judge that separates the author from other people only.

    The gate decides whether it may refuse a release, by `BLOCKS_FROM`.
    """
    compared = voice.against_people
    undecided = _undecided(LIKE_AUTHOR, voice, compared)
    if undecided is not None or compared is None:
        return undecided or GateClaim(LIKE_AUTHOR, None, None, 0.0, "not decided")
    closed = compared.gap_closed
    way = "base and author score alike"
    if closed is not None:
        way = (
            f"{100 * closed.value:.0f} % of the way from base to author "
            f"({compared.base.value:.2f} to {compared.own.value:.2f}; 95 %: "
            f"{100 * closed.low:.0f} to {100 * closed.high:.0f} %)"
        )
    detail = (
        f"voice score against other people alone: {compared.over_base.told(3)} over the base model "
        f"on {voice.count}{compared.scale}, {way}"
    )
    low = compared.over_base.low if compared.last_over_base is None else compared.last_over_base
    met = low > 0 if compared.stopped is None else compared.stopped == "above"
    return GateClaim(LIKE_AUTHOR, met, compared.over_base.value, 0.0, detail)


def _undecided(name: str, voice: Voice, compared: VoiceCompared | None) -> GateClaim | None:
    why = voice.why_not
    if not why and voice.prompts < MIN_PROMPTS:
        why = f"{voice.prompts} held-out questions, {MIN_PROMPTS} are needed; import more posts"
    if not why and compared is None:
        why = "there is nobody else's text to tell this voice from"
    return GateClaim(name, None, None, 0.0, f"not decided: {why}") if why else None


def compare_voices(
    prompts: PromptSet,
    prompt_answers: PromptAnswers,
    scores: BaseScores,
    judges: Judges,
    unseen: Sequence[WriterSample] = (),
) -> Voice:
    """Return voice scores of author, candidate, base, and base with posts in its prompt.

    Args:
        unseen: other people's texts that no judge was trained on, the floor of a score.
    """
    if judges.voice is None:
        return voice_scores.not_measured(len(prompts.held_out), judges.voice_why_not)
    mine = [prompt_answers.candidate[at].text for at in prompts.held_out]

    own = voice_scores.as_long_as(prompts.own[: len(mine)], mine)
    foreign = voice_scores.unseen_texts(unseen, mine)

    def scored(name: str, judge: VoiceJudge) -> Scores:
        def score(_positions: Sequence[int], answers: Sequence[str]) -> list[float]:
            return voice_scores.scores_of(judge, answers)

        with_posts = None
        if prompts.with_posts:
            with_posts = scores.scores(name + WITH_POSTS, prompt_answers.base, score)
        return Scores(
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
    known = context.known
    if context.too_few:
        why = f"{context.read.reading.found} held-out passages, {MIN_PASSAGES} are needed"
        return voice_scores.not_measured(0, f"{why}; import more posts")
    return compare_voices(context.asked, context.said, context.scores, known.judges, known.unseen)


MEASURE = Measure(
    name="voice",
    value=Voice,
    take=_take,
    announce=_announce,
    claims=(
        ClaimRule(
            voice_scores.LESS_LIKE_BASE,
            "Voice score above the base's and above a fifth of the way from it to the author's "
            "unseen posts, and not .02 below that of the base with posts in its prompt, intervals "
            "included.",
            sounds_less_like_the_base,
        ),
        # No model of 135M parameters has met it: +.007 [-.04, .05] over the base.
        ClaimRule(
            LIKE_AUTHOR,
            "Voice score against other people alone is above the base's; "
            "stated only, for base models of less than a billion parameters.",
            sounds_like_this_author,
            stated_for_small_bases=True,
        ),
    ),
)
