"""Test that a base model whose served answers differ is refused, and that the cause is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.base_models.tiny_families import make_family
from twin_resources.errors import TwinError
from twin_resources.models.base_model import prepare_and_verify
from twin_resources.models.serving import serving_parity
from twin_resources.settings import Settings
from twin_resources.storage.weights import gguf
from twin_resources.storage.weights.weights import RECORD_FILE, load_base_model

pytestmark = pytest.mark.live

Patch = pytest.MonkeyPatch


def keep_row_order(patch: Patch) -> None:
    patch.setattr(gguf, "_to_gguf_rows", lambda _name, values, _config: values)


def use_gpt2_pattern(patch: Patch) -> None:
    patch.setattr(gguf, "pre_tokenizer_name", lambda *_: "gpt-2")


def write_untied_head(patch: Patch) -> None:
    """Write a tied head as an untied one with rows in another order."""
    original_layout: Callable[..., Iterator[gguf.Layout]] = gguf._iter_model_layout
    original_tensors: Callable[..., Iterator[tuple[str, Any]]] = gguf._iter_model_tensors

    def add_head_layout(*arguments: Any, **options: Any) -> Iterator[gguf.Layout]:
        for name, shape, kind in original_layout(*arguments, **options):
            yield name, shape, kind
            if name == "token_embd.weight":
                yield "output.weight", shape, kind

    def add_head_rows(*arguments: Any, **options: Any) -> Iterator[tuple[str, Any]]:
        for name, values in original_tensors(*arguments, **options):
            yield name, values
            if name == "token_embd.weight":
                yield "output.weight", np.ascontiguousarray(values[::-1])

    patch.setattr(gguf, "_iter_model_layout", add_head_layout)
    patch.setattr(gguf, "_iter_model_tensors", add_head_rows)


FAULTS: dict[str, tuple[Callable[[Patch], None], str]] = {
    "wrong pre-tokenizer": (use_gpt2_pattern, "the tokens differ (pre-tokenizer or merges)"),
    "wrong rotary order": (keep_row_order, serving_parity.SEQUENCE_CAUSE),
    "wrong tied head": (write_untied_head, serving_parity.SINGLE_TOKEN_CAUSE),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_detected_before_training(
    fault: str,
    home: Settings,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inject, message = FAULTS[fault]
    folder = make_family("llama", tmp_path / "model", texts)
    inject(monkeypatch)

    with pytest.raises(TwinError) as error:
        prepare_and_verify(home, str(folder), report=lambda _line: None)

    assert message in error.value.found
    assert list(home.weights_dir.glob(f"*/*/{RECORD_FILE}")) == []
    with pytest.raises(TwinError, match="no prepared copy"):
        load_base_model(home, str(folder))


def test_an_answer_that_continues_after_an_end_token_is_detected(
    home: Settings, texts: list[str], tmp_path: Path
) -> None:
    """`generation_config.json` lists an end token that llama.cpp does not use."""
    import json

    folder = make_family("llama", tmp_path / "model", texts)
    path = folder / "generation_config.json"
    generation_config = json.loads(path.read_text(encoding="utf-8"))
    generation_config["eos_token_id"].append(5)
    path.write_text(json.dumps(generation_config), encoding="utf-8")

    with pytest.raises(TwinError, match="an answer does not end at"):
        prepare_and_verify(home, str(folder), report=lambda _line: None)
