"""Whose answers the preference pairs hold: the stable version's, while there is something to learn.

Scope: finding that version, its recipe and its server. Out of scope: the rule
(`model_answers.whose_answers`), asking.
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.author_recipe import recipe_of
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.checkpoints.recipe import hash_of
from twin_assets.instructions.model_answers import (
    SAMPLES,
    AnswerSampling,
    TrainedCheckpoint,
    whose_answers,
)

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables


def answering_of(
    author: Author,
    *,
    settings: Settings,
    tables: Tables,
    registry: Registry,
    servers: ModelServers,
) -> AnswerSampling:
    """Which checkpoint is asked for how many answers; nobody is asked when there is no use for it.

    A tainted version is not asked: what it was trained on is to be forgotten. Nor is an answer
    model: what it would have to unlearn is no fault of the weights that are trained.

    Raises:
        TwinError: no such recipe, or the stable version's manifest can't be read.
    """
    stable = registry.stable(author.slug)
    if stable is None or stable.is_answer_model:
        return AnswerSampling()
    recipe = recipe_of(author, settings).recipe
    if recipe.preference is None:
        return AnswerSampling()
    manifest = read_manifest(Path(stable.folder))
    checkpoint = whose_answers(
        stable.checkpoint,
        trained=TrainedCheckpoint(
            manifest.dataset["data_version"],
            hash_of(manifest.recipe),
            manifest.preferences.get("answers_of", ""),
        ),
        now=TrainedCheckpoint(
            tables.data_version(SAMPLES, author.slug) or "", hash_of(recipe.model_dump())
        ),
    )
    version = registry.by_checkpoint(checkpoint, author=author.slug) if checkpoint else None
    if version is None or version.tainted:
        return AnswerSampling()
    return AnswerSampling(
        checkpoint=checkpoint,
        serve=lambda: servers.serve_version(version),
        answers=recipe.preference.answers,
        answer_tokens=recipe.preference.answer_tokens,
    )
