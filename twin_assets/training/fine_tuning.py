"""Train a checkpoint on an author's instruction dataset and publish it.

Scope: the inputs of a training run, whether a run is needed, and its job. Out of scope: the loop
(`train.py`), processes (`training_launcher/`), publishing (`publishing.py`), preferences
(`preference_tuning.py`), the assets (`checkpoints.py`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.author_recipe import (
    AuthorRecipe,
    choose_author_recipe,
    count_training_ranks,
)
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.training.fault_injection import check_fault_method, inject_fault
from twin_assets.training.publishing import (
    TrainingDescription,
    publish_training,
    training_code_hash,
)
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import TrainingJob, TrainingLauncher
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors
from twin_resources.storage.weights.weights import BaseModel, load_base_model

if TYPE_CHECKING:
    import polars as pl

    from twin_resources.storage.tables.tables import Tables

DATASET, POSTS = "instruction_dataset", "cleaned_documents"
TRAINING_MODULE = "twin_assets.training.train"
PRELOAD_MODULE = "twin_assets.training.worker_preload"
TRAINING_FILTER = "split = 'train'"  # an SQL condition
SAMPLE_COLUMNS = ("sample_id", "document_id", "messages")  # columns of a sample that a job receives


@dataclass(frozen=True)
class FineTunedCheckpoint:
    """A published checkpoint, and whether this call trained it."""

    folder: Path
    manifest: Manifest
    was_trained: bool


@dataclass(frozen=True)
class StoredPosts:
    """The version of `POSTS` whose texts are training data in addition to the samples."""

    data_version: str
    lance_version: int


@dataclass(frozen=True)
class _Inputs:
    """All inputs that determine the weights of one author's checkpoint."""

    author: str
    base: BaseModel
    author_recipe: AuthorRecipe
    data_version: str
    lance_version: int
    code: str
    spoil: str
    samples_per_step: int
    posts: StoredPosts | None

    @property
    def recipe(self) -> Recipe:
        return self.author_recipe.recipe

    @property
    def recipe_for_corpus(self) -> Recipe:
        """The recipe with the number of samples per step that suits the corpus."""
        return self.recipe.model_copy(update={"samples_per_step": self.samples_per_step})

    @property
    def hash(self) -> str:
        """Hash of the inputs except ranks and precision, which only affect rounding."""
        recipe = self.recipe.drop_preference().model_dump()
        parts = [self.base.revision, self.data_version, recipe, self.code]
        if self.samples_per_step != self.recipe.samples_per_step:
            parts.append(self.samples_per_step)  # this number also depends on the ranks
        if self.posts is not None:
            parts.append(self.posts.data_version)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def tag(self) -> str:
        return f"training-{self.hash[:16]}"


def fine_tune(
    author: Author,
    *,
    settings: Settings,
    tables: Tables,
    launcher: TrainingLauncher,
    spoil: str = "",
) -> FineTunedCheckpoint:
    """Train this author's adapter, or return the existing checkpoint with the same inputs.

    A killed run resumes from its last complete checkpoint, because its folder is named by the hash
    of its inputs.

    Args:
        spoil: a method of `fault_injection.py` to corrupt the data deliberately, recorded in the
            manifest.

    Raises:
        TwinError: there is no dataset or no training sample, the base model is not prepared, or
            training failed.
        DiskFullError: the disk is full; a started run resumes from its last complete checkpoint.
    """
    with translate_storage_errors(
        f"fine-tune the model of {author.slug}", settings.home, only=DiskFullError
    ):
        inputs = _collect_inputs(author, settings, tables, spoil)
        checkpoints = settings.checkpoints_dir / author.slug
        existing = manifests.find_trained_checkpoint(checkpoints, inputs.hash)
        folder = existing or _train(inputs, settings, tables, launcher)
        manifest = manifests.read_manifest(folder)
        manifests.write_pointer(
            checkpoints,
            "fine_tuned",
            {"checkpoint": manifest.checkpoint, "folder": str(folder), "stage": manifest.stage},
        )
        return FineTunedCheckpoint(folder, manifest, was_trained=existing is None)


