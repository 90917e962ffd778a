"""The measures of the gate, in the order in which their claims are decided.

Belongs here: the tuple. Does not belong here: what one measures (its own file).
"""

from typing import Any

from twin_assets.evaluation.measures import (
    author_control,
    author_habits,
    author_voice,
    blind_rating,
    common_knowledge,
    cosine_delta,
    general_instructions,
    held_out_perplexity,
    instruction_following,
    on_topic,
    other_authors,
    passage_support,
    prompt_template,
    recitation,
    red_team,
    reply_speed,
    sentence_faithfulness,
    served_parity,
    style_similarity,
    unanswerable,
    verdict_stability,
    visible_voice,
)
from twin_assets.evaluation.measures.measure import Measure

MEASURES: tuple[Measure[Any], ...] = (
    held_out_perplexity.MEASURE,
    prompt_template.MEASURE,
    served_parity.MEASURE,
    on_topic.MEASURE,
    author_control.MEASURE,
    other_authors.MEASURE,
    general_instructions.MEASURE,
    common_knowledge.MEASURE,
    instruction_following.MEASURE,
    author_voice.MEASURE,
    recitation.MEASURE,
    red_team.MEASURE,
    passage_support.MEASURE,
    sentence_faithfulness.MEASURE,
    style_similarity.MEASURE,
    cosine_delta.MEASURE,
    author_habits.MEASURE,
    visible_voice.MEASURE,
    blind_rating.MEASURE,
    unanswerable.MEASURE,
    reply_speed.MEASURE,
    verdict_stability.MEASURE,
)
