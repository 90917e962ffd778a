"""Test the interface of a reranker on a tiny cross-encoder with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.judges.test_entailment import WORDS, write_cross_encoder
from tests.unit.knowledge.test_selection import build_passage
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.reranker import (
    BATCH_PAIRS,
    Reranker,
    load_reranker,
    reranker_folder,
)
from twin_resources.settings import load_settings

QUESTION = "never again in winter"
TEXTS = [" ".join(WORDS[index:] or ["dust"]) for index in range(len(WORDS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("reranker"), {0: "score"})


def test_a_score_is_the_models_output_regardless_of_the_batch(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reranker = Reranker(folder)
    texts = (TEXTS * 3)[: BATCH_PAIRS + 3]
    batch_scores = reranker.score(QUESTION, texts)
    single_scores = [reranker.score(QUESTION, [text])[0] for text in texts]
    assert batch_scores == pytest.approx(single_scores, abs=1e-5)
    assert len({round(score, 4) for score in batch_scores[: len(TEXTS)]}) > len(TEXTS) // 2

    encoded = AutoTokenizer.from_pretrained(folder)(QUESTION, TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(folder)(**encoded).logits
    assert batch_scores[0] == pytest.approx(float(logits[0, 0]), abs=1e-5)
    assert reranker.score(QUESTION, []) == []
    assert len(reranker.score(QUESTION, [" ".join(WORDS * 40)])) == 1, "a long text is refused"


def test_passages_are_ranked_by_score_after_named_ones(folder: Path) -> None:
    reranker = Reranker(folder)
    passages = [
        build_passage(f"d{index}", index, title="The long wait" if index == 3 else "", text=text)
        for index, text in enumerate(TEXTS[:8])
    ]
    ranked = reranker.rerank(QUESTION, passages)
    scores = reranker.score(
        QUESTION,
        [
            f"{passage.title}\n\n{passage.text}" if passage.title else passage.text
            for passage in passages
        ],
    )
    expected = sorted(range(8), key=lambda index: -scores[index])
    assert [passage.position for passage in ranked] == expected
    assert expected != sorted(expected), "the model does not change the order"
    assert [passage.score for passage in ranked] == pytest.approx(
        [scores[index] for index in expected], abs=1e-5
    )
    reranked = reranker.rerank("what of the long wait", passages)
    assert reranked[0].position == 3
    assert {passage.chunk_id for passage in reranked} == {passage.chunk_id for passage in passages}


def test_a_missing_or_incomplete_reranker_folder_is_reported(tmp_path: Path, folder: Path) -> None:
    home = load_settings(tmp_path / "home")
    assert load_reranker(home) is None

    missing_settings = home.model_copy(update={"reranker": str(tmp_path / "none")})
    with pytest.raises(TwinError, match=r"(?s)no such folder.*TWIN_RERANKER"):
        load_reranker(missing_settings)
    with pytest.raises(TwinError, match="TWIN_RERANKER"):
        Reranker(tmp_path)
    three_label_folder = write_cross_encoder(tmp_path / "three", {0: "a", 1: "b", 2: "c"})
    with pytest.raises(TwinError, match="3 outputs"):
        Reranker(three_label_folder)

    folder_settings = home.model_copy(update={"reranker": str(folder)})
    assert reranker_folder(folder_settings) == folder
    loaded = load_reranker(folder_settings)
    assert loaded is not None
    assert loaded.revision == Reranker(folder, name="x").revision
    # A hub model that was fetched earlier is found offline.
    hub_settings = home.model_copy(update={"reranker": "owner/model"})
    fetched_folder = hub_settings.weights_dir / "reranker" / "owner--model"
    fetched_folder.parent.mkdir(parents=True)
    fetched_folder.symlink_to(folder)
    assert reranker_folder(hub_settings) == fetched_folder
