"""Test with real tables when the training inputs of an author change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.graph.instructions.conftest import (
    TWELVE_POSTS,
    FinishedRun,
    Graph,
    finished_run,
    graph,
    tables,
    twelve_posts,
)
from tests.graph.instructions.generated_posts import build_documents, store_documents
from tests.model_versions import build_manifest, build_version
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, load_recipe
from twin_assets.serving.training_inputs_resource import TrainingInputsResource
from twin_assets.training.fine_tuning import DATASET
from twin_assets.training.publishing import training_code_hash
from twin_resources.models.retrieval.question_rules import QuestionRule, save_rules
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.registry.moves import ModelVersion
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import Tables

__all__ = ["finished_run", "graph", "tables", "twelve_posts"]
BASE_MODEL = "made/tiny"


@pytest.fixture
def inputs(twelve_posts: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> TrainingInputsResource:
    """Return the training inputs of an author whose base model is prepared but never loaded."""
    monkeypatch.setenv("TWIN_BASE_MODEL", BASE_MODEL)
    monkeypatch.setenv("TWIN_MODEL_SERVER_URL", "http://127.0.0.1:1/v1")
    folder = load_settings().weights_dir / "made-tiny" / "r1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    record = {"schema": 1, "name": BASE_MODEL, "source": f"hub:{BASE_MODEL}", "folder": "."}
    (folder / "base_model.json").write_text(json.dumps({**record, "gguf": None, "revision": "r1"}))
    return TrainingInputsResource()


@pytest.fixture
def trained_version(inputs: TrainingInputsResource, tables: Tables) -> ModelVersion:
    """Create the version that a training run on the current tables would produce."""
    tables.tag(DATASET, "ada", "training-1")
    folder = Path(load_settings().checkpoints_dir / "ada" / "c1")
    folder.mkdir(parents=True)
    manifest = build_manifest(
        "ada",
        "c1",
        base={"name": BASE_MODEL, "revision": "r1", "folder": "/base", "gguf": None},
        template=DEFAULT_TEMPLATE.hash,
        dataset={"data_version": tables.data_version(DATASET, "ada"), "tag": "training-1"},
        recipe=load_recipe(DEFAULT_RECIPE).model_dump(),
        code=training_code_hash(),
    )
    manifests.write_manifest(folder, manifest)
    return build_version(checkpoint="c1", folder=str(folder), template=manifest.template)


@pytest.mark.long
def test_unchanged_inputs_equal_those_of_the_version(
    inputs: TrainingInputsResource, trained_version: ModelVersion
) -> None:
    assert inputs.read_current("ada") == inputs.read_for_version(trained_version)
    assert inputs.measure_growth(trained_version) == CorpusGrowth(new_posts=0, new_pairs=0)


def test_posts_outside_the_dataset_are_new(
    inputs: TrainingInputsResource, trained_version: ModelVersion, tables: Tables
) -> None:
    store_documents(tables, build_documents(range(14)))

    current = inputs.read_current("ada")

    assert current != inputs.read_for_version(trained_version)
    assert inputs.read_current("ada") == current
    assert inputs.measure_growth(trained_version) == CorpusGrowth(new_posts=2, new_pairs=0)

    # A passage that the author names makes a pair, and a declined question none.
    places = (("a document", "a chunk"), ("", ""))
    rules = [
        QuestionRule(f"trace {place}", "ada", "c", "Why?", "2099-01-01", *place) for place in places
    ]
    save_rules(tables.state, rules)
    assert inputs.measure_growth(trained_version) == CorpusGrowth(new_posts=2, new_pairs=1)


@pytest.mark.long
def test_posts_added_to_the_dataset_after_training_are_new(
    inputs: TrainingInputsResource, trained_version: ModelVersion, tables: Tables, graph: Graph
) -> None:
    store_documents(tables, build_documents(range(14)))
    graph.materialize()

    assert inputs.read_current("ada").dataset == tables.data_version(DATASET, "ada")
    assert inputs.measure_growth(trained_version) == CorpusGrowth(new_posts=2, new_pairs=0)


def test_a_deleted_post_changes_the_inputs_without_growth(
    inputs: TrainingInputsResource, trained_version: ModelVersion, tables: Tables
) -> None:
    store_documents(tables, build_documents(TWELVE_POSTS).head(11))

    assert inputs.read_current("ada") != inputs.read_for_version(trained_version)
    assert inputs.measure_growth(trained_version).new_posts == 0


def test_another_recipe_changes_the_inputs(
    inputs: TrainingInputsResource, trained_version: ModelVersion, tmp_path: Path
) -> None:
    settings = load_settings()
    recipe = load_recipe(DEFAULT_RECIPE).model_dump(mode="json") | {"seed": 99}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    author_file = settings.authors_dir / "ada.toml"
    author_file.write_text(author_file.read_text() + f'recipe = "{tmp_path}/mine.yaml"\n')

    trained_inputs = inputs.read_for_version(trained_version)

    assert trained_inputs is not None
    assert inputs.read_current("ada").dataset == trained_inputs.dataset
    assert inputs.read_current("ada").recipe != trained_inputs.recipe


def test_a_version_without_a_manifest_has_no_known_inputs(
    inputs: TrainingInputsResource, trained_version: ModelVersion
) -> None:
    (Path(trained_version.folder) / manifests.MANIFEST_FILE).unlink()

    assert inputs.read_for_version(trained_version) is None
