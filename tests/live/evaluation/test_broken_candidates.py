"""Test that each broken candidate fails the claims about its fault, and no others.

A gate that refuses everything would pass the first half of every test here, so each test also lists
claims that must be met. A first model is judged in two stages. The first verdict releases a
candidate whose fault only the full gate detects, and the full gate must withdraw it. The quick
suite breaks a tiny model with random weights in four ways; the long tests train SmolLM2-135M on a
bundled author's samples, once correctly and in six broken ways.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.live.evaluation.conftest import GOOD_STEPS, GateHome
from tests.live.evaluation.real_candidates import (
    AUTHOR,
    NAMES,
    OTHER_AUTHOR,
    CandidateHome,
    CandidateSpec,
    keep_five_posts,
    move_held_out_to_training,
    open_candidate_home,
    replace_name,
)
from tests.live.evaluation.two_stage_gate import SHORT_GATE_SETTINGS, run_two_stage_gate
from tests.queued_notices import queued_notices
from tests.sample_schema import SAMPLE_SCHEMA
from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import JudgingSetup
from twin_assets.evaluation.measures import sentence_faithfulness
from twin_assets.training.fault_injection import SHUFFLED_ANSWERS
from twin_resources.authors import Author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.policy import read_policy
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

# No change of the weights can fail these claims.
WEIGHT_INDEPENDENT_CLAIMS = {
    "template_hash_matches",
    "served_model_matches",
    "not_worse_than_incumbent",
}
GAIN_CLAIMS = ("beats_base_model", "learns_this_author", "sounds_less_like_the_base")
HARMLESSNESS_CLAIMS = {"keeps_the_basics", "recites_no_training_text", "answers_safely"}


def judge_in_two_stages(
    gate_home: GateHome, author: str, *, log: Callable[[str], object] = print
) -> dict[str, GateClaim]:
    """Return all claims about the candidate, including the advisory claims."""
    return run_two_stage_gate(
        JudgingSetup(
            Author(author, author.title()),
            gate_home.settings.model_copy(update=SHORT_GATE_SETTINGS),
            gate_home.tables,
            gate_home.registry,
            ModelServers(gate_home.settings),
            lambda: load_embedder(gate_home.settings),
            log,
            ("bob", "cleo"),
        )
    )


def find_met_claims(claims: dict[str, GateClaim]) -> set[str]:
    return {name for name, claim in claims.items() if claim.passed}


def test_an_untrained_adapter_gains_and_loses_nothing(measured_home: GateHome) -> None:
    gate_home = measured_home
    gate_home.train_candidate("ada", steps=0, spread=0.0)
    gate_home.write_dataset("cleo")  # her damaged table must not stop other authors
    for manifest in Path(gate_home.tables.uri("instruction_dataset", "cleo")).glob("_versions/*"):
        manifest.write_bytes(b"")
    lines: list[str] = []

    claims = judge_in_two_stages(gate_home, "ada", log=lines.append)

    assert any(line.startswith("without the texts of cleo: ") for line in lines)
    for name in GAIN_CLAIMS:
        assert claims[name].passed is False, claims[name].detail
    assert find_met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | HARMLESSNESS_CLAIMS | {
        "stays_on_topic"
    }


def test_non_finite_weights_are_refused(measured_home: GateHome) -> None:
    gate_home = measured_home
    gate_home.train_candidate("ada", steps=0, spread=math.nan)

    claims = judge_in_two_stages(gate_home, "ada")

    for name in ("beats_base_model", "learns_this_author", "keeps_the_basics"):
        assert claims[name].passed is False, claims[name].detail
    assert claims["served_model_matches"].passed is not True
    assert all(claim.value is None or math.isfinite(claim.value) for claim in claims.values())
    assert gate_home.registry.get("ada", 1).state == "refused"


def test_the_control_detects_another_authors_data(measured_home: GateHome) -> None:
    gate_home = measured_home
    [writer] = [sample for sample in bundled_writers(exclude=[]) if sample.name == AUTHOR]
    rows = build_passage_samples(writer.passages[:40], name="Ada")
    gate_home.train_candidate("ada", steps=40, samples=rows.to_dicts())

    claims = judge_in_two_stages(gate_home, "ada")

    assert claims["learns_this_author"].passed is False, claims["learns_this_author"].detail
    assert find_met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | HARMLESSNESS_CLAIMS | {
        "stays_on_topic",
        "beats_base_model",
    }
    # the first part does not detect the fault: the version was released and is withdrawn
    moves = gate_home.registry.moves("ada")
    assert [(move.from_state, move.to_state, move.actor) for move in moves] == [
        ("candidate", "stable", "released_model"),
        ("stable", "refused", "evaluation_report"),
    ]
    assert "learns_this_author" in moves[-1].reason
    policy = read_policy(gate_home.registry.policy_path)
    assert policy.authors["ada"].stable is None, "the version was not withdrawn"
    titles = [notice.title for notice in queued_notices(gate_home.registry.state, author="ada")]
    assert sorted(titles) == ["v1 of ada is stable", "v1 of ada was withdrawn"]


def test_training_documents_are_not_held_out(measured_home: GateHome) -> None:
    """The manifest's dataset has the held-out documents in its training split."""
    gate_home = measured_home
    gate_home.write_dataset("ada", train=80, held_out=0)
    gate_home.train_candidate("ada", steps=GOOD_STEPS)
    gate_home.write_dataset("ada")

    claims = judge_in_two_stages(gate_home, "ada")

    for name in ("beats_base_model", "stays_on_topic", "sounds_less_like_the_base"):
        assert claims[name].passed is None
        assert "0 held-out passages" in claims[name].detail
    assert find_met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | {
        "keeps_the_basics",
        "answers_safely",
    }


