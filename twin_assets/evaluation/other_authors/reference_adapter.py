"""Train the adapter of other authors once per base model and recipe, and find it again.

Scope: the adapter's identity, its training, its place in the home.
Out of scope: its samples (`bundled_samples.py`), comparing a candidate with it
(`measures/other_authors.py`), the asset (`other_authors_adapter.py`), the loop (`train.py`).

    <home>/reference_adapters/<checkpoint>/manifest.json, adapter/
    <home>/reference_adapters/<author>.json    {checkpoint, folder, authors}

The adapter has the author's base model and supervised recipe, but is trained on texts of bundled
authors only. Authors with the same base model and recipe therefore share one. It has no GGUF file,
because it never answers readers. The next training removes folders that no author's file names; an
adapter that a person trained stays.

It sees as many tokens as the author's last training: with twice as many, a good candidate hardly
beats it; with half as many, a candidate of other people's data does (tests/bench/RESULTS.md). For a
corpus that ends before the recipe's budget, tokens are rounded in steps of √2, so that a few new
posts do not require another adapter.
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
from twin_assets.checkpoints.author_recipe import ranks_of, recipe_of
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.published_weights import weights_of
from twin_assets.checkpoints.recipe import Recipe, hash_of
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, ReferenceAdapter
from twin_assets.evaluation.other_authors.bundled_samples import (
    hash_of_samples,
    other_hands,
    posts_of,
    samples_of,
)
from twin_assets.instructions.instruction_tables import OF_THE_AUTHOR
from twin_assets.training.fine_tuning import DATASET, hand_over_hashes, launched
from twin_assets.training.publishing import TrainingDescription, publish_training, training_code
from twin_resources.errors import TwinError
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.storage.weights.weights import BaseModel, load_base_model

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.training_launcher import TrainingLauncher
    from twin_resources.quality.judges.texts import WriterSample
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables

NAME = "other authors' adapter"


@dataclass(frozen=True)
class TrainedReference:
    """The published adapter, its authors, and whether this call trained it or found it."""

    folder: Path
    manifest: Manifest
    of: tuple[str, ...]
    trained: bool


@dataclass(frozen=True)
class _Inputs:
    """All inputs that decide the weights."""

    base: BaseModel
    recipe: Recipe
    because: str
    hands: Sequence[WriterSample]
    context_tokens: int
    code: str

    @property
    def samples(self) -> str:
        """Hash of the inputs that decide the samples."""
        return hash_of_samples(self.hands, context_tokens=self.context_tokens)

    @property
    def hash(self) -> str:
        parts = [self.base.revision, self.recipe.model_dump(), self.code, self.samples]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def train_reference(
    author: Author, *, settings: Settings, tables: Tables, launcher: TrainingLauncher
) -> TrainedReference:
    """Train the adapter that this author's candidates must beat, or find it.

    Raises:
        TwinError: the author has no dataset, there is no other bundled author, the base model is
            not prepared, or the training failed.
    """
    folder = settings.reference_adapters_dir
    inputs = _inputs(author, settings, tables)
    found = manifests.find_trained(folder, inputs.hash)
    published = found or _train(inputs, settings, launcher)
    manifest, of = manifests.read_manifest(published), tuple(hand.name for hand in inputs.hands)
    pointed = {"checkpoint": manifest.checkpoint, "folder": str(published)}
    manifests.write_pointer(folder, author.slug, pointed | {"authors": of})
    _remove_others(folder)
    return TrainedReference(published, manifest, of, trained=found is None)


def find_reference(
    author: Author, settings: Settings, *, base: Path, revision: str
) -> ReferenceAdapter | None:
    """Return the adapter to compare a candidate of this base model with, or None if there is none.

    An adapter of another recipe, prompt length or training code does not count: the comparison
    would measure that difference.

    Args:
        base, revision: folder and revision of the candidate's base model.

    Raises:
        TwinError: the folder in `TWIN_REFERENCE_ADAPTER` holds no adapter.
    """
    if settings.reference_adapter == "off":
        return None
    if settings.reference_adapter != "auto":
        return _handed_in(Path(settings.reference_adapter).expanduser(), base, revision)
    pointer = settings.reference_adapters_dir / f"{author.slug}.json"
    if not pointer.is_file():
        return None
    pointed = json.loads(pointer.read_text(encoding="utf-8"))
    folder = Path(pointed["folder"])
    manifest = manifests.read_manifest(folder)
    recipe = reference_recipe(author, settings)
    is_of_now = (
        manifest.base["revision"] == revision
        and manifest.code == training_code()
        and hash_of(manifest.recipe) == hash_of(recipe.model_dump())
        and manifest.dataset["context_tokens"] == author.context_tokens
    )
    if not is_of_now:
        return None
    weights = weights_of(folder, base=base, base_gguf=None)
    model = EvaluatedModel(NAME, manifest.checkpoint, weights.model, weights.adapter)
    return ReferenceAdapter(model, tuple(pointed["authors"]))


def wants_reference(author: Author, settings: Settings) -> bool:
    """Return whether the adapter still has to be trained.

    Raises:
        TwinError: the base model is not prepared, or the recipe is invalid.
    """
    if settings.reference_adapter != "auto":
        return False
    base = load_base_model(settings)
    return find_reference(author, settings, base=base.folder, revision=base.revision) is None


def reference_recipe(author: Author, settings: Settings) -> Recipe:
    """Return the author's supervised recipe, with the token count of the author's last training."""
    recipe = recipe_of(author, settings).recipe.supervised()
    checkpoints = settings.checkpoints_dir / author.slug
    if not (checkpoints / "fine_tuned.json").is_file():
        return recipe
    trained = Path(manifests.read_pointer(checkpoints, "fine_tuned")["folder"])
    tokens = max(1, manifests.read_manifest(trained).tokens)
    steps = max(0, round(2 * math.log2(recipe.token_budget / tokens)))
    budget = max(1, round(recipe.token_budget * 2 ** (-steps / 2)))
    return recipe.model_copy(update={"token_budget": budget})


def _inputs(author: Author, settings: Settings, tables: Tables) -> _Inputs:
    own = tables.read(DATASET, author.slug, columns=["answer"], where=OF_THE_AUTHOR)
    hands = other_hands(author.slug, own["answer"].to_list())
    if not hands:
        raise TwinError(
            f"train the adapter of other authors beside {author.slug}",
            found="no bundled author but this one",
            next_step="name an adapter's folder in TWIN_REFERENCE_ADAPTER, or set it to off",
        )
    base = load_base_model(settings)
    # without a file for llama.cpp, because it is never served
    return _Inputs(
        replace(base, gguf=None),
        reference_recipe(author, settings),
        recipe_of(author, settings).line,
        hands,
        context_tokens=author.context_tokens,
        code=training_code(),
    )


def _train(inputs: _Inputs, settings: Settings, launcher: TrainingLauncher) -> Path:
    recipe = inputs.recipe
    rows = samples_of(inputs.hands, context_tokens=inputs.context_tokens)
    ranks = ranks_of(recipe, settings)
    at_once = recipe.samples_of_a_step(len(rows), ranks=ranks)
    job = Job(
        folder=settings.work_dir / "training" / f"reference-{inputs.hash[:16]}",
        base_name=inputs.base.name,
        base_folder=inputs.base.folder,
        ranks=ranks,
        recipe=recipe.model_copy(update={"samples_per_step": at_once}),
        because=inputs.because,
    )
    write_job(job)
    hand_over_hashes(job, inputs.base)
    write_rows(job.samples, rows)
    bundled = {"asset": "bundled_samples", "data_version": inputs.samples}
    dataset: dict[str, Any] = {
        **bundled,
        "authors": [hand.name for hand in inputs.hands],
        "context_tokens": inputs.context_tokens,
    }
    if recipe.raw_share:
        write_rows(job.posts, posts_of(inputs.hands))
        dataset["raw"] = {**bundled, "share": recipe.raw_share}
    output = launcher.run(launched(job, name="reference"))
    folder = settings.reference_adapters_dir
    folder.mkdir(parents=True, exist_ok=True)
    described = TrainingDescription(
        author="",
        training=inputs.hash,
        base=inputs.base,
        template=DEFAULT_TEMPLATE.hash,
        recipe=recipe,
        code=inputs.code,
        dataset=dataset,
    )
    published = publish_training(described, job, output, folder)
    shutil.rmtree(job.folder)
    return published


def _remove_others(folder: Path) -> None:
    """Remove adapters that no author's file names: of old recipes, old code or removed authors."""
    named = {json.loads(path.read_text("utf-8"))["checkpoint"] for path in folder.glob("*.json")}
    for path in folder.glob(f"*/{manifests.FILE}"):
        if path.parent.name not in named:
            shutil.rmtree(path.parent)


def _handed_in(folder: Path, base: Path, revision: str) -> ReferenceAdapter:
    if not (folder / "adapter_config.json").is_file():
        raise TwinError(
            f"read the adapter of other authors in {folder} (TWIN_REFERENCE_ADAPTER)",
            found="no adapter_config.json",
            next_step="name a PEFT adapter's folder, or set it to auto or off",
        )
    template = DEFAULT_TEMPLATE.hash
    weights = manifests.checkpoint_hash(folder, base_revision=revision, template=template)
    return ReferenceAdapter(EvaluatedModel(NAME, weights, base, folder), ())
