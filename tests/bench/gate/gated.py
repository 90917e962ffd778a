"""From the instruction dataset to a verdict: training and gate as Dagster runs them, timed.

Scope: the home in which that is done, copies of it, the rows of its time and of what the
gate measured. Out of scope: the dataset (`training/material.py`), other candidates beside
it (`broken.py`), a training that is read and not judged (`likelihood.py`).

A home is kept in `build/` until training or evaluation change, so that a candidate can be looked at
without training it again; the time is always that of a fresh one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from tests.bench.gate.forms import Form
from tests.bench.rows import Row
from tests.bench.training.material import author_in, material
from tests.bench.training.processes import Cost, timed
from tests.bench.training.rows import missing, row
from tests.code_hash import ROOT, code_hash
from tests.prepared_embedder import lend_weights, prepare_weights
from twin_assets.checkpoints.manifest import Manifest, read_manifest, read_pointer
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.measures import author_control, held_out_perplexity
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.evaluation.report.evaluation_record import (
    Evaluation,
    evaluation_path,
    read_evaluation,
)
from twin_resources.authors import read_author, write_author
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import EMBEDDED_BASE_MODEL, Settings, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import prepare_base_model

KEPT = ROOT / "build" / "bench-gate"
CODE = ("twin_assets/training", "twin_assets/evaluation", "twin_resources/quality/judges")
MAX_S = 7200.0
TRAINING_ALONE = "--training-alone"


@dataclass(frozen=True)
class Gated:
    """A candidate that the gate has judged.

    Attributes:
        author: whose.
        settings: of its home.
        folder: of the checkpoint.
        cost: of Dagster's process from its start to its end, with all its children.
    """

    author: str
    settings: Settings
    folder: Path
    manifest: Manifest
    evaluation: Evaluation
    verdict: Verdict
    cost: Cost


def gated(form: Form, *, afresh: bool = False) -> Gated:
    """Train and judge the shared author's candidate; or what is left of the last time.

    Args:
        afresh: do it in a new home, whatever is there.

    Raises:
        NotMeasured: a step of it failed, or no verdict came; its log stays, also beside a home
            that is rebuilt.
    """
    home = KEPT / f"{form.name}-{form.author}-{code_hash(CODE)}"
    if afresh or not (home / "cost.json").is_file():
        make_room(home)
        settings = laid_out(form, home)
        (home / "cost.json").write_text(json.dumps(asdict(timed_in(settings))), "utf-8")
    return judged_in(load_settings(home), form.author)


def copied(found: Gated, home: Path) -> Settings:
    """A home with the candidate's dataset, checkpoints and what its gate has measured of the base.

    Another candidate of the author is made and judged there.
    """
    home.mkdir(parents=True)
    for name in ("tables", "authors", "checkpoints"):
        shutil.copytree(found.settings.home / name, home / name)
    for path in found.settings.home.glob("state.sqlite*"):
        shutil.copy(path, home)
    settings = load_settings(home)
    lend_weights(prepare_weights(), settings)
    prepare_base_model(settings, report=lambda line: sys.stderr.write(f"{line}\n"))
    return settings


def judged_in(settings: Settings, author: str) -> Gated:
    """The candidate of a home that `timed_in` has been run in."""
    folder = Path(read_pointer(settings.checkpoints_dir / author, "candidate")["folder"])
    registry = Registry(State.open(settings.state_address), policy_path=settings.policy_path)
    verdict = registry.verdict(folder.name, GATE_VERSION)
    evaluation = read_evaluation(evaluation_path(folder, GATE_VERSION))
    if verdict is None or evaluation is None:
        raise SystemExit(f"no verdict on {folder.name[:12]}; look at {settings.home / 'log'}")
    cost = Cost(**json.loads((settings.home / "cost.json").read_text("utf-8")))
    manifest = read_manifest(folder)
    return Gated(author, settings, folder, manifest, evaluation, verdict, cost)


def make_room(home: Path) -> None:
    """Remove a home; the log of what failed in it is kept as `<home>.failed.log`."""
    log = home / "log"
    if log.is_file() and not (home / "cost.json").is_file():
        shutil.move(log, home.with_name(f"{home.name}.failed.log"))
    shutil.rmtree(home, ignore_errors=True)


def time_and_likelihood(form: Form) -> list[Row]:
    """Rows of a fresh home: how long it took, which claims are met, how much likelier the author
    became."""
    found = gated(form, afresh=True)
    parts = found.evaluation.seconds
    training = found.manifest.metrics["seconds"]
    minutes = {  # parts of the gate go on side by side
        "training": training / 60,
        "gate and starting": (found.cost.wall_s - training) / 60,
        "CPU": found.cost.cpu_s / 60,
        **{f"gate: {name}": seconds / 60 for name, seconds in parts.items()},
    }
    made = row(
        f"dataset of {form.posts} posts to a verdict, {found.manifest.tokens:,} tokens",
        found.cost.wall_s / 60,
        "minutes",
        at_most=form.minutes,
        peers=minutes,
    )
    return [made, *rows(form, found.evaluation.measured, found.verdict.claims)]


def rows(form: Form, measured: Measurements, claims: Sequence[GateClaim]) -> list[Row]:
    """The claims, and the ratios; the goal of a ratio is for the figure, not its interval."""
    for claim in claims:
        sys.stderr.write(f"{claim.name} {claim.passed}: {claim.detail}\n")
    met = sum(claim.passed is True for claim in claims)
    goal = None if form.training.tiny else len(claims)  # random weights have no voice to find
    made = [row("blocking claims met", met, "claims", at_least=goal, peers={"of": len(claims)})]
    held_out = measured.get(held_out_perplexity.MEASURE)
    passages = 0 if held_out is None else held_out.passages
    if held_out is None or held_out.base is None:
        name = "held-out perplexity, tuned / base"
        made.append(missing(name, "ratio", f"{passages} held-out passages", goal=form.ratio))
    else:
        base = held_out.base
        interval = {"low": base.low, "high": base.high}
        perplexity = {"base": base.perplexity, "tuned": held_out.perplexity or 0.0}
        read = passages if base.passages is None else base.passages
        name = f"held-out perplexity, tuned / base, {read} passages in their prompts"
        peers = interval | perplexity
        made.append(row(name, base.ratio, "ratio", at_most=form.ratio, peers=peers))
        name = "held-out passages that each model read"
        made.append(row(name, read, "passages", peers={"of": passages}))
    own = measured.get(author_control.MEASURE)
    if own is not None:
        others = {"another author's": own.other, "own / another's": own.ratio}
        name = f"the same, questions alone, {own.passages} passages"
        made.append(row(name, own.own, "ratio", peers=others))
    return made


def laid_out(form: Form, folder: Path) -> Settings:
    """A home with the dataset and the prepared weights, whose author trains `form.tokens`."""
    handed = material(form.training)
    folder.mkdir(parents=True)
    for name in ("tables", "authors"):
        shutil.copytree(handed.home.home / name, folder / name)
    for path in handed.home.home.glob("state.sqlite*"):  # with the log that is not yet in it
        shutil.copy(path, folder)
    base = str(handed.base) if form.training.tiny else EMBEDDED_BASE_MODEL
    os.environ["TWIN_BASE_MODEL"] = base  # for the processes of the assets too
    settings = load_settings(folder)
    lend_weights(prepare_weights(), settings)
    recipe = load_recipe(DEFAULT_RECIPE).model_copy(update={"token_budget": form.tokens})
    if form.whole_model:
        recipe = recipe.model_copy(
            update={"lora": None, "preference": None, "learning_rate": 0.003, "max_epochs": 4}
        )
    recipe = Recipe.model_validate({**recipe.model_dump(), **form.recipe})
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"})), "utf-8")
    author = read_author(settings, form.author)
    write_author(settings, replace(author, recipe=str(path), consent="2020-01-01: a bench"))
    prepare_base_model(settings, report=lambda line: sys.stderr.write(f"{line}\n"))
    return settings


def timed_in(settings: Settings, *, judged: bool = True) -> Cost:
    """The assets in a process of their own, as in production.

    Args:
        judged: False: training alone.
    """
    return timed(
        [sys.executable, "-m", "tests.bench.gate.gated", *(() if judged else (TRAINING_ALONE,))],
        environment={"TWIN_HOME": str(settings.home)},
        log=settings.home / "log",
        name="training and gate",
        longest_s=MAX_S,
    )


def _materialize() -> int:
    """The worker, in the home that `TWIN_HOME` names; a refusal is a result, not a failure."""
    import dagster as dg

    from twin_assets.definitions import default_resources
    from twin_assets.evaluation.checkpoint_evaluation import checkpoint_evaluation
    from twin_assets.evaluation.evaluation_report import evaluation_report
    from twin_assets.training.checkpoints import fine_tuned_checkpoint, preference_tuned_checkpoint

    slug = author_in(load_settings())
    training = [fine_tuned_checkpoint, preference_tuned_checkpoint]
    alone = TRAINING_ALONE in sys.argv
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", [slug])
        done = dg.materialize(
            training if alone else [*training, checkpoint_evaluation, evaluation_report],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
            raise_on_error=False,
        )
    if alone:
        return 0 if done.success else 1
    return 0 if done.get_asset_check_evaluations() else 1


if __name__ == "__main__":
    sys.exit(_materialize())
