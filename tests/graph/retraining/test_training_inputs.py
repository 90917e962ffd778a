"""The inputs of a training stay the same until posts, recipe or base change (real tables)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.graph.instructions.conftest import (
    TWELVE,
    Finished,
    Graph,
    finished,
    graph,
    tables,
    twelve,
)
from tests.graph.instructions.made_up_posts import clean, documents
from tests.registered import manifest_of, model_version
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, load_recipe
from twin_assets.serving.training_inputs_resource import TrainingInputsResource
from twin_assets.training.fine_tuning import DATASET
from twin_assets.training.publishing import training_code_hash
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.registry.moves import ModelVersion
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import Tables

__all__ = ["finished", "graph", "tables", "twelve"]
BASE = "made/tiny"


@pytest.fixture
def inputs(twelve: Finished, monkeypatch: pytest.MonkeyPatch) -> TrainingInputsResource:
    """The inputs of an author with a prepared base model, which is never loaded."""
    monkeypatch.setenv("TWIN_BASE_MODEL", BASE)
    monkeypatch.setenv("TWIN_MODEL_SERVER_URL", "http://127.0.0.1:1/v1")
    folder = load_settings().weights_dir / "made-tiny" / "r1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    record = {"schema": 1, "name": BASE, "source": f"hub:{BASE}", "folder": "."}
    (folder / "base_model.json").write_text(json.dumps({**record, "gguf": None, "revision": "r1"}))
    return TrainingInputsResource()


@pytest.fixture
def trained(inputs: TrainingInputsResource, tables: Tables) -> ModelVersion:
    """Create the version that a training on the current tables would give."""
    tables.tag(DATASET, "ada", "training-1")
    folder = Path(load_settings().checkpoints_dir / "ada" / "c1")
    folder.mkdir(parents=True)
    manifest = manifest_of(
        "ada",
        "c1",
        base={"name": BASE, "revision": "r1", "folder": "/base", "gguf": None},
        template=DEFAULT_TEMPLATE.hash,
        dataset={"data_version": tables.data_version(DATASET, "ada"), "tag": "training-1"},
        recipe=load_recipe(DEFAULT_RECIPE).model_dump(),
        code=training_code_hash(),
    )
    manifests.write_manifest(folder, manifest)
    return model_version(checkpoint="c1", folder=str(folder), template=manifest.template)


def test_unchanged_inputs_equal_those_of_the_version(
    inputs: TrainingInputsResource, trained: ModelVersion
) -> None:
    assert inputs.current("ada") == inputs.for_version(trained)
    assert inputs.growth(trained) == CorpusGrowth(new_posts=0, new_pairs=0)


def test_posts_outside_the_dataset_are_new(
    inputs: TrainingInputsResource, trained: ModelVersion, tables: Tables
) -> None:
    clean(tables, documents(range(14)))

    current = inputs.current("ada")

    assert current != inputs.for_version(trained)
    assert inputs.current("ada") == current
    assert inputs.growth(trained) == CorpusGrowth(new_posts=2, new_pairs=0)


def test_posts_added_to_the_dataset_after_the_training_are_new(
    inputs: TrainingInputsResource, trained: ModelVersion, tables: Tables, graph: Graph
) -> None:
    clean(tables, documents(range(14)))
    graph.materialize()

    assert inputs.current("ada").dataset == tables.data_version(DATASET, "ada")
    assert inputs.growth(trained) == CorpusGrowth(new_posts=2, new_pairs=0)


def test_a_deleted_post_changes_the_inputs_without_growth(
    inputs: TrainingInputsResource, trained: ModelVersion, tables: Tables
) -> None:
    clean(tables, documents(TWELVE).head(11))

    assert inputs.current("ada") != inputs.for_version(trained)
    assert inputs.growth(trained).new_posts == 0


def test_another_recipe_changes_the_inputs(
    inputs: TrainingInputsResource, trained: ModelVersion, tmp_path: Path
) -> None:
    settings = load_settings()
    recipe = load_recipe(DEFAULT_RECIPE).model_dump(mode="json") | {"seed": 99}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    path = settings.authors_dir / "ada.toml"
    path.write_text(path.read_text() + f'recipe = "{tmp_path}/mine.yaml"\n')

    trained_inputs = inputs.for_version(trained)

    assert trained_inputs is not None
    assert inputs.current("ada").dataset == trained_inputs.dataset
    assert inputs.current("ada").recipe != trained_inputs.recipe


def test_a_version_without_a_manifest_is_unknown(
    inputs: TrainingInputsResource, trained: ModelVersion
) -> None:
    (Path(trained.folder) / manifests.MANIFEST_FILE).unlink()

    assert inputs.for_version(trained) is None
