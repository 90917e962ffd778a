"""Test publishing and serving a fully trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from tests.greedy_answers import request_answers
from tests.live.training.test_checkpoint_assets import RECIPE as ADAPTER_RECIPE
from tests.live.training.test_checkpoint_assets import materialize, write_dataset
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, PARITY_MEAN
from twin_assets.evaluation.served import parity
from twin_resources import dagster_resources
from twin_resources.authors import Author
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("quick_starts")]

PROMPTS = [[{"role": "user", "content": f"Question {n}: why {n * 37}?"}] for n in range(4)]
# one process; `test_zero_stages.py` trains all weights on two ranks
RECIPE = ADAPTER_RECIPE.partition("lora:")[0].replace("cpu-zero2", "cpu-single") + "lora: null\n"


@pytest.fixture
def ann(write_author_with_recipe: Callable[..., tuple[Author, Settings]]) -> Settings:
    """Return a home with an author whose recipe trains all weights of a tiny base model."""
    _, settings = write_author_with_recipe(RECIPE)
    write_dataset(settings, count=40)
    return settings


def test_a_full_model_is_served_as_trained(ann: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", ["ann"])
        materialize(ann, instance)

    registry = dagster_resources.RegistryResource(home=str(ann.home)).registry()
    (version,) = registry.versions("ann")
    folder = Path(version.folder)
    manifest = read_manifest(folder)
    assert version.adapter_gguf is None
    assert version.base_gguf == str(folder / "model.gguf")
    assert version.base_gguf != manifest.base["gguf"]
    assert not (folder / "adapter").exists()
    weights = find_weights(folder, base=version.base, base_gguf=version.base_gguf)
    reference = parity.ReferenceModel(weights.model, weights.adapter)
    with ModelServers(ann).serve(version.base_gguf, version.adapter_gguf, alias="ann/v1") as server:
        answers = request_answers(server, PROMPTS, max_tokens=8)
        repeated = request_answers(server, PROMPTS, max_tokens=8)

    result = parity.compare(reference, PROMPTS, answers, repeated)
    assert result is not None
    assert result.mean < PARITY_MEAN
    assert result.largest < PARITY_LARGEST
    untrained = parity.compare(
        parity.ReferenceModel(Path(version.base), None), PROMPTS, answers, repeated
    )
    assert untrained is not None
    assert untrained.mean > 3 * result.mean  # the trained model answers, not the base
