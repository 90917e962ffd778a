"""Train good and broken candidates from the embedded base model, for a bundled author.

Scope: their data, training and verdicts, with the product's own functions.
Out of scope: which claim refuses which candidate (`test_broken_candidates.py`).

A training run and a gate each take minutes on one core, so everything is kept in `build/`, in a
home named by the hash of the relevant code. An interrupted run continues there, and all candidates
share the base model's answers.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tests.code_hash import ROOT, code_hash
from tests.live.evaluation.conftest import CHUNK_SCHEMA
from tests.live.evaluation.two_stage_gate import SHORT_GATE_SETTINGS, run_two_stage_gate
from tests.model_versions import register_version
from tests.prepared_embedder import link_weights
from tests.sample_schema import SAMPLE_SCHEMA
from tests.stored_rows import store_rows
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.checkpoints.recipe import Launch, Recipe, load_launch, load_recipe
from twin_assets.evaluation.judgement import JudgingSetup
from twin_assets.training.fine_tuning import FineTunedCheckpoint, fine_tune
from twin_resources.authors import Author, write_author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import prepare_base_model

HOMES_FOLDER = ROOT / "build" / "broken-candidates"
SAMPLES = ROOT / "deploy" / "samples"
CODE_PATHS = (
    *("twin_assets/corpus", "twin_assets/knowledge", "twin_assets/instructions"),
    *(
        "twin_assets/training",
        "twin_assets/evaluation",
        "twin_assets/evaluation/judging/judge_material.py",
    ),
    *(
        "twin_resources/quality/judges",
        "twin_resources/models/retrieval",
        "twin_resources/models/serving",
        "twin_resources/prompt",
    ),
    "deploy/samples",
)
AUTHOR, OTHER_AUTHOR = "mara-lindqvist", "tomas-okafor"
NAMES = {AUTHOR: "Mara Lindqvist", OTHER_AUTHOR: "Tomas Okafor"}
RECIPE = "smollm2-135m-demo"
CONTEXT_TOKENS = 256  # passages of a prompt: two full chunks, as in the demo


@dataclass(frozen=True)
class CandidateSpec:
    """The training of a candidate and the data that the gate uses.

    Attributes:
        select_training_samples: function that selects the training samples from both authors'
            samples.
        token_count: number of training tokens.
        recipe_changes: other changes to the demo's recipe.
        fault: a fault from `twin_assets/training/fault_injection.py`; empty for none.
        select_gate_samples: function that selects, from the author's samples, those that the gate
            uses.
    """

    select_training_samples: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame] = (
        lambda own, _other: own
    )
    token_count: int = 12_000
    recipe_changes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: str = ""
    select_gate_samples: Callable[[pl.DataFrame], pl.DataFrame] = lambda own: own


@dataclass(frozen=True)
class CandidateHome:
    """The home in `build/`: prepared weights, tables and registry."""

    settings: Settings
    tables: Tables
    registry: Registry

    def judge(self, candidate: CandidateSpec) -> dict[str, GateClaim]:
        """Train the candidate unless it exists, judge it, and return the claims by name."""
        own, other = self._read_samples(AUTHOR), self._read_samples(OTHER_AUTHOR)
        self._store(
            "instruction_dataset",
            candidate.select_training_samples(own, other),
            SAMPLE_SCHEMA,
            key="sample_id",
        )
        tuned = self._train(candidate)
        with tempfile.TemporaryDirectory(dir=self.settings.home) as folder:
            # a separate registry, because a good candidate would be the incumbent of later ones
            state = State.open(f"sqlite:///{folder}/state.sqlite")
            registry = Registry(state, policy_path=Path(folder) / "policy.json")
            return replace(self, registry=registry)._judge_trained(candidate, tuned, own)

    def _judge_trained(
        self, candidate: CandidateSpec, tuned: FineTunedCheckpoint, own: pl.DataFrame
    ) -> dict[str, GateClaim]:
        register_candidate(tuned, AUTHOR, self.settings, self.registry)
        self._store(
            "instruction_dataset",
            candidate.select_gate_samples(own),
            SAMPLE_SCHEMA,
            key="sample_id",
        )
        return run_two_stage_gate(self._build_judging_setup())

    def _train(self, candidate: CandidateSpec) -> FineTunedCheckpoint:
        # on a busy machine, two threads wait for each other: 26 tokens/s instead of at least 80
        launch = load_launch("cpu-single").model_copy(update={"threads_per_rank": 1})
        changes = {
            "launch": str(self._write_yaml("launch", launch)),
            "token_budget": candidate.token_count,
        }
        recipe = load_recipe(RECIPE).model_copy(update=changes | dict(candidate.recipe_changes))
        path = self._write_yaml("recipe", recipe)
        return fine_tune(
            Author(
                AUTHOR, NAMES[AUTHOR], recipe=str(path), consent="2020-01-01: the test's own author"
            ),
            settings=self.settings,
            tables=self.tables,
            launcher=LocalLauncher(self.settings),
            spoil=candidate.fault,
        )

    def _write_yaml(self, name: str, values: Recipe | Launch) -> Path:
        path = self.settings.home / f"{name}.yaml"
        document = values.model_dump(mode="json", exclude={"name"})
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    def _build_judging_setup(self) -> JudgingSetup:
        return JudgingSetup(
            Author(AUTHOR, NAMES[AUTHOR]),
            self.settings.model_copy(update=SHORT_GATE_SETTINGS),
            self.tables,
            self.registry,
            ModelServers(self.settings),
            lambda: load_embedder(self.settings),
            print,
        )

    def _read_samples(self, author: str) -> pl.DataFrame:
        return pl.read_parquet(self.settings.home / f"{author}.samples.parquet")

    def _store(
        self, asset: str, rows: pl.DataFrame, schema: Mapping[str, Any], *, key: str
    ) -> None:
        store_rows(self.tables, asset, AUTHOR, rows.select(list(schema)), key=key, schema=schema)

    def copy_data(self, source_tables: Tables) -> None:
        """Copy both authors' samples and the author's chunks from other tables."""
        for author in NAMES:
            rows = source_tables.read("instruction_dataset", author).filter(
                pl.col("split").is_in(["train", "held_out"])
            )
            columns = [pl.col(name).cast(dtype) for name, dtype in SAMPLE_SCHEMA.items()]
            path = self.settings.home / f"{author}.samples.parquet"
            rows.select(columns).sort("sample_id").write_parquet(path)
        chunks = source_tables.read("document_chunks", AUTHOR)
        self._store("document_chunks", chunks, CHUNK_SCHEMA, key="chunk_id")


def register_candidate(
    tuned: FineTunedCheckpoint, author: str, settings: Settings, registry: Registry
) -> None:
    """Register a checkpoint as the candidate, as the asset `preference_tuned_checkpoint` does."""
    manifest = tuned.manifest
    base, base_gguf = manifest.base["folder"], manifest.base["gguf"]
    weights = find_weights(tuned.folder, base=base, base_gguf=base_gguf)
    values = {"checkpoint": manifest.checkpoint, "folder": str(tuned.folder)}
    manifests.write_pointer(settings.checkpoints_dir / author, "candidate", values)
    register_version(
        registry,
        author,
        manifest.checkpoint,
        folder=str(tuned.folder),
        adapter_gguf=weights.adapter_gguf,
        base=base,
        base_gguf=weights.model_gguf,
        template=manifest.template,
        dataset_version=manifest.dataset["data_version"],
    )


def replace_name(samples: pl.DataFrame, name: str, new_name: str) -> pl.DataFrame:
    """Return the samples with another author's name in their messages."""
    conversations = [
        [message | {"content": message["content"].replace(name, new_name)} for message in messages]
        for messages in samples["messages"].to_list()
    ]
    return samples.with_columns(
        pl.Series("messages", conversations, dtype=samples.schema["messages"])
    )


