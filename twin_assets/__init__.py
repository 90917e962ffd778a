"""What exists: the asset graph, one folder a stage. Public names resolve lazily (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "checkpoint_evaluation": "evaluation.checkpoint_evaluation",
    "cleaned_documents": "corpus.cleaned_documents",
    "document_chunks": "knowledge.chunks",
    "embeddings": "knowledge.embeddings",
    "fine_tuned_checkpoint": "training.checkpoints",
    "instruction_dataset": "instructions.instruction_dataset",
    "interactions": "feedback.interactions",
    "judged_interactions": "feedback.judged_interactions",
    "preference_dataset": "instructions.preference_dataset",
    "preference_tuned_checkpoint": "training.checkpoints",
    "quality_evidence": "feedback.quality_evidence",
    "raw_posts": "corpus.raw_posts",
    "released_model": "serving.released_model",
    "routing_policy": "serving.routing_policy",
    "shadow_pairs": "serving.shadow_pairs",
    "build_defs": "definitions",
    "defs": "definitions",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the map above is the list


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"twin_assets.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'twin_assets' has no attribute {name!r}")
