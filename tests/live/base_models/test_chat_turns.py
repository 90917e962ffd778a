"""Test the adaptation of each family's chat template, and templates that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live.base_models.tiny_families import (
    CHATML,
    FAMILIES,
    GEMMA,
    make_tokenizer,
)
from tests.live.training.conftest import make_samples
from twin_assets.checkpoints.samples import tokenize_samples
from twin_resources.errors import TwinError
from twin_resources.prompt.control_marks import extract_tokenizer_marks
from twin_resources.storage.weights.chat_turns import adapt_chat_template, find_end_tokens

pytestmark = pytest.mark.live

EXPECTED_CHANGES = {
    "mistral": ("the template rejects a system turn, so its text is put before the question",),
    "gemma2": ("the template rejects a system turn, so its text is put before the question",),
    "gemma3": ("the template rejects a system turn, so its text is put before the question",),
    "qwen3": ("thinking is switched off",),
    "smollm3": ("thinking is switched off",),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> dict[str, Any]:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        name: AutoTokenizer.from_pretrained(make_tokenizer(name, folder / name, texts))
        for name in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_template_accepts_our_turns(family: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[family]
    template = tokenizer.chat_template

    turns = adapt_chat_template(tokenizer)

    assert turns.changes == EXPECTED_CHANGES.get(family, ())
    assert (turns.template == template) == (not turns.changes)
    tokenizer.chat_template = turns.template
    try:
        prompt = tokenizer.apply_chat_template(
            [{"role": "system", "content": "Be Ada."}, {"role": "user", "content": "Why?"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        samples, left_out = tokenize_samples(make_samples(8), tokenizer, max_length=2048)
    finally:
        tokenizer.chat_template = template
    assert (prompt.count("Be Ada."), prompt.count("Why?")) == (1, 1)
    assert len(samples) == 8
    assert not left_out
    end_tokens = {
        tokenizer.convert_ids_to_tokens(sample.tokens[sample.answer_end - 1]) for sample in samples
    }
    assert end_tokens == {turns.end_of_turn} == {FAMILIES[family].ends[0]}


def test_tool_tokens_in_a_post_are_text(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["qwen3"]

    escaped = extract_tokenizer_marks(tokenizer).escape("He wrote <tool_call>{}</tool_call> there.")

    assert escaped == "He wrote < tool_call>{}< /tool_call> there."


def test_every_token_that_ends_an_answer_is_named(
    tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = tokenizers["llama"]
    ids = tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": {ids}}}')

    tokens = find_end_tokens(tmp_path, tokenizer, adapt_chat_template(tokenizer))

    assert tokens == ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>")


INVALID_TEMPLATES = {
    "no template": ("", "no chat template"),
    "a turn is lost": (CHATML.replace("message.content", "''"), "does not follow its prompt"),
    "no token ends an answer": (
        CHATML.replace("'<|im_end|>\n'", "'\n'"),
        "instead of a control token after an answer",
    ),
    "a second question is refused": (
        "{% if messages | length > 3 %}{{ raise_exception('one question only') }}{% endif %}"
        + CHATML,
        "a conversation with two questions is rejected: one question only",
    ),
    "another prompt than before an answer": (
        CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>' }}{% endif %}"),
        "does not follow its prompt",
    ),
}


@pytest.mark.parametrize("case", INVALID_TEMPLATES)
def test_a_template_that_cannot_be_used_is_refused(case: str, tokenizers: dict[str, Any]) -> None:
    template, message = INVALID_TEMPLATES[case]
    tokenizer = tokenizers["qwen2"]
    original, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        with pytest.raises(TwinError) as error:
            adapt_chat_template(tokenizer)
    finally:
        tokenizer.chat_template = original

    assert message in error.value.found


def test_a_lone_system_turn_is_rendered(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["gemma2"]
    template = adapt_chat_template(tokenizer).template

    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be Ada."}], chat_template=template, tokenize=False
    )

    assert GEMMA in template
    assert "<start_of_turn>user\nBe Ada.<end_of_turn>" in text
