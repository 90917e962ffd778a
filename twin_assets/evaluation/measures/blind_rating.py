"""A language model's ratings of candidate, base and author, blind; they decide nothing.

Belongs here: which answers are rated. Does not belong here: rating (`judged/blind_judge.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.judged import blind_judge
from twin_assets.evaluation.judged.blind_judge import BlindJudge, BlindRatings
from twin_assets.evaluation.likelihood import held_out
from twin_assets.evaluation.measures.measure import Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served import posts_in_prompt
from twin_assets.evaluation.served.answer_measures import answers_to
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.errors import TwinError
from twin_resources.quality.judges.terms import JudgeTerms


def rated(
    prompts: PromptSet,
    answers: PromptAnswers,
    model: str,
    samples: Sequence[str],
    *,
    terms: JudgeTerms,
) -> BlindRatings:
    """Ratings of all held-out answers.

    Args:
        model: a LiteLLM model name.
        samples: prose of the author that answers none of the questions.
        terms: of that model.

    Raises:
        TwinError: the model cannot be reached, or gives too few ratings.
    """
    at = prompts.held_out
    return blind_judge.compare(
        BlindJudge(model, samples=samples, terms=terms),
        {
            "candidate": answers_to(prompts, at, [answers.candidate[one].text for one in at]),
            "base": answers_to(prompts, at, [answers.base[one] for one in at]),
            "author": answers_to(prompts, at, prompts.own[: len(at)]),
        },
    )


def _take(context: MeasureContext) -> BlindRatings | NotTaken | None:
    question, terms = context.question, context.known.terms
    if not question.judge_model or context.too_few:
        return None
    samples = posts_in_prompt.posts_for_prompt(held_out.training_pairs(question.dataset))
    try:
        terms.require(question.judge_model)
        return rated(context.asked, context.said, question.judge_model, samples, terms=terms)
    except TwinError as error:  # it states and decides nothing, so the verdict stands without
        return NotTaken(f"{error.found}; {error.next_step}")


MEASURE = Measure(
    name="blind",
    value=BlindRatings,
    take=_take,
    lines=blind_judge.lines,
    lines_without=lambda why: [f"Blind judge: no ratings, {why}."],
    reason_under="blind judge",
)
