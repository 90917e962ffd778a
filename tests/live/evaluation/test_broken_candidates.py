"""Test that each broken candidate fails the claims about its fault, and no others.

A gate that refuses everything would pass the first half of every test here, so each test also lists
claims that must be met. A first model is judged in two parts: a fault that only the full gate
detects is released by the first part and must be taken back. These tests break a tiny model of
random weights. `tests/bench/gate/broken.py` breaks SmolLM2-135M trained on real posts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.live.evaluation.conftest import GOOD, Workplace
from tests.live.evaluation.two_parts import SHORT_GATE_SETTINGS, run_two_stage_gate
from tests.queued_notices import queued_notices
from tests.sample_schema import SAMPLE_SCHEMA
from twin_assets.evaluation.judgement import JudgingSetup
from twin_resources.authors import Author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.policy import read_policy

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

# No change of the weights can fail these claims.
WEIGHT_INDEPENDENT_CLAIMS = {
    "template_hash_matches",
    "served_model_matches",
    "not_worse_than_incumbent",
}
GAINS = ("beats_base_model", "learns_this_author", "sounds_less_like_the_base")
HARMLESS = {"keeps_the_basics", "recites_no_training_text", "answers_safely"}


def judge_in_both_parts(
    workplace: Workplace, author: str, *, log: Callable[[str], object] = print
) -> dict[str, GateClaim]:
    """Return all claims about the candidate, including the advisory claims."""
    return run_two_stage_gate(
        JudgingSetup(
            Author(author, author.title()),
            workplace.settings.model_copy(update=SHORT_GATE_SETTINGS),
            workplace.tables,
            workplace.registry,
            ModelServers(workplace.settings),
            lambda: load_embedder(workplace.settings),
            log,
            ("bob", "cleo"),
        )
    )


def met_claims(claims: dict[str, GateClaim]) -> set[str]:
    return {name for name, claim in claims.items() if claim.passed}


def test_an_untrained_adapter_gains_and_loses_nothing(measured: Workplace) -> None:
    workplace = measured
    workplace.train_candidate("ada", steps=0, spread=0.0)
    workplace.write_dataset("cleo")  # her damaged table must not stop other authors
    for manifest in Path(workplace.tables.uri("instruction_dataset", "cleo")).glob("_versions/*"):
        manifest.write_bytes(b"")
    lines: list[str] = []

    claims = judge_in_both_parts(workplace, "ada", log=lines.append)

    assert any(line.startswith("without the texts of cleo: ") for line in lines)
    for name in GAINS:
        assert claims[name].passed is False, claims[name].detail
    assert met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | HARMLESS | {"stays_on_topic"}


def test_non_finite_weights_are_refused(measured: Workplace) -> None:
    workplace = measured
    workplace.train_candidate("ada", steps=0, spread=math.nan)

    claims = judge_in_both_parts(workplace, "ada")

    for name in ("beats_base_model", "learns_this_author", "keeps_the_basics"):
        assert claims[name].passed is False, claims[name].detail
    assert claims["served_model_matches"].passed is not True
    assert all(claim.value is None or math.isfinite(claim.value) for claim in claims.values())
    assert workplace.registry.get("ada", 1).state == "refused"


@pytest.mark.drawn(2, of="long flows")
def test_the_control_detects_another_authors_data(measured: Workplace) -> None:
    workplace = measured
    [writer] = [found for found in bundled_writers(exclude=[]) if found.name == "mara-lindqvist"]
    rows = passages_as_samples(writer.passages[:40], name="Ada")
    workplace.train_candidate("ada", steps=40, samples=rows.to_dicts())

    claims = judge_in_both_parts(workplace, "ada")

    assert claims["learns_this_author"].passed is False, claims["learns_this_author"].detail
    assert met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | HARMLESS | {
        "stays_on_topic",
        "beats_base_model",
    }
    # the first part does not detect the fault: the version was released and is taken back
    moves = workplace.registry.moves("ada")
    assert [(move.from_state, move.to_state, move.actor) for move in moves] == [
        ("candidate", "stable", "released_model"),
        ("stable", "refused", "evaluation_report"),
    ]
    assert "learns_this_author" in moves[-1].reason
    policy = read_policy(workplace.registry.policy_path)
    assert policy.authors["ada"].stable is None, "the version was not taken back"
    titles = [notice.title for notice in queued_notices(workplace.registry.state, author="ada")]
    assert sorted(titles) == ["v1 of ada is stable", "v1 of ada was taken back"]


def test_training_documents_are_not_held_out(measured: Workplace) -> None:
    """The manifest's dataset has the held-out documents in its training split."""
    workplace = measured
    workplace.write_dataset("ada", train=80, held_out=0)
    workplace.train_candidate("ada", steps=GOOD)
    workplace.write_dataset("ada")

    claims = judge_in_both_parts(workplace, "ada")

    for name in ("beats_base_model", "stays_on_topic", "sounds_less_like_the_base"):
        assert claims[name].passed is None
        assert "0 held-out passages" in claims[name].detail
    assert met_claims(claims) >= WEIGHT_INDEPENDENT_CLAIMS | {"keeps_the_basics", "answers_safely"}


def passages_as_samples(passages: Any, *, name: str) -> pl.DataFrame:
    """Return passages with questions that name their subject."""
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
