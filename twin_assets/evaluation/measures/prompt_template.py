"""Check that a checkpoint and its samples have the same prompt template.

Scope: both hashes and the claim. Out of scope: templates
(`twin_resources/prompt/templates.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure
from twin_resources.registry.moves import GateClaim

CLAIM = "template_hash_matches"


@dataclass(frozen=True)
class TemplateHashes:
    """The template hashes of the checkpoint and of the samples that it is measured on."""

    template: str
    dataset_templates: tuple[str, ...]


def _decide_claim(hashes: TemplateHashes) -> GateClaim:
    is_met = set(hashes.dataset_templates) == {hashes.template}
    templates = ", ".join(hashes.dataset_templates) or "no template"
    detail = f"the checkpoint expects {hashes.template}; its samples were rendered with {templates}"
    return GateClaim(CLAIM, is_met, None, None, detail)


MEASURE = Measure(
    name="prompt_template",
    value_type=TemplateHashes,
    compute=lambda context: TemplateHashes(
        context.spec.template, tuple(sorted(context.spec.dataset["template"].unique()))
    ),
    needs_no_answers=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The checkpoint and its samples use the same prompt template.",
            _decide_claim,
            is_in_first_verdict=True,
        ),
    ),
    is_flat=True,
)
