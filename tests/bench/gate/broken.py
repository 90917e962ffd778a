"""Broken candidates of an author whose good candidate passed: the claims that refuse each.

Scope: breaking candidates, training them by the good candidate's recipe, judging them, the rows.
Out of scope: the good candidate (`gated.py`), tiny candidates, which the tests judge
(`tests/live/evaluation/test_broken_candidates.py`).

Each is made in a copy of the good candidate's home, so that the measurements of the base model
exist. It is judged as a first model: by the first part, and if that passes by the whole gate. A
candidate with the whole recipe is also compared with the adapter of other authors. The other author
writes texts of the same kind where there is one: both shared authors write notes on programs.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tests.bench.gate.forms import GateBenchmarkSize
from tests.bench.gate.gated import KEPT, Gated, copy_home, judge_author
from tests.bench.rows import Row, bounded_row
from tests.bench.training.material import BUNDLED_AUTHORS, SHARED_AUTHORS, material
from tests.registered import register_version
from twin_assets.checkpoints.manifest import write_pointer
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, Recipe
from twin_assets.corpus.corpus_tables import CleanedDocuments, column_types
from twin_assets.evaluation.gate import decide_outcome
from twin_assets.evaluation.judgement import (
    JudgedEvaluation,
    JudgingSetup,
    complete_evaluation,
    judge_candidate,
)
from twin_assets.evaluation.measures import (
    author_control,
    author_voice,
    held_out_perplexity,
    on_topic,
    other_authors,
)
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.evaluation.other_authors.reference_adapter import train_reference
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_assets.training.fault_injection import SHUFFLED_ANSWERS
from twin_assets.training.fine_tuning import DATASET, POSTS, FineTunedCheckpoint, fine_tune
from twin_resources.authors import Author, read_author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

OTHERS = {
    "skeeto": "jbranchaud-til",
    "jbranchaud-til": "skeeto",
    "mara-lindqvist": "skeeto",
}
NAMES = SHARED_AUTHORS | BUNDLED_AUTHORS
KEYS = {DATASET: "sample_id", POSTS: "document_id"}
SCHEMAS = {DATASET: column_types(InstructionDataset), POSTS: column_types(CleanedDocuments)}

TrainingTables = Mapping[str, pl.DataFrame]  # the two tables that a training reads


@dataclass(frozen=True)
class Broken:
    """A way to break a candidate.

    Attributes:
        trained_on: returns the training's tables from the author's and the other author's tables.
        recipe: changes to the good candidate's recipe.
        spoil: a fault of `twin_assets/training/fault_injection.py`.
    """

    trained_on: Callable[[TrainingTables, TrainingTables], TrainingTables] = lambda own, _other: own
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    spoil: str = ""


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


def train_on_held_out(own: pl.DataFrame, _other: pl.DataFrame) -> pl.DataFrame:
    """Return the samples with the held-out documents as training data."""
    unchanged = ("left_out", "general")
    new_splits = {"held_out": "train", "train": "left_out"} | {name: name for name in unchanged}
    return own.with_columns(pl.col("split").replace_strict(new_splits))


def enter_as_candidate(
    tuned: FineTunedCheckpoint, author: str, settings: Settings, registry: Registry
) -> None:
    """Make a checkpoint the candidate, like the asset `preference_tuned_checkpoint`."""
    manifest = tuned.manifest
    base, base_gguf = manifest.base["folder"], manifest.base["gguf"]
    weights = find_weights(tuned.folder, base=base, base_gguf=base_gguf)
    values = {"checkpoint": manifest.checkpoint, "folder": str(tuned.folder)}
    write_pointer(settings.checkpoints_dir / author, "candidate", values)
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


def _change_samples(
    change: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
) -> Callable[[TrainingTables, TrainingTables], TrainingTables]:
    return lambda own, other: {**own, DATASET: change(own[DATASET], other[DATASET])}


WAYS = {
    # AdamW's first step is as long as the learning rate, so the adapter keeps its initial values.
    "untrained": Broken(recipe=UNMODIFIED_SAMPLES | {"token_budget": 1, "learning_rate": 1e-12}),
    "another author's data": Broken(lambda _own, other: other),
    "shuffled labels": Broken(spoil=SHUFFLED_ANSWERS),
    "five posts": Broken(
        _change_samples(keep_five_posts),
        UNMODIFIED_SAMPLES
        | {"token_budget": 12_000, "max_epochs": 100, "samples_per_step": 2, "learning_rate": 2e-3},
    ),
    "the test split": Broken(
        _change_samples(train_on_held_out), UNMODIFIED_SAMPLES | {"token_budget": 5_000}
    ),
}


def broken_candidates(form: GateBenchmarkSize) -> list[Row]:
    """Return a row for each of `WAYS`: the number of claims that refuse it, with figures."""
    good = judge_author(form)
    rows: list[Row] = []
    for name, broken in WAYS.items():
        home = good.settings.home.with_name(
            f"{good.settings.home.name}-{name.replace(' ', '-').replace(chr(39), '')}"
        )
        started = time.monotonic()
        if not (home / "rows.json").is_file():
            shutil.rmtree(home, ignore_errors=True)
            row = _judge(form, good, _Home.copy_of(good, home), broken, name)
            values = [{"name": row.name, "value": row.value, "peers": row.peers}]
            (home / "rows.json").write_text(json.dumps(values), "utf-8")
        for saved in json.loads((home / "rows.json").read_text("utf-8")):
            rows.append(bounded_row(saved["name"], saved["value"], "claims", peers=saved["peers"]))
        sys.stderr.write(f"  {name}: {time.monotonic() - started:.0f} s\n")
    return rows


@dataclass(frozen=True)
class _Home:
    """A copy of the good candidate's home."""

    author: Author
    settings: Settings
    tables: Tables
    registry: Registry

    @classmethod
    def copy_of(cls, good: Gated, folder: Path) -> _Home:
        settings = copy_home(good, folder)
        adapters = KEPT / "reference_adapters"  # shared by all homes: of none of their authors
        adapters.mkdir(exist_ok=True)
        settings.reference_adapters_dir.symlink_to(adapters)
        state = State.open(settings.state_address)
        registry = Registry(state, policy_path=settings.policy_path)
        tables = Tables(settings.tables_base, state=state)
        return cls(read_author(settings, good.author), settings, tables, registry)

    def read(self) -> TrainingTables:
        return _read(self.tables, self.author.slug)

    def write(self, rows: TrainingTables) -> None:
        for asset, frame in rows.items():
            self.tables.sync(
                frame.select(list(SCHEMAS[asset])), asset, author=self.author.slug, key=KEYS[asset],
                row_key=KEYS[asset], function=lambda changed: changed, version="broken",
                schema=SCHEMAS[asset],
            )  # fmt: skip

    def judge(self) -> JudgedEvaluation:
        """Judge the candidate as a first model, without Dagster."""
        judging = JudgingSetup(
            self.author,
            self.settings,
            self.tables,
            self.registry,
            ModelServers(self.settings),
            lambda: load_embedder(self.settings),
            lambda line: sys.stderr.write(f"    {line}\n"),
        )
        first = judge_candidate(judging)
        return first if first.verdict.outcome != "passed" else complete_evaluation(judging)


