"""Train and judge broken candidates of an author whose good candidate passed the gate.

Scope: breaking candidates, training them with the good candidate's recipe, judging them, the rows.
Out of scope: the good candidate (`judged_candidate.py`), tiny broken candidates, which the tests
judge (`tests/live/evaluation/test_broken_candidates.py`).

Each is trained in a copy of the good candidate's home, where the measurements of the base model
exist. It is judged as a first model: by the first part of the gate, and if it passes, by the whole
gate. If possible, the other author writes similar texts: both shared authors write notes on
programming.
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

from tests.bench.gate.judged_candidate import JudgedCandidate, copy_home, judge_author
from tests.bench.gate.sizes import GateBenchmarkSize
from tests.bench.rows import Row, bounded_row
from tests.bench.training.inputs import BUNDLED_AUTHORS, SHARED_AUTHORS, prepare_inputs
from tests.live.evaluation.real_candidates import (
    keep_five_posts,
    move_held_out_to_training,
    register_candidate,
    replace_name,
)
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
)
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_assets.training.fault_injection import SHUFFLED_ANSWERS
from twin_assets.training.fine_tuning import DATASET, POSTS, FineTunedCheckpoint, fine_tune
from twin_resources.authors import Author, read_author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

OTHER_AUTHORS = {"skeeto": "jbranchaud-til", "jbranchaud-til": "skeeto", "mara-lindqvist": "skeeto"}
AUTHOR_NAMES = SHARED_AUTHORS | BUNDLED_AUTHORS
KEY_COLUMNS = {DATASET: "sample_id", POSTS: "document_id"}
SCHEMAS = {DATASET: column_types(InstructionDataset), POSTS: column_types(CleanedDocuments)}

TrainingTables = Mapping[str, pl.DataFrame]  # the two tables that a training reads
SelectTables = Callable[[TrainingTables, TrainingTables], TrainingTables]


@dataclass(frozen=True)
class Fault:
    """A way to break a candidate.

    Attributes:
        select_tables: makes the training's tables from the author's and another author's tables.
        recipe: changes to the good candidate's recipe.
        spoil: a fault in `twin_assets/training/fault_injection.py`, or "".
    """

    select_tables: SelectTables = lambda own, _other: own
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    spoil: str = ""


def _change_samples(change: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]) -> SelectTables:
    return lambda own, other: {**own, DATASET: change(own[DATASET], other[DATASET])}


FAULTS = {
    # AdamW's first step is as large as the learning rate, so the adapter keeps its initial values.
    "untrained": Fault(recipe=UNMODIFIED_SAMPLES | {"token_budget": 1, "learning_rate": 1e-12}),
    "another author's data": Fault(lambda _own, other: other),
    "shuffled labels": Fault(spoil=SHUFFLED_ANSWERS),
    "five posts": Fault(
        _change_samples(keep_five_posts),
        UNMODIFIED_SAMPLES
        | {"token_budget": 12_000, "max_epochs": 100, "samples_per_step": 2, "learning_rate": 2e-3},
    ),
    "the test split": Fault(
        _change_samples(move_held_out_to_training), UNMODIFIED_SAMPLES | {"token_budget": 5_000}
    ),
}


def broken_candidate_rows(size: GateBenchmarkSize) -> list[Row]:
    """Return a row for each of `FAULTS`: the number of claims that its candidate does not meet."""
    good = judge_author(size)
    rows: list[Row] = []
    for name, fault in FAULTS.items():
        home = good.settings.home.with_name(
            f"{good.settings.home.name}-{name.replace(' ', '-').replace(chr(39), '')}"
        )
        started = time.monotonic()
        if not (home / "rows.json").is_file():
            shutil.rmtree(home, ignore_errors=True)
            row = _judge(size, good, _HomeCopy.copy_of(good, home), fault, name)
            values = [{"name": row.name, "value": row.value, "peers": row.peers}]
            (home / "rows.json").write_text(json.dumps(values), "utf-8")
        for saved in json.loads((home / "rows.json").read_text("utf-8")):
            rows.append(bounded_row(saved["name"], saved["value"], "claims", peers=saved["peers"]))
        sys.stderr.write(f"  {name}: {time.monotonic() - started:.0f} s\n")
    return rows


@dataclass(frozen=True)
class _HomeCopy:
    """A copy of the good candidate's home."""

    author: Author
    settings: Settings
    tables: Tables
    registry: Registry

    @classmethod
    def copy_of(cls, good: JudgedCandidate, folder: Path) -> _HomeCopy:
        settings = copy_home(good, folder)
        state = open_home_state(settings)
        registry = Registry(state, policy_path=settings.policy_path)
        tables = Tables(settings.tables_base, state=state)
        return cls(read_author(settings, good.author), settings, tables, registry)

    def read(self) -> TrainingTables:
        return _read(self.tables, self.author.slug)

    def write(self, rows: TrainingTables) -> None:
        for asset, frame in rows.items():
            self.tables.sync(
                frame.select(list(SCHEMAS[asset])), asset, author=self.author.slug,
                key=KEY_COLUMNS[asset], row_key=KEY_COLUMNS[asset],
                function=lambda changed: changed, version="broken", schema=SCHEMAS[asset],
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
        judged = judge_candidate(judging)
        return complete_evaluation(judging) if judged.verdict.outcome == "passed" else judged


def _read(tables: Tables, author: str) -> TrainingTables:
    return {asset: tables.read(asset, author) for asset in KEY_COLUMNS}


def _judge(
    size: GateBenchmarkSize, good: JudgedCandidate, home: _HomeCopy, fault: Fault, name: str
) -> Row:
    own = home.read()
    home.write(fault.select_tables(own, _read_other_author(size)))
    tuned = _train(good, home, fault)
    home.write(own)
    register_candidate(tuned, home.author.slug, home.settings, home.registry)
    return _row(name, tuned, home.judge())


def _train(good: JudgedCandidate, home: _HomeCopy, fault: Fault) -> FineTunedCheckpoint:
    recipe = Recipe.model_validate({**good.manifest.recipe, **fault.recipe, "preference": None})
    path = home.settings.home / "broken.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"})), "utf-8")
    return fine_tune(
        replace(home.author, recipe=str(path)),
        settings=home.settings,
        tables=home.tables,
        launcher=LocalLauncher(home.settings),
        spoil=fault.spoil,
    )


