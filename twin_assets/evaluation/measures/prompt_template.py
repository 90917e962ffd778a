"""Check that a checkpoint and its samples have the same prompt template."""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_resources.registry.moves import GateClaim

CLAIM = "template_hash_matches"


def decide(context: MeasureContext) -> tuple[GateClaim]:
    expected = context.spec.template
    rendered: list[str] = sorted(context.spec.dataset["template"].unique())
    detail = (
        f"the checkpoint expects {expected}; its samples were rendered with "
        f"{', '.join(rendered) or 'no template'}"
    )
    return (GateClaim(CLAIM, rendered == [expected], None, None, detail),)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "The checkpoint and its samples use the same prompt template.",
            is_in_first_verdict=True,
        ),
    ),
    decide=decide,
    needs_no_answers=True,
)
