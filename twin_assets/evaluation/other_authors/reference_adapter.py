"""Train the adapter of other authors once per base model and recipe, and find it again.

Scope: the adapter's identity, its training, and its path in the home folder.
Out of scope: its samples (`bundled_samples.py`), comparing a candidate with it
(`measures/other_authors.py`), the asset (`other_authors_adapter.py`), and the training loop
(`train.py`).

    <home>/reference_adapters/<checkpoint>/manifest.json, adapter/
    <home>/reference_adapters/<author>.json    {checkpoint, folder, authors}

The adapter uses the author's base model and supervised recipe, but is trained on texts of bundled
authors only. Authors with the same base model and recipe therefore share one adapter. It has no
GGUF file, because it never answers readers. The next training run removes adapters that no author's
file refers to, but never a configured adapter.

It is trained on about as many tokens as the author's last run. With twice as many, a good candidate
can hardly beat it. With half as many, a candidate trained on other people's data beats it too
(tests/bench/RESULTS.md). If a corpus is smaller than the recipe's budget, the number of tokens is
rounded in steps of √2, so that a few new posts do not require a new adapter.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.author_recipe import choose_author_recipe, count_training_ranks
from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.checkpoints.recipe import Recipe, recipe_hash
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, ReferenceAdapter
from twin_assets.evaluation.other_authors.bundled_samples import (
    hash_samples,
    make_posts,
    make_samples,
    select_other_writers,
)
from twin_assets.instructions.instruction_tables import AUTHOR_ROWS_CONDITION
from twin_assets.training.fine_tuning import DATASET, run_training
from twin_assets.training.publishing import TrainingDescription, training_code_hash
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.shared_state import remove_shared_states
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.storage.weights.weights import BaseModel, load_base_model

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.training_launcher import TrainingLauncher
    from twin_resources.quality.judges.texts import WriterSample
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables

MODEL_NAME = "other authors' adapter"
JOB_NAME = "reference"  # of the training, and the first part of its folder's name


@dataclass(frozen=True)
class TrainedReference:
    """The published adapter with its authors.

    Attributes:
        was_trained: whether this call trained the adapter, rather than finding an existing one.
    """

    folder: Path
    manifest: Manifest
    authors: tuple[str, ...]
    was_trained: bool


@dataclass(frozen=True)
class _Inputs:
    """All inputs that determine the weights."""

    base: BaseModel
    recipe: Recipe
    recipe_reason: str
    writer_samples: Sequence[WriterSample]
    context_tokens: int
    code_hash: str

    @property
    def samples_hash(self) -> str:
        """Hash of the inputs that determine the samples."""
        return hash_samples(self.writer_samples, context_tokens=self.context_tokens)

    @property
    def hash(self) -> str:
        parts = [self.base.revision, self.recipe.model_dump(), self.code_hash, self.samples_hash]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def train_reference(
    author: Author, *, settings: Settings, tables: Tables, launcher: TrainingLauncher
) -> TrainedReference:
    """Train the adapter that this author's candidates must beat, or reuse an existing one.

    Raises:
        TwinError: the author has no dataset, there is no other bundled author, the base model is
            not prepared, or the training run failed.
    """
    folder = settings.reference_adapters_dir
    inputs = _collect_inputs(author, settings, tables)
    existing_folder = manifests.find_trained_checkpoint(folder, inputs.hash)
    adapter_folder = existing_folder or _train(inputs, settings, launcher)
    manifest = manifests.read_manifest(adapter_folder)
    authors = tuple(writer.name for writer in inputs.writer_samples)
    pointer_values = {"checkpoint": manifest.checkpoint, "folder": str(adapter_folder)}
    manifests.write_pointer(folder, author.slug, pointer_values | {"authors": authors})
    _remove_unreferenced(folder)
    return TrainedReference(adapter_folder, manifest, authors, was_trained=existing_folder is None)


def find_reference(
    author: Author, settings: Settings, *, base: Path, revision: str
) -> ReferenceAdapter | None:
    """Return the adapter to compare a candidate of this base model with, or None.

    An adapter with a different recipe, prompt length or training code is ignored, because the
    comparison would measure that difference.

    Args:
        base, revision: folder and revision of the candidate's base model.

    Raises:
        TwinError: the folder in `TWIN_REFERENCE_ADAPTER` does not contain an adapter.
    """
    if settings.reference_adapter == "off":
        return None
    if settings.reference_adapter != "auto":
        return _read_configured_adapter(
            Path(settings.reference_adapter).expanduser(), base, revision
        )
    pointer = settings.reference_adapters_dir / f"{author.slug}.json"
    if not pointer.is_file():
        return None
    pointer_values = json.loads(pointer.read_text(encoding="utf-8"))
    folder = Path(pointer_values["folder"])
    manifest = manifests.read_manifest(folder)
    recipe = reference_recipe(author, settings)
    is_current = (
        manifest.base["revision"] == revision
        and manifest.code == training_code_hash()
        and recipe_hash(manifest.recipe) == recipe_hash(recipe.model_dump())
        and manifest.dataset["context_tokens"] == author.context_tokens
    )
    if not is_current:
        return None
    weights = find_weights(folder, base=base, base_gguf=None)
    model = EvaluatedModel(MODEL_NAME, manifest.checkpoint, weights.model, weights.adapter)
    return ReferenceAdapter(model, tuple(pointer_values["authors"]))


def should_train_reference(author: Author, settings: Settings) -> bool:
    """Return whether the adapter still has to be trained.

    Raises:
        TwinError: the base model is not prepared, or the recipe is invalid.
    """
    if settings.reference_adapter != "auto":
        return False
    base = load_base_model(settings)
    return find_reference(author, settings, base=base.folder, revision=base.revision) is None


def reference_recipe(author: Author, settings: Settings) -> Recipe:
    """Return the author's supervised recipe, with about the token count of the last training."""
    recipe = choose_author_recipe(author, settings).recipe.drop_preference()
    checkpoints = settings.checkpoints_dir / author.slug
    if not (checkpoints / "fine_tuned.json").is_file():
        return recipe
    trained_folder = Path(manifests.read_pointer(checkpoints, "fine_tuned")["folder"])
    trained_tokens = max(1, manifests.read_manifest(trained_folder).tokens)
    steps = max(0, round(2 * math.log2(recipe.token_budget / trained_tokens)))
    budget = max(1, round(recipe.token_budget * 2 ** (-steps / 2)))
    return recipe.model_copy(update={"token_budget": budget})