def _read_other_author(size: GateBenchmarkSize) -> TrainingTables:
    """Return the other author's tables under this author's name."""
    other = OTHER_AUTHORS[size.author]
    home = prepare_inputs(size.with_author(other).training).home
    rows = _read(Tables(home.tables_base, state=open_home_state(home)), other)
    names = AUTHOR_NAMES[other], AUTHOR_NAMES[size.author]
    return {**rows, DATASET: replace_name(rows[DATASET], *names)}


def _row(name: str, tuned: FineTunedCheckpoint, judged: JudgedEvaluation) -> Row:
    unmet_claims = [claim for claim in judged.verdict.claims if claim.passed is not True]
    for claim in judged.verdict.claims:
        sys.stderr.write(f"    {claim.name} {claim.passed}: {claim.detail}\n")
    refusals = ", ".join(
        f"{claim.name} ({'no' if claim.passed is False else 'open'})" for claim in unmet_claims
    )
    part = "whole gate" if judged.is_full_gate else "first part"
    peers = {"tokens": float(tuned.manifest.tokens), **_figures(judged.evaluation.measured)}
    peers["seconds"] = sum(judged.evaluation.seconds.values())
    outcome = decide_outcome(judged.verdict.claims)
    return bounded_row(
        f"{name}: {part}, {outcome}: {refusals or 'nothing'}",
        len(unmet_claims),
        "claims",
        peers=peers,
    )


def _figures(measured: Measurements) -> dict[str, float]:
    """Return the figures behind the deciding claims, with their intervals."""
    figures: dict[str, float] = {}
    perplexity = measured.get(held_out_perplexity.MEASURE)
    if perplexity is not None and perplexity.base is not None:
        figures["perplexity"] = perplexity.base.ratio
    own = measured.get(author_control.MEASURE)
    if own is not None:
        figures |= {"question alone": own.own, "author's alone": own.ratio}
        figures |= {"author's alone, low": own.low, "author's alone, high": own.high}
    topic = measured.get(on_topic.MEASURE)
    if topic is not None and topic.own is not None:
        figures |= {"topic": topic.own.value, "questions": float(topic.questions)}
    voice = measured.get(author_voice.MEASURE)
    if voice is not None and voice.against_all is not None:
        comparison = voice.against_all
        figures["voice − base"] = comparison.over_base.value
        if comparison.gap_closed is not None:
            gap = comparison.gap_closed
            figures |= {"gap closed": gap.value, "gap, low": gap.low, "gap, high": gap.high}
    return figures
