"""Test that the prepared base model equals what transformers reads from the same GGUF file."""

from __future__ import annotations

import pytest

from tests.prepared_base import base_folder, base_gguf

pytestmark = pytest.mark.live

TEXTS = (
    "It's 12345 pounds, isn't it?",
    "def f(x):\n    return x  # 3.14\n\n\n",
    "  leading and trailing  ",
    "José and 李 went home",
    "<|im_start|>user\nhello<|im_end|>\n",
)


@pytest.mark.long
def test_weights_tokens_and_chat_template_are_those_of_the_gguf_file() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = base_folder(), base_gguf()
    reference = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    expected, actual = reference.state_dict(), model.state_dict()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key].half().float(), actual[key]) for key in expected)

    reference_tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == reference_tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    answer = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
