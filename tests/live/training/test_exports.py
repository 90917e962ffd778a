"""Test that each exported model answers like its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.serving.conftest import make_adapter
from tests.model_versions import build_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.serving.export import export
from twin_resources.errors import TwinError
from twin_resources.models.serving.serving_parity import (
    TransformersReference,
    verify_serving_parity,
)
from twin_resources.settings import Settings
from twin_resources.storage.weights import gguf

pytestmark = pytest.mark.live


def write_published_manifest(folder: Path, base: Path) -> Path:
    """Write a manifest into a folder that contains `adapter/` or `model/`."""
    full_model = (folder / manifests.MODEL_FOLDER).is_dir()
    weights = folder / (manifests.MODEL_FOLDER if full_model else manifests.ADAPTER_FOLDER)
    checkpoint = manifests.compute_checkpoint_hash(weights, base_revision="r", template="t")
    manifests.write_manifest(
        folder,
        build_manifest(
            "ann",
            checkpoint,
            base={"name": "tiny", "folder": str(base), "gguf": None, "revision": "r"},
        ),
    )
    return folder


def write_full_model(base: Path, folder: Path) -> Path:
    """Write a copy of the base with slightly changed weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(5)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 0.02)
    model.half().save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Checkpoints:
    adapter: Path
    full_model: Path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Checkpoints:
    folder = tmp_path_factory.mktemp("checkpoints")
    make_adapter(tiny_model, folder / "adapted" / manifests.ADAPTER_FOLDER)
    (folder / "whole").mkdir()
    write_full_model(tiny_model, folder / "whole" / manifests.MODEL_FOLDER)
    return Checkpoints(
        write_published_manifest(folder / "adapted", tiny_model),
        write_published_manifest(folder / "whole", tiny_model),
    )


LIMITS = {"float32": (1e-4, 1e-3), "float16": (0.005, 0.05), "bfloat16": (0.05, 0.5)}
"""Allowed mean and largest difference of log-probabilities, in nats, by the dtype of weights."""


def require_equal_answers(
    home: Settings, base: Path, adapter: Path, output: Path, export_format: str, dtype: str
) -> None:
    """Ask an export and its checkpoint the same, with the software that loads the export."""
    if export_format == "gguf":
        verify_serving_parity(home, base, output / "model.gguf", adapter=adapter)
        return
    if export_format == "gguf-adapter":
        gguf_base = gguf.write_model(base, output.parent / "base.gguf")
        verify_serving_parity(
            home, base, gguf_base, adapter=adapter, adapter_gguf=output / "adapter.gguf"
        )
        return
    loads_base = export_format == "adapter"
    expected = TransformersReference(base, adapter)
    exported = TransformersReference(base if loads_base else output, output if loads_base else None)
    tokens = expected.tokenize(expected.render([{"role": "user", "content": "How does it tick?"}]))
    places = range(1, len(tokens))
    first, second = (model.log_probabilities(tokens, places) for model in (expected, exported))
    differences = (first - second).abs().gather(-1, first.topk(5, dim=-1).indices)
    mean, largest = LIMITS[dtype]
    assert 0 <= differences.mean() < mean
    assert differences.max() < largest


@pytest.mark.parametrize(
    ("export_format", "dtype", "file"),
    [
        ("adapter", "float32", "adapter_model.safetensors"),
        ("merged", "float32", "model.safetensors"),
        ("merged", "float16", "model.safetensors"),
        ("merged", "bfloat16", "model.safetensors"),
        ("gguf-adapter", "float32", "adapter.gguf"),
        ("gguf", "float16", "model.gguf"),
    ],
)
def test_each_format_of_an_adapter_answers_like_the_checkpoint(
    export_format: Any,
    dtype: Any,
    file: str,
    home: Settings,
    checkpoints: Checkpoints,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "out" / "export"
    export(checkpoints.adapter, output, export_format=export_format, dtype=dtype)
    assert (output / file).is_file()
    assert list(output.parent.iterdir()) == [output]  # no partial export remains
    record = json.loads((output / "export.json").read_text(encoding="utf-8"))
    assert (record["format"], record["dtype"]) == (export_format, dtype)
    assert record["checkpoint"] == manifests.read_manifest(checkpoints.adapter).checkpoint
    assert str(tmp_path) not in json.dumps(record)
    adapter = checkpoints.adapter / manifests.ADAPTER_FOLDER
    require_equal_answers(home, tiny_model, adapter, output, export_format, dtype)


def test_a_full_model_has_no_adapter_to_export(
    home: Settings, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    output = tmp_path / "export"
    with pytest.raises(TwinError, match="a full model without an adapter"):
        export(checkpoints.full_model, output, export_format="adapter")
    assert list(tmp_path.glob("*export*")) == []
    export(checkpoints.full_model, output, export_format="gguf")
    model = checkpoints.full_model / manifests.MODEL_FOLDER
    verify_serving_parity(home, model, output / "model.gguf")


def test_weights_outside_the_range_are_an_error(
    home: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    strong = tmp_path / "strong"
    make_adapter(tiny_model, strong / manifests.ADAPTER_FOLDER, scale=1e5)
    write_published_manifest(strong, tiny_model)
    with pytest.raises(TwinError, match="--dtype"):
        export(strong, tmp_path / "export", export_format="merged", dtype="float16")