def _train(inputs: _Inputs, settings: Settings, tables: Tables, launcher: TrainingLauncher) -> Path:
    """Run the training and return the published checkpoint's folder."""
    author = inputs.author
    tables.tag(DATASET, author, inputs.tag, inputs.lance_version)
    samples = read_training_samples(
        author,
        tables,
        version=inputs.lance_version,
        spoil=inputs.spoil,
        seed=inputs.recipe.seed,
    )
    posts = None
    if inputs.posts is not None:
        tables.tag(POSTS, author, inputs.tag, inputs.posts.lance_version)
        posts = read_training_posts(
            author,
            tables,
            dataset_version=inputs.lance_version,
            version=inputs.posts.lance_version,
        ).iter_rows(named=True)
    job = Job(
        folder=settings.work_dir / "training" / f"{author}-{inputs.hash[:16]}",
        base_name=inputs.base.name,
        base_folder=inputs.base.folder,
        ranks=count_training_ranks(inputs.recipe, settings),
        recipe=inputs.recipe_for_corpus,
        recipe_reason=inputs.author_recipe.log_line,
    )
    rows = samples.select(SAMPLE_COLUMNS).iter_rows(named=True)
    description = _describe_training(inputs, str(samples["template"][0]))
    return run_training(
        job,
        description,
        launcher,
        settings.checkpoints_dir / author,
        name=author,
        rows=rows,
        posts=posts,
    )


def run_training(
    job: Job,
    description: TrainingDescription,
    launcher: TrainingLauncher,
    checkpoints: Path,
    *,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    posts: Iterable[Mapping[str, Any]] | None = None,
) -> Path:
    """Write a job's files, run it, publish its weights and return their folder.

    The job's folder is removed at the end; until then, a killed run resumes from it.

    Args:
        name: name of the job for its log.
        rows, posts: training rows and raw posts, as in `job.py`.

    Raises:
        TwinError: as in `TrainingLauncher.run`.
    """
    write_job(job)
    write_rows(job.samples_path, rows)
    if posts is not None:
        write_rows(job.posts_path, posts)
    output = launcher.run(build_training_job(job, name=name))
    folder = publish_training(description, job, output, checkpoints)
    shutil.rmtree(job.folder)
    return folder


def build_training_job(job: Job, *, name: str) -> TrainingJob:
    """Return a job's description for the launcher, from its recipe and launch configuration."""
    launch = job.effective_launch
    accumulation = job.recipe.accumulation_steps(job.ranks)
    deepspeed = dict(launch.deepspeed)
    if deepspeed:
        deepspeed |= {
            "train_micro_batch_size_per_gpu": job.recipe.micro_batch_size,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": job.recipe.max_grad_norm,
        }
    threads = launch.threads_per_rank
    return TrainingJob(
        name=name,
        folder=job.folder,
        module=TRAINING_MODULE,
        ahead=PRELOAD_MODULE,
        ranks=job.ranks,
        device=launch.device,
        threads_per_rank=None if threads == "auto" else threads,
        mixed_precision=launch.mixed_precision,
        environment=launch.environment,
        deepspeed=deepspeed,
    )


def _collect_inputs(author: Author, settings: Settings, tables: Tables, spoil: str) -> _Inputs:
    if spoil:
        check_fault_method(spoil)
    lance_version = tables.lance_version(DATASET, author.slug)
    data_version = tables.data_version(DATASET, author.slug)
    if lance_version is None or data_version is None:
        raise TwinError(
            f"train on the instruction dataset of {author.slug}",
            found="the table does not exist",
            next_step="materialize instruction_dataset for this author",
        )
    author_recipe = choose_author_recipe(author, settings)
    validate_recipe_stages(author_recipe.recipe)
    training_rows = tables.read(
        DATASET, author.slug, columns=["sample_id"], where=TRAINING_FILTER, version=lance_version
    )
    return _Inputs(
        author=author.slug,
        base=load_base_model(settings),
        author_recipe=author_recipe,
        data_version=f"{data_version}:{spoil}" if spoil else data_version,
        lance_version=lance_version,
        code=training_code_hash(),
        spoil=spoil,
        samples_per_step=author_recipe.recipe.compute_samples_per_step(
            training_rows.height, ranks=count_training_ranks(author_recipe.recipe, settings)
        ),
        posts=_find_stored_posts(author.slug, tables) if author_recipe.recipe.raw_share else None,
    )


