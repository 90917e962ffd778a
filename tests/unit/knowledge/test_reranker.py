"""The interface of a reranker, on a tiny cross-encoder of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.judges.test_entailment import WORDS, cross_encoder
from tests.unit.knowledge.test_selection import passage
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.reranker import (
    BATCH_PAIRS,
    Reranker,
    load_reranker,
    reranker_folder,
)
from twin_resources.settings import load_settings

QUESTION = "never again in winter"
TEXTS = [" ".join(WORDS[at:] or ["dust"]) for at in range(len(WORDS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("reranker"), {0: "score"})


def test_a_score_is_the_models_output_and_does_not_hang_on_its_batch(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reranker = Reranker(folder)
    texts = (TEXTS * 3)[: BATCH_PAIRS + 3]
    together = reranker.score(QUESTION, texts)
    alone = [reranker.score(QUESTION, [text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({round(score, 4) for score in together[: len(TEXTS)]}) > len(TEXTS) // 2

    encoded = AutoTokenizer.from_pretrained(folder)(QUESTION, TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(folder)(**encoded).logits
    assert together[0] == pytest.approx(float(logits[0, 0]), abs=1e-5)
    assert reranker.score(QUESTION, []) == []
    assert len(reranker.score(QUESTION, [" ".join(WORDS * 40)])) == 1, "cut, not refused"


def test_passages_stand_by_their_scores_and_what_the_question_names_first(folder: Path) -> None:
    reranker = Reranker(folder)
    passages = [
        passage(f"d{at}", at, title="The long wait" if at == 3 else "", text=text)
        for at, text in enumerate(TEXTS[:8])
    ]
    ranked = reranker.rerank(QUESTION, passages)
    scores = reranker.score(
        QUESTION, [f"{p.title}\n\n{p.text}" if p.title else p.text for p in passages]
    )
    expected = sorted(range(8), key=lambda at: -scores[at])
    assert [one.position for one in ranked] == expected
    assert expected != sorted(expected), "the order is the model's"
    assert [one.score for one in ranked] == pytest.approx([scores[at] for at in expected], abs=1e-5)
    asked = reranker.rerank("what of the long wait", passages)
    assert asked[0].position == 3
    assert {one.chunk_id for one in asked} == {one.chunk_id for one in passages}


def test_a_folder_that_is_missing_or_holds_no_reranker_is_said(
    tmp_path: Path, folder: Path
) -> None:
    home = load_settings(tmp_path / "home")
    assert load_reranker(home) is None

    named = home.model_copy(update={"reranker": str(tmp_path / "none")})
    with pytest.raises(TwinError, match=r"(?s)no such folder.*TWIN_RERANKER"):
        load_reranker(named)
    with pytest.raises(TwinError, match="TWIN_RERANKER"):
        Reranker(tmp_path)
    three = cross_encoder(tmp_path / "three", {0: "a", 1: "b", 2: "c"})
    with pytest.raises(TwinError, match="3 outputs"):
        Reranker(three)

    there = home.model_copy(update={"reranker": str(folder)})
    assert reranker_folder(there) == folder
    loaded = load_reranker(there)
    assert loaded is not None
    assert loaded.revision == Reranker(folder, name="x").revision
    # One of the hub that was fetched before needs no hub.
    kept = home.model_copy(update={"reranker": "owner/model"})
    fetched = kept.weights_dir / "reranker" / "owner--model"
    fetched.parent.mkdir(parents=True)
    fetched.symlink_to(folder)
    assert reranker_folder(kept) == fetched
