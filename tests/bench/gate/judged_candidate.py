"""Train and judge a candidate from the instruction dataset, as Dagster does, and measure the time.

Scope: the home for it, the rows for the time and the gate's measures. Out of scope: the dataset
(`training/inputs.py`), a training without a gate (`likelihood.py`).

The time is always measured in a new home, which is kept in `build/`.
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

from tests.bench.gate.sizes import GateBenchmarkSize
from tests.bench.rows import Row, bounded_row, missing_row
from tests.bench.training.inputs import only_author, prepare_inputs
from tests.bench.training.processes import Cost, run_timed
from tests.code_hash import ROOT, code_hash
from tests.prepared_embedder import link_weights, prepare_weights
from twin_assets.checkpoints.manifest import Manifest, read_manifest, read_pointer
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, load_recipe
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.report.evaluation_record import (
    Evaluation,
    evaluation_path,
    read_evaluation,
)
from twin_resources.authors import read_author, write_author
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import EMBEDDED_BASE_MODEL, Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.weights.weights import prepare_base_model

CACHE_DIR = ROOT / "build" / "bench-gate"
JUDGED_CODE = ("twin_assets/training", "twin_assets/evaluation", "twin_resources/quality/judges")
MAX_RUN_S = 7200.0
TRAINING_ALONE = "--training-alone"


@dataclass(frozen=True)
class JudgedCandidate:
    """A candidate that the gate has judged.

    Attributes:
        author: the author's slug.
        settings: the settings of the candidate's home.
        folder: the checkpoint's folder.
        cost: the time of Dagster's process with all its children.
    """

    author: str
    settings: Settings
    folder: Path
    manifest: Manifest
    evaluation: Evaluation
    verdict: Verdict
    cost: Cost


def judge_author(size: GateBenchmarkSize) -> JudgedCandidate:
    """Train and judge the author's candidate in a new home.

    Raises:
        MeasurementError: a step failed; its log is kept.
    """
    home = CACHE_DIR / f"{size.name}-{size.author}-{code_hash(JUDGED_CODE)}"
    remove_home(home)
    settings = prepare_home(size, home)
    (home / "cost.json").write_text(json.dumps(asdict(run_assets(settings))), "utf-8")
    return read_judged_candidate(load_settings(home), size.author)


def read_judged_candidate(settings: Settings, author: str) -> JudgedCandidate:
    """Return the candidate of a home in which `run_assets` has run."""
    folder = Path(read_pointer(settings.checkpoints_dir / author, "candidate")["folder"])
    registry = Registry(open_home_state(settings), policy_path=settings.policy_path)
    verdict = registry.verdict(folder.name, GATE_VERSION)
    evaluation = read_evaluation(evaluation_path(folder, GATE_VERSION))
    if verdict is None or evaluation is None:
        raise SystemExit(f"no verdict on {folder.name[:12]}; see {settings.home / 'log'}")
    cost = Cost(**json.loads((settings.home / "cost.json").read_text("utf-8")))
    manifest = read_manifest(folder)
    return JudgedCandidate(author, settings, folder, manifest, evaluation, verdict, cost)


def remove_home(home: Path) -> None:
    """Remove a home; the log of a failed run is kept as `<home>.failed.log`."""
    log = home / "log"
    if log.is_file() and not (home / "cost.json").is_file():
        shutil.move(log, home.with_name(f"{home.name}.failed.log"))
    shutil.rmtree(home, ignore_errors=True)


def time_and_likelihood_rows(size: GateBenchmarkSize) -> list[Row]:
    """Return rows for a new home: its time, the claims met, and the likelihood ratios."""
    judged = judge_author(size)
    part_seconds = judged.evaluation.seconds
    training_s = judged.manifest.metrics["seconds"]
    minutes = {  # parts of the gate run at the same time
        "training": training_s / 60,
        "gate and starting": (judged.cost.wall_s - training_s) / 60,
        "CPU": judged.cost.cpu_s / 60,
        **{f"gate: {name}": seconds / 60 for name, seconds in part_seconds.items()},
    }
    time_row = bounded_row(
        f"dataset of {size.post_count} posts to a verdict, {judged.manifest.tokens:,} tokens",
        judged.cost.wall_s / 60,
        "minutes",
        at_most=size.max_minutes,
        peers=minutes,
    )
    return [time_row, *measure_rows(size, judged.evaluation, judged.verdict.claims)]


def measure_rows(
    size: GateBenchmarkSize, evaluation: Evaluation, claims: Sequence[GateClaim]
) -> list[Row]:
    """Return rows for the claims and ratios; a ratio's goal is for its value, not its interval."""
    for claim in claims:
        sys.stderr.write(f"{claim.name} {claim.passed}: {claim.detail}\n")
    met_count = sum(claim.passed is True for claim in claims)
    goal = None if size.training.use_tiny_model else len(claims)  # random weights have no voice
    rows = [
        bounded_row(
            "blocking claims met", met_count, "claims", at_least=goal, peers={"of": len(claims)}
        )
    ]
    claims_by_name = {claim.name: claim for claim in claims}
    control = claims_by_name.get("learns_this_author")
    name, goal = "held-out perplexity, tuned / base", size.max_perplexity_ratio
    if evaluation.ratio_to_base is None:
        passages = f"{evaluation.passages} held-out passages"
        return [*rows, missing_row(name, "ratio", passages, goal=goal)]
    peers = {"tuned": evaluation.perplexity or 0.0, "of passages": evaluation.passages}
    rows.append(bounded_row(name, evaluation.ratio_to_base, "ratio", at_most=goal, peers=peers))
    if control is not None and control.value is not None:
        name = "the same, questions alone, own / another's"
        rows.append(bounded_row(name, control.value, "ratio"))
    return rows


