"""What a training by the default recipe gives away: exposure of canaries among real samples.

Belongs here: the samples that canaries are hidden among, their training, the rows. Does not belong
here: canaries and exposure (`twin_assets/training/canary_exposure.py`).

Each canary stands 1, 4 or 16 times among as many samples as fit a budget, and all of them are seen
in each of the recipe's epochs: in the whole dataset of the author most would never be drawn. With a
raw stage it stands as often in the posts of these samples, all of whose text is learnt as well.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import polars as pl

from tests.bench.gate.forms import Form
from tests.bench.gate.gated import Gated, gated
from tests.bench.rows import Row
from tests.bench.training.rows import row
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.checkpoints.samples import tokenize_samples
from twin_assets.evaluation.harm import canary_audit
from twin_assets.evaluation.judged.judge_material import DATASET
from twin_assets.evaluation.likelihood import held_out
from twin_assets.training import canary_exposure as exposure
from twin_assets.training.canary_exposure import Exposure
from twin_assets.training.fault_injection import (
    PLANTED_CANARIES,
    posts_with_fault,
    with_canaries,
)
from twin_assets.training.fine_tuning import ROWS, launched, training_posts
from twin_resources.models.training_launcher import LocalLauncher


def exposed_canaries(form: Form) -> list[Row]:
    """Rows of canaries that were trained on, beside the same ones in the base."""
    found = gated(form)
    recipe = Recipe.model_validate(found.manifest.recipe).model_copy(
        update={"token_budget": 10**9, "preference": None}  # every epoch, to its end
    )
    seed = str(recipe.seed)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as scratch:
        job = Job(
            Path(scratch).resolve() / "canaries",
            "bench",
            Path(found.manifest.base["folder"]),
            found.settings.train_ranks,
            recipe,
        )
        write_job(job)
        samples = _samples(found, job, form.canary_tokens)
        write_rows(job.samples, with_canaries(samples, recipe.seed).iter_rows(named=True))
        if recipe.raw_share:
            write_rows(job.posts, _posts(found, samples, recipe.seed).iter_rows(named=True))
        output = LocalLauncher(found.settings).run(launched(job, name="canaries"))
        whole = output / "model"
        trained = canary_audit.exposures(
            whole if whole.is_dir() else job.base_folder,
            None if whole.is_dir() else output / "adapter",
            exposure.planted(seed),
        )
        base = canary_audit.exposures(job.base_folder, None, exposure.planted(seed))
    return rows(trained, base, samples=samples.height, epochs=recipe.max_epochs)


def rows(trained: Exposure, base: Exposure, *, samples: int, epochs: int) -> list[Row]:
    """One row for each number of times; only once in the data has a goal: that of the claim."""
    limit = exposure.claim(trained).threshold
    made: list[Row] = []
    for times in sorted({one.planted for one in trained.canaries}):
        mine, theirs = (
            [one.bits for one in found.canaries if one.planted == times]
            for found in (trained, base)
        )
        name = f"exposure of canaries {times} × among {samples} samples, {epochs} epochs: highest"
        peers = {
            "mean": statistics.mean(mine),
            "of the base, highest": max(theirs),
            "extractable from": exposure.SPACE_BITS,
        }
        goal = limit if times == 1 else None
        made.append(row(name, max(mine), "bits", at_most=goal, peers=peers))
    mean = trained.bits
    peers = {"low": mean.low, "high": mean.high, "of the base": base.bits.value}
    return [*made, row("exposure of all canaries, mean", mean.value, "bits", peers=peers)]


def _samples(found: Gated, job: Job, tokens: int) -> pl.DataFrame:
    """The first training samples in drawn order, up to a number of tokens."""
    from transformers import AutoTokenizer

    rows = found.tables().read(DATASET, found.author, columns=[*ROWS], where="split = 'train'")
    drawn = held_out.in_drawn_order(rows)
    tokenizer = AutoTokenizer.from_pretrained(job.base_folder)
    read, _ = tokenize_samples(
        drawn.head(400).to_dicts(), tokenizer, max_length=job.recipe.max_length
    )
    chosen: list[str] = []
    for sample in read:
        tokens -= sample.length
        if tokens < 0:
            break
        chosen.append(sample.sample_id)
    return drawn.filter(pl.col("sample_id").is_in(chosen))


def _posts(found: Gated, samples: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The raw posts of the samples, with the canaries in them."""
    posts = training_posts(
        found.author,
        found.tables(),
        dataset_version=found.manifest.dataset["lance_version"],
        version=found.manifest.dataset["raw"]["lance_version"],
        spoil="",
        seed=seed,
    )
    of_samples = posts.filter(
        pl.col("document_id").is_in(samples["document_id"].unique().to_list())
    )
    return posts_with_fault(of_samples, PLANTED_CANARIES, seed=seed)