def _collect_inputs(author: Author, settings: Settings, tables: Tables) -> _Inputs:
    own_rows = tables.read(DATASET, author.slug, columns=["answer"], where=AUTHOR_ROWS_CONDITION)
    writer_samples = select_other_writers(author.slug, own_rows["answer"].to_list())
    if not writer_samples:
        raise TwinError(
            f"train the adapter of other authors for {author.slug}",
            found="no bundled author except this one",
            next_step="set TWIN_REFERENCE_ADAPTER to an adapter's folder or to off",
        )
    base = load_base_model(settings)
    # no GGUF file, because the adapter is never served
    return _Inputs(
        replace(base, gguf=None),
        reference_recipe(author, settings),
        choose_author_recipe(author, settings).log_line,
        writer_samples,
        context_tokens=author.context_tokens,
        code_hash=training_code_hash(),
    )


def _train(inputs: _Inputs, settings: Settings, launcher: TrainingLauncher) -> Path:
    recipe = inputs.recipe
    rows = make_samples(inputs.writer_samples, context_tokens=inputs.context_tokens)
    ranks = count_training_ranks(recipe, settings)
    samples_per_step = recipe.compute_samples_per_step(len(rows), ranks=ranks)
    job = Job(
        folder=settings.work_dir / "training" / f"{JOB_NAME}-{inputs.hash[:16]}",
        base_name=inputs.base.name,
        base_folder=inputs.base.folder,
        ranks=ranks,
        recipe=recipe.model_copy(update={"samples_per_step": samples_per_step}),
        recipe_reason=inputs.recipe_reason,
    )
    source = {"asset": "bundled_samples", "data_version": inputs.samples_hash}
    dataset: dict[str, Any] = {
        **source,
        "authors": [writer.name for writer in inputs.writer_samples],
        "context_tokens": inputs.context_tokens,
    }
    posts = make_posts(inputs.writer_samples) if recipe.raw_share else None
    if posts is not None:
        dataset["raw"] = {**source, "share": recipe.raw_share}
    folder = settings.reference_adapters_dir
    folder.mkdir(parents=True, exist_ok=True)
    description = TrainingDescription(
        author="",
        training=inputs.hash,
        base=inputs.base,
        template=DEFAULT_TEMPLATE.hash,
        recipe=recipe,
        code=inputs.code_hash,
        dataset=dataset,
    )
    adapter = run_training(
        job, description, launcher, folder, name=JOB_NAME, rows=rows, posts=posts
    )
    remove_shared_states(settings, JOB_NAME)
    return adapter


def _remove_unreferenced(folder: Path) -> None:
    """Remove adapters that no author's file refers to (old recipes, old code, removed authors)."""
    referenced_checkpoints = {
        json.loads(path.read_text("utf-8"))["checkpoint"] for path in folder.glob("*.json")
    }
    for path in folder.glob(f"*/{manifests.MANIFEST_FILE}"):
        if path.parent.name not in referenced_checkpoints:
            shutil.rmtree(path.parent)


def _read_configured_adapter(folder: Path, base: Path, revision: str) -> ReferenceAdapter:
    if not (folder / "adapter_config.json").is_file():
        raise TwinError(
            f"read the adapter of other authors in {folder} (TWIN_REFERENCE_ADAPTER)",
            found="no adapter_config.json",
            next_step="set it to the folder of a PEFT adapter, to auto or to off",
        )
    template = DEFAULT_TEMPLATE.hash
    weights = manifests.compute_checkpoint_hash(folder, base_revision=revision, template=template)
    return ReferenceAdapter(EvaluatedModel(MODEL_NAME, weights, base, folder), ())