def keep_five_posts(own: pl.DataFrame, _other: pl.DataFrame) -> pl.DataFrame:
    """Return one passage from each of five posts, in prompts without context."""
    rows = own.filter(pl.col("split") == "train").unique(
        "document_id", keep="first", maintain_order=True
    )
    plain_messages = [
        [messages[0], {"role": "user", "content": text}, messages[-1]]
        for messages, question in rows.head(5).select("messages", "question").iter_rows()
        for text in [DEFAULT_TEMPLATE.bare_question.format(question=question)]
    ]
    return rows.head(5).with_columns(
        pl.Series("messages", plain_messages, dtype=own.schema["messages"])
    )


def move_held_out_to_training(own: pl.DataFrame, _other: pl.DataFrame) -> pl.DataFrame:
    """Return the samples with the held-out documents as training data."""
    unchanged = ("left_out", "general")
    new_splits = {"held_out": "train", "train": "left_out"} | {name: name for name in unchanged}
    return own.with_columns(pl.col("split").replace_strict(new_splits))


def open_candidate_home(
    weights: Path, *, set_variable: Callable[[str, str], None]
) -> CandidateHome:
    """Open the home in `build/`, and create it first if it is missing or incomplete.

    Args:
        weights: folder with the prepared embedder and the wheels.
        set_variable: function that sets an environment variable during the test.
    """
    folder = HOMES_FOLDER / f"home-{code_hash(CODE_PATHS)}"
    set_variable("TWIN_HOME", str(folder))
    set_variable("TWIN_TRAIN_RANKS", "1")
    complete = folder / "complete.json"
    if not complete.is_file():
        shutil.rmtree(HOMES_FOLDER, ignore_errors=True)
        folder.mkdir(parents=True)
    home = _open_home(load_settings())
    if not complete.is_file():
        link_weights(weights, home.settings)
        prepare_base_model(home.settings)
        _import_samples(folder / "imported", set_variable)
        imported = load_settings(folder / "imported")
        home.copy_data(Tables(imported.tables_base, state=open_home_state(imported)))
        write_author(
            home.settings,
            Author(AUTHOR, NAMES[AUTHOR], consent="2020-01-01: the test's own author"),
        )
        complete.write_text(json.dumps({"code": CODE_PATHS}), encoding="utf-8")
    return home


