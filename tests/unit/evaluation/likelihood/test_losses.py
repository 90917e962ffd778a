"""Test the tokens that each compared model reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
from twin_assets.evaluation.likelihood import sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render

CHAT = (
    "{% for part in messages %}{{ part.role }}: {{ part.content }} </s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def passages() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for number in range(40):
        answer = f"Brass wears well, and number {number} wears better than {number + 1}."
        prompt = render(DEFAULT_TEMPLATE, author_name="Ada", question=f"Why brass, {number}?")
        rows.append(
            {
                "sample_id": f"s{number:02}", "document_id": f"d{number // 2}",
                "question": f"Why brass, {number}?", "answer": answer,
                "messages": [*prompt, {"role": "assistant", "content": answer}],
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def base_model(folder: Path, *, by: str, texts: list[str]) -> Path:
    """A base model of random weights whose tokens are words, or words and marks (`by`)."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    cut: Any = {"words": pre_tokenizers.WhitespaceSplit, "marks": pre_tokenizers.Whitespace}[by]()
    words = {word for text in texts for word, _ in cut.pre_tokenize_str(text)}
    vocabulary = {word: at for at, word in enumerate(["<unk>", "</s>", *sorted(words - {"</s>"})])}
    tokenizer: Any = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = cut
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", chat_template=CHAT
    ).save_pretrained(folder)
    torch.manual_seed(len(vocabulary))
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("mine", "other"), [("words", "marks"), ("marks", "words")])
def test_an_incumbent_with_another_base_reads_its_own_tokens(
    tmp_path: Path, mine: str, other: str
) -> None:
    read = passages()
    texts = [part["content"] for talk in read["messages"].to_list() for part in talk]
    texts += ["system: user: assistant: </s>", "assistant"]
    base = EvaluatedModel("base model", "b", base_model(tmp_path / "base", by=mine, texts=texts))
    incumbent = EvaluatedModel("v3", "i", base_model(tmp_path / "former", by=other, texts=texts))
    question = EvaluationSpec(
        checkpoint="c", candidate=EvaluatedModel("candidate", "c", base.base_folder), base=base,
        incumbent=incumbent, template=DEFAULT_TEMPLATE.hash, dataset=read, dataset_version="d",
        trained_on=frozenset(), token_budget=100_000, questions=30,
    )  # fmt: skip

    reading, _ = measurement._collect_samples(question, read, [])
    stored = LikelihoodCache(MeasurementCache(EmptyTables(), "ada"), "fp32")  # pyright: ignore[reportArgumentType]
    found = sample_likelihoods.compute_likelihoods(
        reading, question, cache=stored, clock=Clock(), progress=ProgressLines(lambda _line: None)
    )

    assert not any(
        stored.find_missing(model.weights, samples)
        for model, samples in (
            (base, reading.all_samples()),
            (incumbent, reading.held_out_for_incumbent),
        )
    )
    ids = [sample.sample_id for sample in reading.held_out]
    assert len(ids) == 40
    assert ids == [sample.sample_id for sample in reading.held_out_for_incumbent]
    theirs, candidate = found.held_out("v3"), found.held_out("candidate")
    assert theirs is not None
    assert candidate is not None
    assert theirs.tokens == candidate.tokens, "perplexities are per token of the candidate's"
    # a model of random weights gives each of its own tokens about the same chance
    nats = sum(theirs.negative_log_likelihoods)
    counted = sum(sample.answer_tokens - 1 for sample in reading.held_out_for_incumbent)
    assert counted != sum(candidate.tokens)
    assert nats / counted == pytest.approx(math.log(vocabulary_of(incumbent)), rel=0.1)


def vocabulary_of(model: EvaluatedModel) -> int:
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(model.base_folder)
    return int(config.vocab_size)
