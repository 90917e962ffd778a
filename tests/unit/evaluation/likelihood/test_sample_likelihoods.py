"""Test that each compared model reads the samples in its own tokens."""

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
from twin_assets.evaluation.progress import Clock
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render

CHAT = (
    "{% for part in messages %}{{ part.role }}: {{ part.content }} </s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_passages() -> pl.DataFrame:
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


def write_base_model(folder: Path, *, tokens: str, texts: list[str]) -> Path:
    """Write a base model with random weights.

    Args:
        tokens: "words" splits texts only at spaces; "marks" also splits off punctuation.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pre_tokenizer: Any = {
        "words": pre_tokenizers.WhitespaceSplit,
        "marks": pre_tokenizers.Whitespace,
    }[tokens]()
    words = {word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text)}
    vocabulary = {
        word: index for index, word in enumerate(["<unk>", "</s>", *sorted(words - {"</s>"})])
    }
    tokenizer: Any = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer_class: Any = PreTrainedTokenizerFast
    tokenizer_class(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", chat_template=CHAT
    ).save_pretrained(folder)
    torch.manual_seed(len(vocabulary))
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(("own", "other"), [("words", "marks"), ("marks", "words")])
def test_an_incumbent_with_another_base_reads_its_own_tokens(
    tmp_path: Path, own: str, other: str
) -> None:
    samples = make_passages()
    texts = [
        message["content"] for messages in samples["messages"].to_list() for message in messages
    ]
    texts += ["system: user: assistant: </s>", "assistant"]
    base = EvaluatedModel(
        "base model", "b", write_base_model(tmp_path / "base", tokens=own, texts=texts)
    )
    incumbent = EvaluatedModel(
        "v3", "i", write_base_model(tmp_path / "former", tokens=other, texts=texts)
    )
    spec = EvaluationSpec(
        checkpoint="c", candidate=EvaluatedModel("candidate", "c", base.base_folder), base=base,
        incumbent=incumbent, template=DEFAULT_TEMPLATE.hash, dataset=samples, dataset_version="d",
        trained_on=frozenset(), token_budget=100_000, max_questions=30,
    )  # fmt: skip

    likelihood_samples = measurement.collect_samples(spec, samples, [])
    cache = LikelihoodCache(MeasurementCache(EmptyTables(), "ada"), "fp32")  # pyright: ignore[reportArgumentType]
    likelihoods = sample_likelihoods.compute_likelihoods(
        likelihood_samples,
        spec,
        cache=cache,
        clock=Clock(),
        progress=ProgressLines(lambda _line: None),
    )

    assert not any(
        cache.find_missing(model.weights_id, samples)
        for model, samples in (
            (base, likelihood_samples.all_samples()),
            (incumbent, likelihood_samples.held_out_for_incumbent),
        )
    )
    ids = [sample.sample_id for sample in likelihood_samples.held_out]
    assert len(ids) == 40
    assert ids == [sample.sample_id for sample in likelihood_samples.held_out_for_incumbent]
    incumbent_likelihood, candidate = (
        likelihoods.get_held_out("v3"),
        likelihoods.get_held_out("candidate"),
    )
    assert incumbent_likelihood.token_counts == candidate.token_counts, (
        "perplexities must be per token of the candidate"
    )
    # a model of random weights gives all of its tokens about the same probability
    nats = sum(incumbent_likelihood.negative_log_likelihoods)
    own_token_count = sum(
        sample.answer_tokens - 1 for sample in likelihood_samples.held_out_for_incumbent
    )
    assert own_token_count != sum(candidate.token_counts)
    assert nats / own_token_count == pytest.approx(
        math.log(read_vocabulary_size(incumbent)), rel=0.1
    )


def read_vocabulary_size(model: EvaluatedModel) -> int:
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(model.base_folder)
    return int(config.vocab_size)
