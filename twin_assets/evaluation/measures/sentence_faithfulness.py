"""How many sentences of the answers their passages do not support.

Belongs here: the judge of this author's sentences, the measure's place in the gate. Does not belong
here: calibrating and correcting (`judged/faithfulness.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twin_assets.evaluation.judged import faithfulness
from twin_assets.evaluation.judged.faithfulness import Faithfulness
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import answers_to, with_passages
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.style.voice_figures import DocumentText
from twin_resources.errors import TwinError
from twin_resources.quality.judges.sentence_support import SentenceJudge


def says_what_the_posts_say(
    prompts: PromptSet,
    answers: PromptAnswers,
    own: Sequence[DocumentText],
    judge: SentenceJudge,
    *,
    of_gateway: SentenceJudge | None = None,
) -> Faithfulness | NotTaken:
    """The share of unsupported sentences.

    Args:
        own: the author's prose, on which the judge is calibrated.
        of_gateway: the judge that a gateway has, where that is another.
    """
    positions = with_passages(prompts)
    texts = [(one.document, one.text) for one in own]
    calibration = faithfulness.calibrate(judge, texts)
    if calibration is None:
        few = 2 * faithfulness.FEWEST
        return NotTaken(f"fewer than {few} sentences of the author to calibrate on")
    faithfulness_found = faithfulness.measure_faithfulness(
        judge,
        calibration,
        answers_to(prompts, positions, [answers.candidate[at].text for at in positions]),
        documents=[prompts.documents[at] for at in positions],
    )
    few = f"fewer than {faithfulness.FEWEST} sentences in answers with passages"
    if faithfulness_found is None:
        return NotTaken(few)
    served = faithfulness.calibrate(of_gateway, texts) if of_gateway else calibration
    return replace(faithfulness_found, served_by=served.sentence_cut if served else None)


def _take(context: MeasureContext) -> Faithfulness | NotTaken | None:
    judges = context.known.judges
    of_sentences = judges.of_sentences
    if context.too_few or of_sentences is None:
        return None
    try:
        return says_what_the_posts_say(
            context.asked,
            context.said,
            context.own_texts,
            of_sentences(),
            of_gateway=judges.of_gateway,
        )
    except TwinError as error:  # a model that a person named and that cannot be had
        return NotTaken(f"{error.found}; {error.next_step}")


MEASURE = Measure(
    name="faithfulness",
    value=Faithfulness,
    take=_take,
    claims=(
        ClaimRule(
            faithfulness.CLAIM,
            "At most one generated sentence of five is contradicted or not supported "
            "by its passages; where not, the version is released for quotations alone.",
            faithfulness.claim,
            blocks=faithfulness.FORM,
        ),
    ),
    lines=faithfulness.lines,
)
