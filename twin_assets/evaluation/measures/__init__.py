"""List the measures of the gate, in the order in which their claims are decided."""

from twin_assets.evaluation.measures import (
    author_control,
    author_voice,
    common_knowledge,
    front_desk,
    general_instructions,
    held_out_perplexity,
    instruction_following,
    on_topic,
    prompt_template,
    recitation,
    red_team,
    sentence_faithfulness,
    served_parity,
)
from twin_assets.evaluation.measures.measure import Measure

MEASURES: tuple[Measure, ...] = (
    held_out_perplexity.MEASURE,
    prompt_template.MEASURE,
    served_parity.MEASURE,
    on_topic.MEASURE,
    author_control.MEASURE,
    general_instructions.MEASURE,
    common_knowledge.MEASURE,
    instruction_following.MEASURE,
    author_voice.MEASURE,
    recitation.MEASURE,
    red_team.MEASURE,
    sentence_faithfulness.MEASURE,
    front_desk.MEASURE,
)