def build_passage_samples(passages: Any, *, name: str) -> pl.DataFrame:
    """Return samples whose answers are the passages and whose questions name the subject."""
    rows: list[dict[str, Any]] = []
    for index, (document, answer) in enumerate(passages):
        title = document.split("-", 3)[-1].replace("-", " ")
        question = f"What do you say about {title}: {' '.join(answer.split()[:6])}?"
        messages = render(DEFAULT_TEMPLATE, author_name=name, question=question)
        rows.append(
            {
                "sample_id": f"s{index:03}", "document_id": document, "chunk_id": f"c{index}",
                "split": "train",
                "question": question, "answer": answer, "start": 0, "end": len(answer) + index,
                "messages": [*messages, {"role": "assistant", "content": answer}],
                "template": DEFAULT_TEMPLATE.hash, "context_chunk_ids": [],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=SAMPLE_SCHEMA)


@pytest.fixture
def candidate_home(
    home: Settings, embedder_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> CandidateHome:
    """Open the home in `build/`; the fixture `home` has cleared the settings' variables."""
    return open_candidate_home(embedder_weights, set_variable=monkeypatch.setenv)


def rename_author(own: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return the other author's samples under the author's name."""
    return replace_name(other, NAMES[OTHER_AUTHOR], NAMES[AUTHOR])


def change_template(own: pl.DataFrame) -> pl.DataFrame:
    return own.with_columns(pl.lit("0123456789abcdef").alias("template"))


@dataclass(frozen=True)
class Case:
    """A candidate and the expected claims.

    Attributes:
        failing: claims that must fail (False) or stay undecided (None).
        must_meet: claims that must be met.
    """

    candidate: CandidateSpec
    failing: dict[str, bool | None]
    must_meet: Set[str]


# This claim decides the answer forms, not the release; no 135M model meets it.
BLOCKING = set(gate.CLAIMS) - {sentence_faithfulness.CLAIM}
CASES = {
    "good": Case(CandidateSpec(token_count=24_000), {}, BLOCKING),
    "another template": Case(
        # the weights of the good candidate
        CandidateSpec(token_count=24_000, select_gate_samples=change_template),
        {"template_hash_matches": False},
        BLOCKING - {"template_hash_matches"},
    ),
    "untrained": Case(
        # AdamW's first step is as large as the learning rate, so the initial weights are kept
        CandidateSpec(token_count=1, recipe_changes={"learning_rate": 1e-12}),
        dict.fromkeys(GAIN_CLAIMS, False),
        BLOCKING - set(GAIN_CLAIMS),
    ),
    "shuffled labels": Case(
        CandidateSpec(fault=SHUFFLED_ANSWERS),
        {"stays_on_topic": False},
        BLOCKING - {"stays_on_topic"},
    ),
    "another author": Case(
        # it reads its passages, so it may or may not be on topic: .78 of its answers are
        CandidateSpec(select_training_samples=rename_author),
        {"learns_this_author": False},
        BLOCKING - {"learns_this_author", "stays_on_topic"},
    ),
    "five posts": Case(
        CandidateSpec(
            select_training_samples=keep_five_posts,
            recipe_changes={"max_epochs": 100, "samples_per_step": 1, "learning_rate": 0.002},
        ),
        {"recites_no_training_text": False, "beats_base_model": False},
        WEIGHT_INDEPENDENT_CLAIMS | {"sounds_less_like_the_base", "answers_safely"},
    ),
    # last in the list: its gate asks the base less, and later cases reuse the base's stored answers
    "test split": Case(
        CandidateSpec(select_training_samples=move_held_out_to_training, token_count=5_000),
        dict.fromkeys(("beats_base_model", "stays_on_topic", "sounds_less_like_the_base")),
        WEIGHT_INDEPENDENT_CLAIMS | {"keeps_the_basics", "answers_safely"},
    ),
}


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", CASES)
def test_a_real_model_fails_the_claims_about_its_fault(
    candidate_home: CandidateHome, name: str
) -> None:
    case = CASES[name]

    claims = candidate_home.judge(case.candidate)

    details = "\n".join(f"{claim.name} {claim.passed}: {claim.detail}" for claim in claims.values())
    sys.stdout.write(f"{name}\n{details}\n")
    assert {claim: claims[claim].passed for claim in case.failing} == case.failing, details
    assert case.must_meet - find_met_claims(claims) == set(), details
