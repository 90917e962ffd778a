"""Provide training jobs on a tiny model, whose real ranks take only seconds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.conftest import with_base
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.live.training.imported_process import ImportedProcess
from tests.materialization import create_instance
from tests.prepared_base import base_folder
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, load_recipe
from twin_assets.training.fine_tuning import build_training_job
from twin_resources.authors import Author, write_author
from twin_resources.models.training_launcher import TrainingJob, rank_processes
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import prepare_base_model


@pytest.fixture(scope="session")
def base_model() -> Path:
    return base_folder()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), base_model, vocabulary=FEW_TOKENS)


@dataclass
class ImportedProcesses:
    """Imported processes by the use of DeepSpeed and the number of threads per rank."""

    folder: Path
    processes: dict[tuple[bool, str], ImportedProcess] = field(
        default_factory=dict[tuple[bool, str], ImportedProcess]
    )

    def get(self, job: TrainingJob, environment: dict[str, str]) -> ImportedProcess:
        key = bool(job.deepspeed), environment["OMP_NUM_THREADS"]
        if key not in self.processes:
            folder = self.folder / str(len(self.processes))
            folder.mkdir()
            self.processes[key] = ImportedProcess(folder)
        return self.processes[key]


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportedProcesses]:
    processes = ImportedProcesses(tmp_path_factory.mktemp("imported"))
    yield processes
    for process in processes.processes.values():
        process.end()


@contextmanager
def fork_trainings(imported: ImportedProcesses) -> Generator[None]:
    """Fork training runs from an imported process while the context is open."""
    original_build = rank_processes.build_command

    def command(job: TrainingJob, *, may_fork: bool = True) -> list[str]:
        words = original_build(job, may_fork=may_fork)
        if words[2] not in {rank_processes.FORKED_RANKS_MODULE, job.module}:
            return words  # the launcher of accelerate or torch
        environment = rank_processes.build_environment(job, "of no attempt", may_fork=may_fork)
        return imported.get(job, environment).build_command(words[2:], environment)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rank_processes, "build_command", command)
        yield


@pytest.fixture
def quick_starts(imported: ImportedProcesses) -> Iterator[None]:
    """Skip the imports of each training run in tests of its results (`fork_trainings`)."""
    with fork_trainings(imported):
        yield


def make_samples(count: int = 60) -> list[dict[str, Any]]:
    """Return rows of samples from seven documents, with texts of different lengths."""
    return [
        {
            "sample_id": f"sample-{index:03}",
            "document_id": f"document-{index % 7}",
            "messages": [
                {"role": "system", "content": "You answer readers."},
                {"role": "user", "content": f"\nQuestion {index}: " + "word " * (index % 9 * 5)},
                {
                    "role": "assistant",
                    "content": "Numbers: "
                    + " ".join(
                        str((index * 7 + position) % 31) for position in range(12 + index % 30)
                    ),
                },
            ],
        }
        for index in range(count)
    ]


def make_pairs(count: int = 60) -> list[dict[str, Any]]:
    """Return the samples as pairs with a different rejected answer each."""
    return [
        row
        | {
            "rejected": "Words: " + "nothing of the kind " * (1 + index % 6),
            "rejected_ended": index % 3 > 0,
        }
        for index, row in enumerate(make_samples(count))
    ]


@pytest.fixture
def home(home: Settings, process_logs: Path) -> Settings:
    """Return a fresh home whose logs are in the folder that a failed live test prints."""
    home.logs_dir.symlink_to(process_logs)
    return home


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with create_instance("ann") as instance:
        yield instance


@pytest.fixture
def tables(home: Settings) -> Iterator[Tables]:
    state = open_home_state(home)
    yield Tables(home.tables_base, state=state)
    state.close()


@pytest.fixture
def write_author_with_recipe(
    home: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Author, Settings]]:
    """Return a function that writes an author whose recipe is `mine.yaml`.

    The function takes the recipe's text and prepares the base model. With `single_rank`, which is
    the default, training has one rank.
    """

    def write(
        recipe: str, *, single_rank: bool = True, base: Path = tiny_model
    ) -> tuple[Author, Settings]:
        if single_rank:
            monkeypatch.setenv("TWIN_TRAIN_RANKS", "1")
        settings = with_base(load_settings(home.home), base, monkeypatch)
        file = tmp_path / "mine.yaml"
        file.write_text(recipe, encoding="utf-8")
        author = Author(slug="ann", name="Ann", recipe=str(file))
        write_author(settings, author)
        prepare_base_model(settings, str(base))
        return author, settings

    return write


# A step of the tiny model takes 30 ms; enough steps must follow the step that a test reacts to.
LONG_ENOUGH = {"token_budget": 12_000}


def write_training_job(
    home: Settings,
    base: Path,
    name: str,
    *,
    samples: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> TrainingJob:
    """Write a job of about nine steps into the home and return its description for the launcher.

    With `adapter`, the folder of an adapter, the job tunes it on preferences.
    """
    values: dict[str, Any] = (
        UNMODIFIED_SAMPLES | {"token_budget": 4000, "checkpoint_every_steps": 3} | changes
    )
    ranks = values.pop("ranks", 2)
    adapter = values.pop("adapter", None)
    job = Job(
        folder=home.work_dir / name,
        base_name="tiny",
        base_folder=base,
        ranks=ranks,
        recipe=load_recipe("smollm2-135m-cpu").model_copy(update=values),
        stage="dpo" if adapter else "sft",
        initial_adapter=adapter,
    )
    write_job(job)
    write_rows(job.samples_path, samples or make_samples())
    return build_training_job(job, name=name)


@pytest.fixture
def make_job(home: Settings, tiny_model: Path) -> Callable[..., TrainingJob]:
    """Return `write_training_job` with the fresh home and the tiny model."""
    return partial(write_training_job, home, tiny_model)
