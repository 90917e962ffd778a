"""Repeat a training run from its manifest: `twin-train --from-manifest MANIFEST`.

Scope: building the job from a manifest, verifying that tables and weights match the manifest's
hashes, and comparing the results. Out of scope: training on an author's current data
(`fine_tuning.py`, `preference_tuning.py`), publishing (`publishing.py`).

The weights are compared by the checkpoint's hash. If they are not identical to the last bit, the
repetition has failed. Nothing is published, and no pointer is moved.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.job import Job, hash_rows, write_job, write_rows
from twin_assets.checkpoints.manifest import (
    ADAPTER_FOLDER,
    MANIFEST_FILE,
    Manifest,
    compute_checkpoint_hash,
    read_manifest,
)
from twin_assets.checkpoints.recipe import Launch, Recipe
from twin_assets.training import fine_tuning, preference_tuning
from twin_assets.training.publishing import training_code_hash
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, Message, TrainingLauncher
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.weights.weights import compute_revision

if TYPE_CHECKING:
    import polars as pl

    from twin_resources.storage.tables.tables import Tables

EXIT_DIFFERENT_WEIGHTS, EXIT_FAILED = 1, 3  # exit codes


@dataclass(frozen=True)
class RepeatedTraining:
    """The result of a repetition.

    Attributes:
        checkpoint: hash of the new weights.
        expected_checkpoint: the manifest's hash.
        output: the job's `output` folder.
    """

    checkpoint: str
    expected_checkpoint: str
    output: Path

    @property
    def is_identical(self) -> bool:
        return self.checkpoint == self.expected_checkpoint


def repeat_training(
    folder: Path,
    *,
    work: Path,
    tables: Tables,
    launcher: TrainingLauncher,
    base: Path | None = None,
    on_message: Callable[[Message], None] | None = None,
) -> RepeatedTraining:
    """Repeat the run that the manifest in `folder` describes, and compare the weights.

    Args:
        folder: folder of a checkpoint with its manifest.
        work: the run's working folder, which must be new, empty or an earlier repetition's.
        base: transformers folder of the base model; None to use the manifest's.

    Raises:
        TwinError: data or weights differ from those that the manifest names, `work` contains
            something other than a training job, or training failed.
    """
    manifest = read_manifest(folder)
    job = job_from_manifest(manifest, folder, work=work, base=base)
    rows = _read_training_rows(manifest, tables)
    posts = read_raw_posts(manifest, tables)
    clear_earlier_job(job.folder)
    write_job(job)
    write_rows(job.samples_path, rows.iter_rows(named=True))
    if posts is not None:
        write_rows(job.posts_path, posts.iter_rows(named=True))
    name = f"repeat-{manifest.training[:16]}"
    output = launcher.run(fine_tuning.build_training_job(job, name=name), on_message=on_message)
    weights = output / (ADAPTER_FOLDER if job.recipe.lora else "model")
    return RepeatedTraining(
        checkpoint=compute_checkpoint_hash(
            weights, base_revision=manifest.base["revision"], template=manifest.template
        ),
        expected_checkpoint=manifest.checkpoint,
        output=output,
    )


def job_from_manifest(
    manifest: Manifest, folder: Path, *, work: Path, base: Path | None = None
) -> Job:
    """Return the job that a manifest describes.

    Args:
        folder: the manifest's folder; the parent of a preference-tuned checkpoint is in a sibling
            folder.
        base: transformers folder of the base model; None to use the manifest's.

    Raises:
        TwinError: the base model or the parent is not the one that the manifest names.
    """
    recipe = Recipe.from_manifest(manifest.recipe)
    # a small corpus has fewer samples per step than the recipe
    samples_per_step = manifest.effective["samples_per_step"]
    recipe = recipe.model_copy(update={"samples_per_step": samples_per_step})
    initial_adapter = None
    if manifest.stage == "dpo":
        recipe = recipe.to_preference_recipe()
        initial_adapter = _find_parent_adapter(manifest, folder)
    return Job(
        folder=work,
        base_name=manifest.base["name"],
        base_folder=_find_base_model(manifest, base),
        ranks=manifest.launch["ranks"],
        recipe=recipe,
        stage="dpo" if manifest.stage == "dpo" else "sft",
        initial_adapter=initial_adapter,
        launch=launch_from_manifest(manifest.launch, manifest.effective),
    )


def clear_earlier_job(folder: Path) -> None:
    """Remove the folder of an earlier repetition, whose state or output would prove nothing.

    Raises:
        TwinError: the folder contains something other than a training job; it is left unchanged.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / "job.json").is_file():
        raise TwinError(
            f"repeat a training run in {folder}",
            found="the folder contains other files",
            next_step="specify a new or an empty folder with --work",
        )
    shutil.rmtree(folder)