def _find_stored_posts(author: str, tables: Tables) -> StoredPosts:
    data_version = tables.data_version(POSTS, author)
    lance_version = tables.lance_version(POSTS, author)
    if data_version is None or lance_version is None:
        raise TwinError(
            f"train on the raw posts of {author}",
            found=f"the table {POSTS} does not exist",
            next_step=f"materialize {POSTS} for this author, or set raw_share to 0 in the recipe",
        )
    return StoredPosts(data_version, lance_version)


def validate_recipe_stages(recipe: Recipe) -> None:
    """Check that all stages of a recipe can run.

    Raises:
        TwinError: the recipe trains whole models and then tunes on preferences.
    """
    if recipe.lora is None and recipe.preference is not None:
        raise TwinError(
            f"fine-tune with recipe {recipe.name}",
            found="lora is null, so every weight is trained, but preference tuning needs an "
            "adapter",
            next_step="describe an adapter under lora, or remove the preference section",
        )


def read_training_samples(
    author: str, tables: Tables, *, version: int | str, spoil: str, seed: int
) -> pl.DataFrame:
    """Return the training samples of an author's dataset, by version or tag.

    Args:
        spoil: as for `fine_tune`.
        seed: seed for `spoil`.

    Raises:
        TwinError: there are no samples, or several prompt templates rendered them.
    """
    frame = tables.read(
        DATASET,
        author,
        columns=[*SAMPLE_COLUMNS, "template"],
        where=TRAINING_FILTER,
        version=version,
    )
    action = f"train on the instruction dataset of {author}"
    if frame.is_empty():
        raise TwinError(
            action,
            found="no sample in the train split",
            next_step="import more posts (at least about 20 usable posts with 5,000 words)",
        )
    templates = sorted(frame["template"].unique())
    if len(templates) > 1:
        raise TwinError(
            action,
            found=f"samples with {len(templates)} prompt templates: {', '.join(templates)}",
            next_step="materialize instruction_dataset again, so that all use the same template",
        )
    return inject_fault(frame, spoil, seed=seed) if spoil else frame


def read_training_posts(
    author: str,
    tables: Tables,
    *,
    dataset_version: int | str,
    version: int | str,
) -> pl.DataFrame:
    """Return the posts whose unchanged text is training data, by version or tag of `POSTS`.

    These are the posts with a sample in the dataset's split `train` and none in another split. If a
    passage was excluded because it resembles a held-out passage, its whole post is excluded. The
    rules that exclude samples, such as those of held-out and erased posts, therefore apply here.

    Returns:
        `sample_id` and `document_id` (both the post's), `text`; sorted, possibly empty.
    """
    import polars as pl

    rows = tables.read(DATASET, author, columns=["document_id", "split"], version=dataset_version)
    excluded_documents = rows.filter(pl.col("split") != "train")["document_id"]
    documents = set(rows["document_id"]) - set(excluded_documents)
    kept_posts = tables.read(
        POSTS, author, columns=["document_id", "text"], where="kept", version=version
    )
    posts = kept_posts.filter(pl.col("document_id").is_in(sorted(documents))).sort("document_id")
    return posts.select(pl.col("document_id").alias("sample_id"), "document_id", "text")


def _describe_training(inputs: _Inputs, template: str) -> TrainingDescription:
    dataset: dict[str, Any] = {
        "asset": DATASET,
        "data_version": inputs.data_version,
        "lance_version": inputs.lance_version,
        "tag": inputs.tag,
        "spoil": inputs.spoil,
    }
    if inputs.posts is not None:
        dataset["raw"] = {
            "asset": POSTS,
            "data_version": inputs.posts.data_version,
            "lance_version": inputs.posts.lance_version,
            "tag": inputs.tag,
            "share": inputs.recipe.raw_share,
        }
    return TrainingDescription(
        author=inputs.author,
        training=inputs.hash,
        base=inputs.base,
        template=template,
        recipe=inputs.recipe,
        code=inputs.code,
        dataset=dataset,
    )
