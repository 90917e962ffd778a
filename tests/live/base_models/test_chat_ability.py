"""Test that the embedded base model can chat, and that one with random weights cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live.base_models.tiny_families import make_family
from tests.prepared_base import base_gguf
from twin_resources.models.base_model import prepare_and_verify
from twin_resources.models.serving.chat_ability import QUESTIONS, measure_chat_ability
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import RECORD_FILE

pytestmark = pytest.mark.live


def test_the_embedded_base_chats(home: Settings) -> None:
    with ModelServers(home).serve(str(base_gguf()), None, alias="v1") as server:
        ability = measure_chat_ability(server)
    assert ability.can_chat
    assert ability.faulty_answer_count <= 1, ability.faults


def test_a_model_that_cannot_chat_is_prepared_with_a_warning(
    home: Settings, texts: list[str], tmp_path: Path
) -> None:
    """The model is not refused, because quotations need no model."""
    folder = make_family("qwen3", tmp_path / "model", texts)
    lines: list[str] = []
    base = prepare_and_verify(home, str(folder), report=lines.append)
    assert base.gguf is not None
    [warning] = [line for line in lines if line.startswith("warning: ")]
    assert "is not a chat model: it answered" in warning
    assert "quotations" in warning
    [record] = home.weights_dir.glob(f"*/*/{RECORD_FILE}")
    faults = json.loads(record.read_text(encoding="utf-8"))["proof"]["chat_faults"]
    assert len(faults) == len(QUESTIONS)
