"""Test the entailment judge with a tiny cross-encoder with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.quality.judges.entailment import (
    PADDED_LENGTHS,
    EntailmentModel,
    resolve_entailment_folder,
)

SENTENCE = "the clock stopped in winter because of dust and a spring broke never again"
WORDS = SENTENCE.split()
LABELS = {0: "contradiction", 1: "entailment", 2: "neutral"}
SHORT_PASSAGE = "the clock stopped in winter"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("nli"), LABELS)


def write_cross_encoder(folder: Path, labels: dict[int, str]) -> Path:
    """Write a BERT with one layer of width 16, 128 tokens and the given labels."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=128,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=130, id2label=labels,
        label2id={label: n for n, label in labels.items()}, initializer_range=1.0,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_the_score_is_the_probability_of_the_entailment_label(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    judge = EntailmentModel(folder, name="tiny")
    (score,) = judge.score([("dust broke the spring", (SHORT_PASSAGE,))])

    encoded = AutoTokenizer.from_pretrained(folder)(
        SHORT_PASSAGE, "dust broke the spring", return_tensors="pt"
    )
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(folder)(**encoded).logits
    assert score == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=1e-5)
    assert judge.name == "entailment by tiny"


def test_the_best_passage_counts_and_no_passage_scores_zero(folder: Path) -> None:
    judge = EntailmentModel(folder)
    passages = (SHORT_PASSAGE, "a spring broke", "never again in winter because of dust")
    single_scores = [judge.score([("the clock stopped", (text,))])[0] for text in passages]

    scores = judge.score([("the clock stopped", passages), ("the clock stopped", ())])

    assert scores == [pytest.approx(max(single_scores), abs=1e-6), 0.0]
    assert len({round(score, 4) for score in single_scores}) == 3


def test_a_score_does_not_depend_on_its_batch_or_on_a_long_passage_in_it(folder: Path) -> None:
    judge = EntailmentModel(folder)
    # 280 words; the model reads 128 tokens, including the sentence.
    long_passage = " ".join(WORDS * 20)
    claims = [
        ("a spring broke", (" ".join(WORDS[:index] or ["dust"]),)) for index in range(len(WORDS))
    ]
    single_scores = [judge.score([claim])[0] for claim in claims]

    batch_scores = judge.score([*claims, ("a spring broke", (long_passage,))])

    assert batch_scores[:-1] == pytest.approx(single_scores, abs=1e-6)
    assert PADDED_LENGTHS[0] < 128 < PADDED_LENGTHS[-1]


def test_the_entailment_label_is_found_by_name_or_reported_missing(
    tmp_path: Path, folder: Path
) -> None:
    two_label_folder = write_cross_encoder(tmp_path / "two", {0: "not_entailment", 1: "entailment"})
    (score,) = EntailmentModel(two_label_folder).score([("dust", (SHORT_PASSAGE,))])
    assert 0.0 < score < 1.0

    unnamed_folder = write_cross_encoder(tmp_path / "unnamed", {0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(TwinError, match="exactly one must be named entailment"):
        EntailmentModel(unnamed_folder)
    # Equal files give the same judge; different label names give a different judge.
    assert EntailmentModel(folder).revision == EntailmentModel(folder, name="x").revision
    assert EntailmentModel(folder).revision != EntailmentModel(two_label_folder).revision


def test_a_folder_without_an_entailment_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))

    assert resolve_entailment_folder(str(tmp_path), download_folder=tmp_path / "cache") == tmp_path
    with pytest.raises(TwinError, match="TWIN_NLI_MODEL"):
        EntailmentModel(tmp_path)
