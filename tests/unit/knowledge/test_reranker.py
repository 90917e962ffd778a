"""Test the interface of a reranker on a tiny cross-encoder with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.judges.test_entailment import WORDS, write_cross_encoder
from tests.unit.knowledge.test_selection import build_passage
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.reranker import MAX_RERANKED, Reranker, load_reranker
from twin_resources.settings import load_settings

QUESTION = "never again in winter"
TEXTS = [" ".join(WORDS[index:] or ["dust"]) for index in range(len(WORDS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("reranker"), {0: "score"})


def test_passages_are_ranked_by_the_models_output_after_named_ones(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reranker = Reranker(folder)
    passages = [
        build_passage(f"d{index}", index, title="The long wait" if index == 3 else "", text=text)
        for index, text in enumerate([*TEXTS[:8], " ".join(WORDS * 40)])
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    encoded = tokenizer(QUESTION, TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        output = torch.sigmoid(model(**encoded).logits)[0, 0]
    ranked = reranker.rerank(QUESTION, passages)
    scores = {passage.position: passage.score for passage in ranked}
    assert scores[0] == pytest.approx(float(output), abs=1e-5)
    expected = sorted(scores, key=lambda position: -scores[position])
    assert [passage.position for passage in ranked] == expected
    assert expected != sorted(expected), "the model does not change the order"
    assert reranker.rerank("what of the long wait", passages)[0].position == 3
    # Only the first passages are read again, and all are returned.
    many = passages * 4
    assert len(reranker.rerank(QUESTION, many)) == len(many)
    assert reranker.rerank(QUESTION, many)[MAX_RERANKED:] == many[MAX_RERANKED:]
    assert reranker.rerank(QUESTION, []) == []


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
    loaded = load_reranker(folder_settings)
    assert loaded is not None
    assert loaded.revision == Reranker(folder).revision
    # A hub model that was fetched earlier is found offline.
    hub_settings = home.model_copy(update={"reranker": "owner/model"})
    fetched_folder = hub_settings.weights_dir / "reranker" / "owner--model"
    fetched_folder.parent.mkdir(parents=True)
    fetched_folder.symlink_to(folder)
    fetched = load_reranker(hub_settings)
    assert fetched is not None
    assert fetched.revision == loaded.revision
