"""Find the stable version whose answers are useful in preference pairs, if there is one.

Scope: finding that version, its recipe and its server. Out of scope: the rule
(`model_answers.choose_answer_checkpoint`), requests.
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.author_recipe import choose_author_recipe
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.checkpoints.recipe import recipe_hash
from twin_assets.instructions.model_answers import (
    SAMPLES_TABLE,
    AnswerSampling,
    TrainedCheckpoint,
    choose_answer_checkpoint,
)

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables


def choose_answer_sampling(
    author: Author,
    *,
    settings: Settings,
    tables: Tables,
    registry: Registry,
    servers: ModelServers,
) -> AnswerSampling:
    """Return the checkpoint to ask and the number of answers, or no checkpoint if none is useful.

    A tainted version is not asked, because its training data must be forgotten. An answer model is
    not asked either, because the trained weights make different mistakes.

    Raises:
        TwinError: the recipe does not exist, or the stable version's manifest cannot be read.
    """
    stable_version = registry.stable_version(author.slug)
    if stable_version is None or stable_version.is_answer_model:
        return AnswerSampling()
    recipe = choose_author_recipe(author, settings).recipe
    if recipe.preference is None:
        return AnswerSampling()
    manifest = read_manifest(Path(stable_version.folder))
    checkpoint = choose_answer_checkpoint(
        stable_version.checkpoint,
        previous=TrainedCheckpoint(
            manifest.dataset["data_version"],
            recipe_hash(manifest.recipe),
            manifest.preferences.get("answers_of", ""),
        ),
        current=TrainedCheckpoint(
            tables.data_version(SAMPLES_TABLE, author.slug) or "", recipe_hash(recipe.model_dump())
        ),
    )
    version = registry.find_by_checkpoint(checkpoint, author=author.slug) if checkpoint else None
    if version is None or version.tainted:
        return AnswerSampling()
    return AnswerSampling(
        checkpoint=checkpoint,
        serve=lambda: servers.serve_version(version),
        answer_count=recipe.preference.answers,
        answer_tokens=recipe.preference.answer_tokens,
    )
