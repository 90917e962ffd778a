"""Assemble one author's judges for the assets, with their material and certificates.

Scope: assembling the judges from settings, tables and model servers.
Out of scope: the judges (`twin_resources/quality/judges`) and their decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twin_assets.evaluation.judging.judge_material import other_author_slugs, read_judge_material
from twin_resources.authors import Author
from twin_resources.quality.judges.judge_kind import JudgeDependencies
from twin_resources.quality.judges.panel import Panel, assemble_panel
from twin_resources.quality.judges.terms import determine_judge_terms
from twin_resources.settings import Settings
from twin_resources.statistics.promotion import NON_INFERIORITY_MARGIN
from twin_resources.storage.weights.weights import load_base_model

if TYPE_CHECKING:
    from twin_resources.access.spending_limits import OverLimitError
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables


def assemble_author_panel(
    author: Author,
    settings: Settings,
    *,
    tables: Tables,
    state: State,
    servers: ModelServers,
    embedder: Embedder,
    log: Callable[[str], object],
    margin: float = NON_INFERIORITY_MARGIN,
) -> Panel:
    """Return an author's judges with their certificates, and store the results of costly steps.

    The first call takes 25 CPU seconds for calibration, plus 90 for the base model's 60 answers.

    Args:
        state: state store with the account that pays a paid judge.
        margin: the margin ε of the judges' certificates.

    Raises:
        OverLimitError: the account lacks the money to certify a paid judge.
        TwinError: there is too little text for calibration, or a model does not answer.
    """
    base = load_base_model(settings)
    material = read_judge_material(
        author.slug,
        tables,
        other_slugs=other_author_slugs(author.slug, settings),
        base_revision=base.revision,
        serve_base=lambda: servers.serve(base.gguf, alias=servers.base_alias),
        log=log,
    )
    return assemble_panel(
        material,
        JudgeDependencies(
            tables,
            embedder.embed,
            embedder.revision,
            settings.judge_model,
            determine_judge_terms(settings, author, state),
        ),
        margin=margin,
    )


def build_waiting_message(settings: Settings, error: OverLimitError) -> str:
    """Return the message that an asset logs if the account lacks the money for a judge."""
    return f"the judge {settings.judge_model} waits for budget: {error.found}; {error.next_step}"


def panel_metadata(panel: Panel) -> dict[str, Any]:
    """Return certificates, claims and costs as metadata, without text of posts."""
    usage = panel.total_usage()
    return {
        "certificates": [member.certificate.reason for member in panel.members],
        "claims": list(panel.claims),
        "vetoes": list(panel.vetoes),
        "notes": list(panel.notes),
        "judge_calls": usage.calls,
        "judge_usd": round(usage.usd, 6),
    }
