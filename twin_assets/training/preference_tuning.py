"""Tune an author's supervised checkpoint on preference pairs to produce the candidate.

Scope: checking for enough pairs, the inputs that determine this run, and the job. Out of
scope: the loop (`train.py`), the loss (`losses.py`), pairs (`preference_dataset`), the assets
(`checkpoints.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.author_recipe import choose_author_recipe, count_training_ranks
from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.checkpoints.samples import tokenize_pairs
from twin_assets.training.fine_tuning import run_training
from twin_assets.training.publishing import TrainingDescription, training_code_hash
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import TrainingLauncher
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors
from twin_resources.storage.weights.weights import BaseModel, load_base_model

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

DATASET = "preference_dataset"
_COLUMNS = (
    "pair_id",
    "source",
    "trace_id",
    "document_id",
    "messages",
    "chosen",
    "rejected",
    "rejected_ended",
    "rejected_from",
)


@dataclass(frozen=True)
class TunedCandidate:
    """The checkpoint to evaluate.

    Attributes:
        was_trained: whether this call trained the checkpoint.
        reason: why this checkpoint is the candidate.
    """

    folder: Path
    manifest: Manifest
    was_trained: bool
    reason: str


def tune_on_preferences(
    author: Author,
    *,
    settings: Settings,
    tables: Tables,
    launcher: TrainingLauncher,
) -> TunedCandidate:
    """Train on the author's pairs from the supervised checkpoint, which is also the reference.

    With too few pairs, or a recipe without a `preference` section, the supervised checkpoint is
    the candidate. If the inputs are unchanged, no training takes place; a killed run resumes.

    Raises:
        TwinError: there is no supervised checkpoint, it has a different base model, or training
            failed.
        DiskFullError: the disk is full; a started run resumes from its last complete checkpoint.
    """
    checkpoints = settings.checkpoints_dir / author.slug
    folder = Path(manifests.read_pointer(checkpoints, "fine_tuned")["folder"])
    parent = manifests.read_manifest(folder)
    recipe = choose_author_recipe(author, settings).recipe
    if recipe.preference is None:
        return _use_supervised_checkpoint(
            folder, parent, f"recipe {recipe.name} has no preference tuning"
        )
    pairs = read_preference_pairs(author.slug, tables, template=parent.template)
    min_pairs = max(recipe.preference.fewest_pairs, recipe.samples_per_step)
    shortage = f"{{}} preference pairs, but {min_pairs} are needed"
    if len(pairs) < min_pairs:
        return _use_supervised_checkpoint(folder, parent, shortage.format(len(pairs) or "no"))
    inputs = _collect_inputs(author, settings, tables, parent, recipe)
    checkpoint_folder = existing = manifests.find_trained_checkpoint(checkpoints, inputs.hash)
    if checkpoint_folder is None:
        usable_count = _count_usable_pairs(pairs, inputs)
        if usable_count < min_pairs:
            return _use_supervised_checkpoint(folder, parent, shortage.format(usable_count or "no"))
        with translate_storage_errors(
            f"tune the model of {author.slug} on preferences", settings.home, only=DiskFullError
        ):
            tables.tag(DATASET, author.slug, inputs.tag, inputs.lance_version)
            checkpoint_folder = run_training(
                _build_job(inputs, folder / manifests.ADAPTER_FOLDER, settings),
                _describe_training(inputs, pairs),
                launcher,
                checkpoints,
                name=f"{author.slug}-preferences",
                rows=pair_rows(pairs),
            )
    manifest = manifests.read_manifest(checkpoint_folder)
    reason = f"tuned on {manifest.preferences['pairs']} preference pairs"
    return TunedCandidate(checkpoint_folder, manifest, was_trained=existing is None, reason=reason)


def _use_supervised_checkpoint(folder: Path, manifest: Manifest, reason: str) -> TunedCandidate:
    reason = f"{reason}: the supervised checkpoint is the candidate"
    return TunedCandidate(folder, manifest, was_trained=False, reason=reason)


@dataclass(frozen=True)
class _Inputs:
    """All inputs that determine the weights of one author's preference tuning."""

    author: str
    base: BaseModel
    recipe: Recipe
    parent: Manifest
    data_version: str
    lance_version: int
    code: str

    @property
    def hash(self) -> str:
        parts = [
            "dpo",
            self.base.revision,
            self.parent.checkpoint,
            self.data_version,
            self.recipe.to_preference_recipe().drop_preference().model_dump(),
            self.recipe.required_preference.beta,
            self.code,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def tag(self) -> str:
        return f"training-{self.hash[:16]}"


def _collect_inputs(
    author: Author, settings: Settings, tables: Tables, parent: Manifest, recipe: Recipe
) -> _Inputs:
    base = load_base_model(settings)
    if base.revision != parent.base["revision"]:
        raise TwinError(
            f"tune the model of {author.slug} on preferences",
            found=f"a supervised checkpoint of {parent.base['name']}, but the base model is "
            f"{base.name}",
            next_step="materialize fine_tuned_checkpoint for this author",
        )
    return _Inputs(
        author=author.slug,
        base=base,
        recipe=recipe,
        parent=parent,
        data_version=tables.data_version(DATASET, author.slug) or "",
        lance_version=tables.lance_version(DATASET, author.slug) or 0,
        code=training_code_hash(),
    )


def read_preference_pairs(
    author: str, tables: Tables, *, template: str, version: int | str | None = None
) -> list[dict[str, Any]]:
    """Return the pairs in the prompt template that the checkpoint was trained with.

    Args:
        version: version or tag of the table, or None for the newest.
    """
    if not tables.exists(DATASET, author):
        return []
    where = f"template = '{template}'"
    rows = tables.read(DATASET, author, columns=_COLUMNS, where=where, version=version)
    return rows.to_dicts()


def pair_rows(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return pairs in the format of `train.py`, whose plan covers documents and traces evenly."""
    return [
        {
            "sample_id": pair["pair_id"],
            "document_id": pair["document_id"] or pair["trace_id"],
            "messages": [*pair["messages"], {"role": "assistant", "content": pair["chosen"]}],
            "rejected": pair["rejected"],
            "rejected_ended": pair["rejected_ended"],
        }
        for pair in pairs
    ]


def _count_usable_pairs(pairs: Sequence[Mapping[str, Any]], inputs: _Inputs) -> int:
    """Count the pairs that are short enough according to the model's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(inputs.base.folder)
    usable_pairs, _ = tokenize_pairs(
        pair_rows(pairs), tokenizer, max_length=inputs.recipe.max_length
    )
    return len(usable_pairs)


def _build_job(inputs: _Inputs, initial_adapter: Path, settings: Settings) -> Job:
    return Job(
        folder=settings.work_dir / "training" / f"{inputs.author}-{inputs.hash[:16]}",
        base_name=inputs.base.name,
        base_folder=inputs.base.folder,
        ranks=count_training_ranks(inputs.recipe, settings),
        recipe=inputs.recipe.to_preference_recipe(),
        stage="dpo",
        initial_adapter=initial_adapter,
    )


def _describe_training(inputs: _Inputs, pairs: Sequence[Mapping[str, Any]]) -> TrainingDescription:
    return TrainingDescription(
        author=inputs.author,
        training=inputs.hash,
        base=inputs.base,
        template=inputs.parent.template,
        recipe=inputs.recipe,
        code=inputs.code,
        dataset=inputs.parent.dataset,
        preferences={
            "asset": DATASET,
            "data_version": inputs.data_version,
            "lance_version": inputs.lance_version,
            "tag": inputs.tag,
            "sources": dict(sorted(Counter(pair["source"] for pair in pairs).items())),
            "parent": inputs.parent.checkpoint,
        },
    )
