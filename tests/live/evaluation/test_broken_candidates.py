"""Broken candidates: each refused by the claim that is about it, and by no other that is not.

A gate that refuses everything would pass the first half of every test here, so each also says which
claims must hold. The short form breaks a tiny model of random weights in three ways; the long form
trains SmolLM2-135M on a bundled author's posts, once well and in four broken ways.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.live.evaluation.conftest import SCHEMA, Workplace
from tests.live.tiny_model import unpack_base_model
from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import judge_candidate
from twin_resources.embedder.embedder import load_embedder
from twin_resources.judging.texts import bundled_hands
from twin_resources.prompt import DEFAULT_TEMPLATE, render
from twin_resources.registry.moves import Claim
from twin_resources.serving.model_server import ModelServers
from twin_resources.weights import gguf

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

AUTHOR, OTHER = "mara-lindqvist", "tomas-okafor"
STEPS, RATE = 120, 0.001  # samples of about 170 tokens
# What no change of the weights can spoil.
FORM = {"template_hash_matches", "served_model_matches", "not_worse_than_incumbent"}


def judged(workplace: Workplace, author: str) -> dict[str, Claim]:
    """All claims about the candidate, those that are stated only among them."""
    found = judge_candidate(
        author,
        checkpoints=workplace.settings.checkpoints_dir / author,
        token_budget=6000,
        tables=workplace.tables,
        registry=workplace.registry,
        servers=ModelServers(workplace.settings),
        embedder=lambda: load_embedder(workplace.settings),
        say=lambda _line: None,
    )
    told = (*found.verdict.claims, *gate.stated(found.evaluation.measured))
    assert {claim.name for claim in told} == set(gate.CLAIMS)
    return {claim.name: claim for claim in told}


def held(claims: dict[str, Claim]) -> set[str]:
    return {name for name, claim in claims.items() if claim.passed}


def test_an_adapter_as_it_was_initialised_gains_nothing_and_loses_nothing(
    workplace: Workplace,
) -> None:
    workplace.dataset("ada")
    workplace.candidate("ada", steps=0, spread=0.0)

    claims = judged(workplace, "ada")

    for name in ("beats_base_model", "learns_this_author", "sounds_less_like_the_base"):
        assert claims[name].passed is False, claims[name].detail
    kept = {"keeps_the_basics", "stays_on_topic", "recites_no_training_text", "answers_safely"}
    assert held(claims) >= FORM | kept


def test_data_of_another_author_are_known_by_the_control(workplace: Workplace) -> None:
    workplace.dataset("ada")
    [hand] = [one for one in bundled_hands(without=[]) if one.name == AUTHOR]
    rows = passages_as_samples(hand.passages[:40], name="Ada")
    workplace.candidate("ada", steps=40, samples=rows.to_dicts())

    claims = judged(workplace, "ada")

    assert claims["learns_this_author"].passed is False, claims["learns_this_author"].detail
    kept = {"keeps_the_basics", "stays_on_topic", "recites_no_training_text", "answers_safely"}
    assert held(claims) >= FORM | kept | {"beats_base_model"}


def test_what_it_was_trained_on_is_no_test_of_it(workplace: Workplace) -> None:
    """Its manifest names a dataset in which the held-out documents were for training."""
    workplace.dataset("ada", train=80, held_out=0)
    workplace.candidate("ada", steps=16)
    workplace.dataset("ada")

    claims = judged(workplace, "ada")

    for name in ("beats_base_model", "stays_on_topic", "sounds_less_like_the_base"):
        assert claims[name].passed is None
        assert "0 held-out passages" in claims[name].detail
    assert held(claims) >= FORM | {"keeps_the_basics", "answers_safely"}


def passages_as_samples(passages: Any, *, name: str, held_out: int = 0) -> pl.DataFrame:
    """Passages with questions that name what they are about; the last ones held out."""
    rows: list[dict[str, Any]] = []
    for index, (document, answer) in enumerate(passages):
        title = document.split("-", 3)[-1].replace("-", " ")
        question = f"What do you say about {title}: {' '.join(answer.split()[:6])}?"
        messages = render(DEFAULT_TEMPLATE, author_name=name, question=question)
        rows.append(
            {
                "sample_id": f"s{index:03}", "document_id": document, "chunk_id": f"c{index}",
                "split": "held_out" if index >= len(passages) - held_out else "train",
                "question": question, "answer": answer, "start": 0, "end": len(answer) + index,
                "messages": [*messages, {"role": "assistant", "content": answer}],
                "template": DEFAULT_TEMPLATE.hash, "context_chunk_ids": [],
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


@pytest.fixture(scope="session")
def real_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    base = unpack_base_model(folder)
    gguf.write_f16(base, base.with_suffix(".gguf"))
    return base


@pytest.fixture
def real(workplace: Workplace, real_base: Path) -> Workplace:
    """The bundled author's passages beside the embedded base model."""
    place = Workplace(workplace.settings, workplace.tables, workplace.registry, real_base)
    [hand] = [one for one in bundled_hands(without=[]) if one.name == AUTHOR]
    place.write(AUTHOR, passages_as_samples(hand.passages, name="Mara Lindqvist", held_out=45))
    return place


def spoilt(rows: list[dict[str, Any]], how: str) -> tuple[list[dict[str, Any]], int, float]:
    """Samples, steps and learning rate of one way to break a model."""
    if how == "shuffled":
        answers = [row["messages"][-1] for row in rows]
        random.Random(3).shuffle(answers)
        pairs = zip(rows, answers, strict=True)
        return (
            [row | {"messages": [*row["messages"][:-1], said]} for row, said in pairs],
            STEPS,
            RATE,
        )
    if how == "another author":
        [hand] = [one for one in bundled_hands(without=[]) if one.name == OTHER]
        return passages_as_samples(hand.passages, name="Mara Lindqvist").to_dicts(), STEPS, RATE
    if how == "five posts":
        return rows[:5], STEPS, 2 * RATE
    return rows, 0 if how == "untrained" else STEPS, RATE


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "refusing", "holding"),
    [
        ("well", set(), set(gate.CLAIMS) - gate.STATED_FOR_SMALL_BASES),
        ("untrained", {"beats_base_model"}, FORM | {"keeps_the_basics", "stays_on_topic"}),
        ("shuffled", {"stays_on_topic"}, FORM | {"beats_base_model", "keeps_the_basics"}),
        ("another author", {"learns_this_author"}, FORM | {"keeps_the_basics"}),
        ("five posts", {"recites_no_training_text"}, FORM),
    ],
)
def test_a_real_model_is_refused_by_the_claim_that_is_about_its_fault(
    real: Workplace, how: str, refusing: set[str], holding: set[str]
) -> None:
    rows = real.tables.read("instruction_dataset", AUTHOR, where="split = 'train'")
    samples, steps, rate = spoilt(rows.sort("sample_id").to_dicts(), how)
    real.candidate(AUTHOR, steps=steps, samples=samples, learning_rate=rate, spread=0.0)

    claims = judged(real, AUTHOR)

    told = {name: claim.detail for name, claim in claims.items()}
    assert {name for name in refusing if claims[name].passed is not False} == set(), told
    assert holding - held(claims) == set(), told
