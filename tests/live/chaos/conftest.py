"""The home that the tests in this folder share, and the seed of their random choices.

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
from tests.prepared_embedder import link_weights, prepare_weights
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior
from tests.small_disk import small_disk
from twin_resources.authors import Author, write_author
from twin_resources.processes.stack import stop_stack
from twin_resources.settings import load_settings

FIRST_POST_COUNT = 12
LARGE_DISK_MB = 1000  # starting the stack requires 700
INHERITED_VARIABLES = {"TWIN_SHARED_DATA", "TWIN_WHEELS_DIR", "TWIN_TEST_LOGS"}


@pytest.fixture(scope="package")
def seed() -> int:
    value = int(os.environ.get("TWIN_CHAOS_SEED", "37"))
    sys.stderr.write(f"\nTWIN_CHAOS_SEED={value}\n")
    return value


@pytest.fixture(scope="package")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return make_tiny_model(folder, base_folder(), vocabulary=FEW_TOKENS)


def chaos_environment(folder: Path, provider_url: str) -> Mapping[str, str]:
    """Return the environment of commands, with the simulated provider as the paid model."""
    port_names = ("GATEWAY", "DAGSTER", "TRACES", "CHAT")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED_VARIABLES or not name.startswith(("TWIN_", "LANGFUSE_"))
    }
    return {
        **inherited,
        **{f"TWIN_{name}_PORT": str(free_port()) for name in port_names},
        "TWIN_HOME": str(folder),
        "OPENAI_BASE_URL": provider_url,
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
    """Create a home with an author, the embedder and posts, but without a stack.

    The home is on a separate disk if one can be mounted.
    """
    folder = tmp_path_factory.mktemp("chaos")
    weights, posts, bill = folder / "weights", folder / "posts", folder / "bill.jsonl"
    provider = PaidProvider(Behavior(), bill)
    provider.start()
    with ExitStack() as stack:
        stack.callback(provider.end)
        disk = None
        with suppress(pytest.skip.Exception):  # only the test of a full disk needs a separate disk
            disk = stack.enter_context(small_disk(folder / "disk", megabytes=LARGE_DISK_MB))
        home_folder = (disk.path if disk else folder) / "home"
        for path in (home_folder, weights, posts):
            path.mkdir(mode=0o700)
        environment = chaos_environment(home_folder, provider.url)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = load_settings(home_folder).model_copy(update={"base_model": str(tiny_model)})
        patch.undo()
        settings.weights_dir.symlink_to(weights, target_is_directory=True)
        link_weights(prepare_weights(), settings)
        consent = "2020-01-01: the test's own author"
        write_author(
            settings, Author(SLUG, NAME, sources=(str(posts),), max_tokens=12, consent=consent)
        )
        home = ChaosHome(settings, posts, environment, bill, random.Random(seed), disk)
        for _ in range(FIRST_POST_COUNT):
            home.write_post()
        try:
            yield home
        finally:
            stop_stack(home.settings)