def _open_home(settings: Settings) -> CandidateHome:
    state = open_home_state(settings)
    registry = Registry(state, policy_path=settings.policy_path)
    return CandidateHome(settings, Tables(settings.tables_base, state=state), registry)


def _import_samples(folder: Path, set_variable: Callable[[str, str], None]) -> None:
    """Create the instruction datasets of both sample authors from their posts."""
    import dagster as dg

    from twin_assets.corpus.cleaned_documents import cleaned_documents
    from twin_assets.corpus.raw_posts import raw_posts
    from twin_assets.definitions import default_resources
    from twin_assets.instructions.instruction_dataset import instruction_dataset
    from twin_assets.knowledge.chunks import document_chunks
    from twin_assets.knowledge.embeddings import embeddings

    settings = load_settings(folder)
    folder.mkdir()
    (folder / "weights").symlink_to(folder.parent / "weights")
    set_variable("TWIN_HOME", str(folder))
    assets = [raw_posts, cleaned_documents, document_chunks, embeddings, instruction_dataset]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", list(NAMES))
        for slug, name in NAMES.items():
            author = Author(
                slug, name, sources=(str(SAMPLES / slug),), language="en", consent="2020-01-01"
            )
            write_author(settings, replace(author, context_tokens=CONTEXT_TOKENS))
            result = dg.materialize(
                assets, partition_key=slug, instance=instance, resources=default_resources()
            )
            assert result.success
    set_variable("TWIN_HOME", str(folder.parent))
