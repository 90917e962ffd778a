"""The home that the tests of this folder share, and the seed of their random choices.

Scope: creating the home. Out of scope: the state that it must keep (`chaos_home.py`).

TWIN_CHAOS_SEED sets the seed, which is printed so that a failed run can be repeated.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.free_ports import free_port
from tests.live.chaos.chaos_home import NAME, SLUG, ChaosHome
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.prepared_base import base_folder
from tests.prepared_embedder import lend_weights, prepare_weights
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behaviour
from tests.small_disk import small_disk
from twin_resources.authors import Author, write_author
from twin_resources.processes.stack import stop_stack
from twin_resources.settings import load_settings

FIRST_POSTS = 12
LARGE_DISK_MB = 1000  # a start requires 700
KEPT_VARIABLES = {"TWIN_SHARED_DATA", "TWIN_WHEELS_DIR", "TWIN_TEST_LOGS"}


@pytest.fixture(scope="package")
def seed() -> int:
    chosen = int(os.environ.get("TWIN_CHAOS_SEED", "37"))
    sys.stderr.write(f"\nTWIN_CHAOS_SEED={chosen}\n")
    return chosen


@pytest.fixture(scope="package")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return make_tiny_model(folder, base_folder(), vocabulary=FEW_TOKENS)


def make_home(
    folder: Path,
    *,
    seed: int,
    tiny_model: Path,
    weights: Path,
    posts: Path,
    provider: PaidProvider,
    bill: Path,
) -> ChaosHome:
    """Create a home with an author and the embedder, and posts in a folder beside it.

    Args:
        folder: of the home; it is created.
        weights: a folder outside the home for prepared weights.
        provider, bill: of the paid model.
    """
    environment = chaos_environment(folder, provider.url)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = load_settings(folder)
    settings = settings.model_copy(update={"base_model": str(tiny_model)})
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    weights.mkdir(parents=True, exist_ok=True)
    if not settings.weights_dir.exists():
        settings.weights_dir.symlink_to(weights, target_is_directory=True)
    lend_weights(prepare_weights(), settings)
    posts.mkdir(parents=True)
    author = Author(
        SLUG,
        NAME,
        sources=(str(posts),),
        max_tokens=12,
        consent="2020-01-01: the test's own author",
    )
    write_author(settings, author)
    home = ChaosHome(settings, posts, environment, bill, random.Random(seed))
    for _ in range(FIRST_POSTS):
        home.write_post()
    return home


def chaos_environment(folder: Path, provider: str) -> Mapping[str, str]:
    """Return the environment of a command, with the simulated provider as the paid model."""
    names = ("GATEWAY", "DAGSTER", "TRACES", "CHAT")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or not name.startswith(("TWIN_", "LANGFUSE_"))
    }
    return {
        **kept,
        **{f"TWIN_{name}_PORT": str(free_port()) for name in names},
        "TWIN_HOME": str(folder),
        "OPENAI_BASE_URL": provider,
        "OPENAI_API_KEY": "none-the-provider-is-simulated",
        "TWIN_PAID_MODEL": "openai/gpt-4o-mini",
        "TWIN_PAID_BUDGET_PER_DAY": "5",
        "TWIN_LABEL_BUDGET_PER_MONTH": "0.05",
        "TWIN_QUALITY_MARGIN": "0.2",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="package")
def chaos(
    tmp_path_factory: pytest.TempPathFactory, seed: int, tiny_model: Path
) -> Iterator[ChaosHome]:
    """Create a home with posts, without a stack, on a separate disk if one can be mounted."""
    folder = tmp_path_factory.mktemp("chaos")
    provider = PaidProvider(Behaviour(), folder / "bill.jsonl")
    provider.start()
    with ExitStack() as stack:
        stack.callback(provider.end)
        disk = None
        with suppress(pytest.skip.Exception):  # only the test of a full disk needs a mount
            disk = stack.enter_context(small_disk(folder / "disk", megabytes=LARGE_DISK_MB))
        home = make_home(
            (disk.path if disk else folder) / "home",
            seed=seed,
            tiny_model=tiny_model,
            weights=folder / "weights",
            posts=folder / "posts",
            provider=provider,
            bill=folder / "bill.jsonl",
        )
        home.disk = disk
        try:
            yield home
        finally:
            stop_stack(home.settings)
