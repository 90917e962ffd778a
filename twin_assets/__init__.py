"""Define the asset graph, with one folder per stage.

Public names resolve on first use (PEP 562), so importing one asset loads only its dependencies.
Static analysis sees the same names as plain imports.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

# On each use, Dagster 1.13 warns about preview features (checks partitioned by author) and beta
# features (links to the code): a hundred lines per import, all about this code. The filter matches
# text and module, because naming the warning classes would import dagster. A project that imports
# these assets still gets the warnings about its own code.
warnings.filterwarnings(
    "ignore",
    message=r"(?s).* is currently in (preview|beta), and may have breaking changes",
    module=r"(twin_assets|twin_sensors)\b|dagster\._core\.definitions\."
    r"(decorators\.asset_check_decorator|metadata\.source_code)$",
)

if TYPE_CHECKING:
    from twin_assets.corpus.cleaned_documents import cleaned_documents
    from twin_assets.corpus.raw_posts import raw_posts
    from twin_assets.definitions import build_defs, default_resources, defs
    from twin_assets.evaluation.answer_model_report import answer_model_report
    from twin_assets.evaluation.checkpoint_evaluation import checkpoint_evaluation
    from twin_assets.evaluation.claims_on_request import claims_on_request
    from twin_assets.evaluation.evaluation_report import evaluation_report
    from twin_assets.feedback.interactions import interactions
    from twin_assets.feedback.judged_interactions import judged_interactions
    from twin_assets.feedback.quality_evidence import quality_evidence
    from twin_assets.instructions.instruction_dataset import instruction_dataset
    from twin_assets.instructions.preference_dataset import preference_dataset
    from twin_assets.knowledge.embeddings import embeddings
    from twin_assets.partitions import authors
    from twin_assets.serving.released_model import released_model
    from twin_assets.serving.routing_labels import routing_labels
    from twin_assets.serving.routing_policy import routing_policy
    from twin_assets.serving.shadow_pairs import shadow_pairs
    from twin_assets.training.checkpoints import (
        fine_tuned_checkpoint,
        preference_tuned_checkpoint,
    )

__all__ = [
    "answer_model_report",
    "authors",
    "build_defs",
    "checkpoint_evaluation",
    "claims_on_request",
    "cleaned_documents",
    "default_resources",
    "defs",
    "embeddings",
    "evaluation_report",
    "fine_tuned_checkpoint",
    "instruction_dataset",
    "interactions",
    "judged_interactions",
    "preference_dataset",
    "preference_tuned_checkpoint",
    "quality_evidence",
    "raw_posts",
    "released_model",
    "routing_labels",
    "routing_policy",
    "shadow_pairs",
]
_MODULES = {
    "answer_model_report": "evaluation.answer_model_report",
    "authors": "partitions",
    "checkpoint_evaluation": "evaluation.checkpoint_evaluation",
    "cleaned_documents": "corpus.cleaned_documents",
    "embeddings": "knowledge.embeddings",
    "claims_on_request": "evaluation.claims_on_request",
    "evaluation_report": "evaluation.evaluation_report",
    "fine_tuned_checkpoint": "training.checkpoints",
    "instruction_dataset": "instructions.instruction_dataset",
    "interactions": "feedback.interactions",
    "judged_interactions": "feedback.judged_interactions",
    "preference_dataset": "instructions.preference_dataset",
    "preference_tuned_checkpoint": "training.checkpoints",
    "quality_evidence": "feedback.quality_evidence",
    "raw_posts": "corpus.raw_posts",
    "released_model": "serving.released_model",
    "routing_labels": "serving.routing_labels",
    "routing_policy": "serving.routing_policy",
    "shadow_pairs": "serving.shadow_pairs",
    "build_defs": "definitions",
    "default_resources": "definitions",
    "defs": "definitions",
}

if not TYPE_CHECKING:  # otherwise an analyzer would accept any misspelled name

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(f"twin_assets.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'twin_assets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