def launch_from_manifest(launch: Mapping[str, Any], effective: Mapping[str, Any]) -> Launch:
    """Return the launch configuration, with each `auto` replaced by the recorded value."""
    values = {name: value for name, value in launch.items() if name in Launch.model_fields}
    values["mixed_precision"] = launch["precision"]
    threads = effective.get("threads_per_rank", values["threads_per_rank"])
    return Launch.model_validate(values | {"threads_per_rank": threads})


def list_environment_differences(manifest: Manifest) -> tuple[str, ...]:
    """Return the differences in code and libraries since the manifest was written."""
    differences_found: list[str] = []
    if manifest.code != training_code_hash():
        differences_found.append("the training code has changed")
    for library, recorded_version in manifest.versions.items():
        try:
            current_version = version(library)
        except PackageNotFoundError:
            current_version = "missing"
        if current_version != recorded_version:
            differences_found.append(
                f"{library} was {recorded_version} and is now {current_version}"
            )
    return tuple(differences_found)


def _find_base_model(manifest: Manifest, override: Path | None) -> Path:
    folder = override or Path(manifest.base["folder"])
    action = f"repeat the training of checkpoint {manifest.checkpoint[:12]}"
    if not (folder / "config.json").is_file():
        raise TwinError(
            action,
            found=f"no base model in {folder}",
            next_step=f"prepare {manifest.base['name']} and specify its folder with --base",
        )
    revision = compute_revision(folder)
    if revision != manifest.base["revision"]:
        raise TwinError(
            action,
            found=f"another base model in {folder}: revision {revision[:12]} instead of "
            f"{manifest.base['revision'][:12]}",
            next_step="specify the folder of the correct base model with --base",
        )
    return folder.resolve()


def _find_parent_adapter(manifest: Manifest, folder: Path) -> Path:
    parent = manifest.preferences["parent"]
    adapter = folder.parent / parent / ADAPTER_FOLDER
    action = f"repeat the preference tuning of checkpoint {manifest.checkpoint[:12]}"
    if not adapter.is_dir():
        raise TwinError(
            action,
            found=f"no supervised checkpoint {parent[:12]} in {adapter}",
            next_step="copy that checkpoint's folder there",
        )
    checkpoint = compute_checkpoint_hash(
        adapter, base_revision=manifest.base["revision"], template=manifest.template
    )
    if checkpoint != parent:
        raise TwinError(
            action,
            found=f"checkpoint {checkpoint[:12]} in {adapter}, but the parent is {parent[:12]}",
            next_step="replace that folder with the parent checkpoint's",
        )
    return adapter.resolve()


def _read_training_rows(manifest: Manifest, tables: Tables) -> pl.DataFrame:
    import polars as pl

    author = manifest.author
    dataset = manifest.dataset if manifest.stage == "sft" else manifest.preferences
    if "rows_sha256" not in dataset:
        raise TwinError(
            f"repeat the training of checkpoint {manifest.checkpoint[:12]}",
            found="an older manifest without the hash of its rows",
            next_step="materialize its asset again to get a manifest with this hash",
        )
    if manifest.stage == "sft":
        rows = fine_tuning.read_training_samples(
            author,
            tables,
            version=dataset["tag"],
            spoil=dataset.get("spoil", ""),
            seed=manifest.recipe["seed"],
        ).select(fine_tuning.SAMPLE_COLUMNS)
    else:
        pairs = preference_tuning.read_preference_pairs(
            author, tables, template=manifest.template, version=dataset["tag"]
        )
        rows = pl.DataFrame(preference_tuning.pair_rows(pairs))
    _require_recorded_hash(rows, manifest, dataset)
    return rows