def _read(tables: Tables, author: str) -> TrainingTables:
    return {asset: tables.read(asset, author) for asset in KEYS}


def _judge(form: GateBenchmarkSize, good: Gated, home: _Home, broken: Broken, name: str) -> Row:
    own = home.read()
    home.write(broken.trained_on(own, _read_other_author(form)))
    tuned = _train(good, home, broken)
    home.write(own)
    if not broken.recipe:  # the reference adapter would beat a candidate with a smaller recipe
        launcher = LocalLauncher(home.settings)
        train_reference(home.author, settings=home.settings, tables=home.tables, launcher=launcher)
    enter_as_candidate(tuned, home.author.slug, home.settings, home.registry)
    judged = home.judge()
    return _row(name, tuned, judged)


def _train(good: Gated, home: _Home, broken: Broken) -> FineTunedCheckpoint:
    recipe = Recipe.model_validate({**good.manifest.recipe, **broken.recipe, "preference": None})
    path = home.settings.home / "broken.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"})), "utf-8")
    return fine_tune(
        replace(home.author, recipe=str(path)),
        settings=home.settings,
        tables=home.tables,
        launcher=LocalLauncher(home.settings),
        spoil=broken.spoil,
    )


def _read_other_author(form: GateBenchmarkSize) -> TrainingTables:
    """Return the other author's tables under this author's name."""
    other = OTHERS[form.author]
    home = material(form.of(other).training).home
    rows = _read(Tables(home.tables_base, state=State.open(home.state_address)), other)
    return {**rows, DATASET: replace_name(rows[DATASET], NAMES[other], NAMES[form.author])}


def _row(name: str, tuned: FineTunedCheckpoint, judged: JudgedEvaluation) -> Row:
    unmet = [claim for claim in judged.verdict.claims if claim.passed is not True]
    for claim in judged.verdict.claims:
        sys.stderr.write(f"    {claim.name} {claim.passed}: {claim.detail}\n")
    by = ", ".join(f"{claim.name} ({'no' if claim.passed is False else 'open'})" for claim in unmet)
    part = "whole gate" if judged.is_full_gate else "first part"
    peers = {"tokens": float(tuned.manifest.tokens), **_figures(judged.evaluation.measured)}
    peers["seconds"] = sum(judged.evaluation.seconds.values())
    outcome = decide_outcome(judged.verdict.claims)
    return bounded_row(
        f"{name}: {part}, {outcome}: {by or 'nothing'}", len(unmet), "claims", peers=peers
    )


def _figures(measured: Measurements) -> dict[str, float]:
    """Return the figures of the deciding claims, with their intervals."""
    figures: dict[str, float] = {}
    perplexity = measured.get(held_out_perplexity.MEASURE)
    if perplexity is not None and perplexity.base is not None:
        figures["perplexity"] = perplexity.base.ratio
    own = measured.get(author_control.MEASURE)
    if own is not None:
        figures |= {"question alone": own.own, "author's alone": own.ratio}
        figures |= {"author's alone, low": own.low, "author's alone, high": own.high}
    reference = measured.get(other_authors.MEASURE)
    if reference is not None:
        ratio = reference.ratio
        figures |= {"to the adapter": ratio.value, "low": ratio.low, "high": ratio.high}
    topic = measured.get(on_topic.MEASURE)
    if topic is not None and topic.own is not None:
        figures |= {"topic": topic.own.value, "questions": float(topic.questions)}
    voice = measured.get(author_voice.MEASURE)
    if voice is not None and voice.against_all is not None:
        compared = voice.against_all
        figures["voice − base"] = compared.over_base.value
        if compared.gap_closed is not None:
            gap = compared.gap_closed
            figures |= {"gap closed": gap.value, "gap, low": gap.low, "gap, high": gap.high}
    return figures
