"""What Dagster, Pipes and the launcher cost beside the bare launcher, for the same training.

Scope: the asset `fine_tuned_checkpoint` as `dagster asset materialize` runs it (definitions,
tables, processes, progress, manifest, GGUF adapter) against the command alone, in turns. The model
is tiny, so that the difference is not lost in the training; the number of steps, each of which is
reported, is that of a longer one.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from tests.bench.retraining.rows import Row
from tests.bench.training.forms import Form
from tests.bench.training.material import Material, author_in, recipe
from tests.bench.training.processes import Cost, bare_command, timed
from tests.bench.training.rows import row
from tests.live.tiny_model import make_tiny_model
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import Recipe
from twin_resources.authors import read_author, write_author
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import prepare_base_model

RUN_S = 300.0  # the run that the goal speaks of
SHARE = 0.05


def overhead(form: Form, material: Material, scratch: Path) -> list[Row]:
    tiny = make_tiny_model(scratch / "tiny", material.base)
    tokens = form.overhead_steps * material.tokens * 4 // len(material.train)
    shape = recipe(token_budget=tokens, max_epochs=100)
    bare: list[Cost] = []
    whole: list[Cost] = []
    for turn in range(form.overhead_rounds):
        home = _home(material.home, scratch / f"home-{turn}", tiny, shape)
        job = _job(home, scratch / f"bare-{turn}", tiny, shape)
        command, environment = bare_command(job)
        log, place = job.folder / "log", f"turn {turn + 1} of {form.overhead_rounds}"
        bare.append(timed(command, environment=environment, log=log, name=f"{place}, bare"))
        whole.append(_through_dagster(home, name=f"{place}, through Dagster"))
        sys.stderr.write(f"{place}: bare {bare[-1]}, through Dagster {whole[-1]}\n")
        shutil.rmtree(home.home)
    turns = list(zip(bare, whole, strict=True))
    wall = statistics.median(other.wall_s - alone.wall_s for alone, other in turns)
    cpu = statistics.median(other.cpu_s - alone.cpu_s for alone, other in turns)
    costs = {
        "bare, s": statistics.median(cost.wall_s for cost in bare),
        "through Dagster, s": statistics.median(cost.wall_s for cost in whole),
        "more CPU s": cpu,
    }
    name = f"overhead of Dagster, Pipes and launcher, {form.overhead_steps} steps, / {RUN_S:.0f} s"
    return [row(name, wall / RUN_S, "share", at_most=SHARE, peers=costs)]


def _home(source: Settings, folder: Path, base: Path, shape: Recipe) -> Settings:
    """A home with the dataset, whose author trains the tiny model."""
    folder.mkdir()
    for name in ("tables", "authors"):
        shutil.copytree(source.home / name, folder / name)
    for path in source.home.glob("state.sqlite*"):  # with the log that is not yet in it
        shutil.copy(path, folder)
    os.environ["TWIN_BASE_MODEL"] = str(base)  # for the processes of the assets too
    settings = load_settings(folder)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(shape.model_dump(mode="json", exclude={"name"})), "utf-8")
    author = read_author(settings, author_in(settings))
    write_author(settings, replace(author, recipe=str(path)))
    prepare_base_model(settings, str(base))
    return settings


def _job(home: Settings, folder: Path, base: Path, shape: Recipe) -> Job:
    """The job that the asset will make."""
    tables = Tables(home.tables_base, state=State.open(home.state_address))
    columns = ["sample_id", "document_id", "messages"]
    rows = tables.read(
        "instruction_dataset", author_in(home), columns=columns, where="split = 'train'"
    )
    job = Job(folder, "bench", base, home.train_ranks, shape)
    write_job(job)
    write_rows(job.samples, rows.iter_rows(named=True))
    return job


def _through_dagster(home: Settings, *, name: str) -> Cost:
    dagster = home.home / "dagster"
    dagster.mkdir(exist_ok=True)
    (dagster / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    environment = {"TWIN_HOME": str(home.home), "DAGSTER_HOME": str(dagster)}
    slug = author_in(home)
    _add_partition(dagster, slug)
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize"]
    command += ["-m", "twin_assets.definitions", "--select", "fine_tuned_checkpoint"]
    command += ["--partition", slug]
    return timed(command, environment=environment, log=home.home / "log", name=name)


def _add_partition(dagster_home: Path, slug: str) -> None:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.add_dynamic_partitions("authors", [slug])