def _require_recorded_hash(
    rows: pl.DataFrame, manifest: Manifest, dataset: Mapping[str, Any]
) -> None:
    """Check that a table's rows have the hash in the manifest.

    Raises:
        TwinError: the hashes differ.
    """
    digest = hash_rows(rows.iter_rows(named=True))
    if digest != dataset["rows_sha256"]:
        raise TwinError(
            f"repeat the training of checkpoint {manifest.checkpoint[:12]}",
            found=f"rows with the hash {digest[:12]} instead of {dataset['rows_sha256'][:12]} in "
            f"{dataset['asset']} of {manifest.author}, tag {dataset['tag']}",
            next_step="restore a backup that still has the rows of that training run",
        )


def read_raw_posts(manifest: Manifest, tables: Tables) -> pl.DataFrame | None:
    """Return the raw posts of the run, or None if there were none.

    Raises:
        TwinError: the hash of the posts differs from the manifest's.
    """
    dataset = manifest.dataset.get("raw")
    if manifest.stage != "sft" or not dataset:
        return None
    posts = fine_tuning.read_training_posts(
        manifest.author, tables, dataset_version=manifest.dataset["tag"], version=dataset["tag"]
    )
    _require_recorded_hash(posts, manifest, dataset)
    return posts


def main(arguments: list[str] | None = None) -> int:
    """Run the command `twin-train`; exit code 1 means different weights, 3 a failure."""
    parser = argparse.ArgumentParser(
        prog="twin-train",
        description="Repeat a training run from its manifest and compare the weights bit for bit.",
    )
    parser.add_argument(
        "--from-manifest", type=Path, required=True, help="manifest.json or its folder"
    )
    parser.add_argument("--work", type=Path, help="working folder (default: in TWIN_HOME)")
    parser.add_argument("--base", type=Path, help="transformers folder of the base model")
    options = parser.parse_args(arguments)
    folder = options.from_manifest
    folder = folder.parent if folder.name == MANIFEST_FILE else folder
    try:
        return _run(folder, options.work, options.base)
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED


def _run(folder: Path, work: Path | None, base: Path | None) -> int:
    from twin_resources.storage.state.home_state import open_home_state
    from twin_resources.storage.tables.tables import Tables

    settings: Settings = load_settings()
    manifest = read_manifest(folder)
    work_folder = work or settings.work_dir / "training" / f"repeat-{manifest.training[:16]}"
    for line in list_environment_differences(manifest):
        _print_line(f"changed since that run: {line}")
    with closing(open_home_state(settings)) as state:
        repetition = repeat_training(
            folder,
            work=work_folder.resolve(),
            tables=Tables(settings.tables_base, state=state),
            # this repetition must not continue from a state that another host stored
            launcher=LocalLauncher(settings),
            base=base,
            on_message=_print_message,
        )
    if repetition.is_identical:
        _print_line(f"the weights are the same bit for bit: checkpoint {repetition.checkpoint}")
        if work is None:
            shutil.rmtree(work_folder)
        return 0
    _print_line(
        f"the weights differ: checkpoint {repetition.checkpoint}, but the manifest has "
        f"{repetition.expected_checkpoint}"
    )
    _print_line(f"the new weights are in {repetition.output}")
    return EXIT_DIFFERENT_WEIGHTS


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _print_message(message: Message) -> None:
    if "text" in message:
        _print_line(message["text"])
    elif "progress" in message:
        _print_line(f"progress {json.dumps(message['progress'])}")


if __name__ == "__main__":
    raise SystemExit(main())
