"""The stages of a request, in order."""

from twin_resources.gateway.stages.answer_form import choose_form
from twin_resources.gateway.stages.fixed_text import answer_at_front_desk, screen_message
from twin_resources.gateway.stages.model_choice import choose_model, score_models
from twin_resources.gateway.stages.outbound_redaction import redact_outbound
from twin_resources.gateway.stages.prompt import prepare_fallback, render_prompt
from twin_resources.gateway.stages.retrieval import retrieve
from twin_resources.gateway.stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    choose_model,
    screen_message,
    retrieve,
    answer_at_front_desk,
    choose_form,
    score_models,
    redact_outbound,
    render_prompt,
    prepare_fallback,
)

__all__ = ["STAGES"]