def prepare_home(size: GateBenchmarkSize, folder: Path) -> Settings:
    """Create a home with the dataset, the weights, and an author with the size's recipe."""
    inputs = prepare_inputs(size.training)
    folder.mkdir(parents=True)
    for name in ("tables", "authors"):
        shutil.copytree(inputs.home.home / name, folder / name)
    for path in inputs.home.home.glob("state.sqlite*"):  # also SQLite's write-ahead log
        shutil.copy(path, folder)
    base = str(inputs.base) if size.training.use_tiny_model else EMBEDDED_BASE_MODEL
    os.environ["TWIN_BASE_MODEL"] = base  # also for the processes of the assets
    settings = load_settings(folder)
    link_weights(prepare_weights(), settings)
    recipe = load_recipe(DEFAULT_RECIPE).model_copy(update={"token_budget": size.token_count})
    if size.train_all_weights:
        recipe = recipe.model_copy(
            update={"lora": None, "preference": None, "learning_rate": 0.003, "max_epochs": 4}
        )
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"})), "utf-8")
    author = read_author(settings, size.author)
    write_author(settings, replace(author, recipe=str(path), consent="2020-01-01: a bench"))
    prepare_base_model(settings, report=lambda line: sys.stderr.write(f"{line}\n"))
    return settings


def run_assets(settings: Settings, *, with_gate: bool = True) -> Cost:
    """Run training, and by default the gate, in a separate process; return its cost."""
    options = () if with_gate else (TRAINING_ALONE,)
    return run_timed(
        [sys.executable, "-m", "tests.bench.gate.judged_candidate", *options],
        environment={"TWIN_HOME": str(settings.home)},
        log=settings.home / "log",
        name="training and gate",
        timeout_s=MAX_RUN_S,
    )


def _materialize() -> int:
    """Run the assets in the home `TWIN_HOME`; a refusal by the gate is a result, not a failure."""
    import dagster as dg

    from twin_assets.definitions import default_resources
    from twin_assets.evaluation.checkpoint_evaluation import checkpoint_evaluation
    from twin_assets.evaluation.evaluation_report import evaluation_report
    from twin_assets.training.checkpoints import fine_tuned_checkpoint, preference_tuned_checkpoint

    slug = only_author(load_settings())
    training = [fine_tuned_checkpoint, preference_tuned_checkpoint]

    is_training_alone = TRAINING_ALONE in sys.argv
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", [slug])
        result = dg.materialize(
            training
            if is_training_alone
            else [*training, checkpoint_evaluation, evaluation_report],
            partition_key=slug,
            instance=instance,
            resources=default_resources(),
            raise_on_error=False,
        )
    if is_training_alone:
        return 0 if result.success else 1
    return 0 if result.get_asset_check_evaluations() else 1


if __name__ == "__main__":
    sys.exit(_materialize())
