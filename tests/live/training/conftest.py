"""A training job on a tiny model: real ranks, seconds instead of minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.live.tiny_model import make_tiny_model
from tests.prepared_base import base_folder
from twin_assets.checkpoints.job import Job, write_job, write_rows
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.fine_tuning import hand_over_hashes, launched
from twin_resources.authors import Author, write_author
from twin_resources.models.training_launcher import TrainingJob
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import BaseModel, prepare_base_model, revision_of


@pytest.fixture(scope="session")
def base_model() -> Path:
    return base_folder()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), base_model)


def rows(count: int = 60) -> list[dict[str, Any]]:
    """Samples of 7 documents: questions and answers of varied length."""
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
                    + " ".join(str((index * 7 + place) % 31) for place in range(12 + index % 30)),
                },
            ],
        }
        for index in range(count)
    ]


def pair_rows(count: int = 60) -> list[dict[str, Any]]:
    """The samples as pairs: against each answer one that says something else."""
    return [
        row
        | {
            "rejected": "Words: " + "nothing of the kind " * (1 + index % 6),
            "rejected_ended": index % 3 > 0,
        }
        for index, row in enumerate(rows(count))
    ]


@pytest.fixture
def home(home: Settings, process_logs: Path) -> Settings:
    """The fresh home, with its logs where a failed live test names them."""
    home.logs_dir.symlink_to(process_logs)
    return home


@pytest.fixture
def tables(home: Settings) -> Iterator[Tables]:
    state = State.open(home.state_address)
    yield Tables(home.tables_base, state=state)
    state.close()


@pytest.fixture
def author_by(
    home: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Author, Settings]]:
    """An author with a recipe of one's own, for one rank, whose base model is prepared; given the
    recipe's text, which is the file `mine.yaml`."""

    def written(recipe: str) -> tuple[Author, Settings]:
        monkeypatch.setenv("TWIN_TRAIN_RANKS", "1")
        settings = load_settings(home.home)
        file = tmp_path / "mine.yaml"
        file.write_text(recipe, encoding="utf-8")
        author = Author(slug="ann", name="Ann", base_model=str(tiny_model), recipe=str(file))
        write_author(settings, author)
        prepare_base_model(settings, str(tiny_model))
        return author, settings

    return written


def written_job(
    home: Settings,
    base: Path,
    name: str,
    *,
    samples: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> TrainingJob:
    """Write a job of about nine steps into the home and return how it is launched.

    With `start`, an adapter's folder, it is a preference tuning.
    """
    values = {"token_budget": 4000, "checkpoint_every_steps": 3} | changes
    ranks = values.pop("ranks", 2)
    start = values.pop("start", None)
    job = Job(
        folder=home.work_dir / name,
        base_name="tiny",
        base_folder=base,
        ranks=ranks,
        recipe=load_recipe("smollm2-135m-cpu").model_copy(update=values),
        stage="dpo" if start else "sft",
        start=start,
    )
    write_job(job)
    hand_over_hashes(job, BaseModel("tiny", folder=base, gguf=None, revision=revision_of(base)))
    write_rows(job.samples, samples or rows())
    return launched(job, name=name)


@pytest.fixture
def make_job(home: Settings, tiny_model: Path) -> Callable[..., TrainingJob]:
    """`written_job` of the fresh home and the tiny model."""
    return partial(written_job, home, tiny_model)
