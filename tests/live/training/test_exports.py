"""Test that each exported model answers like its checkpoint."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from twin_cli.commands.outcome import open_registry
from twin_cli.commands.versions import run_export

from tests.live.serving.conftest import make_adapter
from tests.model_versions import build_manifest, register_version
from twin_assets.checkpoints import manifest as manifests
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.serving.export import export
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.models.serving.serving_parity import (
    TransformersReference,
    verify_serving_parity,
)
from twin_resources.registry.moves import GateClaim, Verdict
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


@pytest.mark.parametrize(
    ("consent", "has_verdict", "sentences"),
    [
        ("2026-01-02: by mail", True,
         ["Ann Bell agreed to this on 2026-01-02.", "Prose without quotations is not released.",
          "| `says_what_the_posts_say` | no | 9 of 10 unsupported |"]),
        ("", False,
         ["Ann Bell has not agreed to the publication", "What the gate found (not measured)"]),
    ],
)  # fmt: skip
def test_an_export_has_a_card_for_a_model_hub_without_paths_of_this_machine(
    home: Settings,
    checkpoints: Checkpoints,
    tiny_model: Path,
    tmp_path: Path,
    consent: str,
    has_verdict: bool,
    sentences: list[str],
) -> None:
    write_author(home, Author("ann", "Ann Bell", sources=("/posts",), consent=consent))
    registry = open_registry(home)
    name = manifests.read_manifest(checkpoints.adapter).checkpoint
    register_version(registry, "ann", name, folder=str(checkpoints.adapter), base=str(tiny_model))
    if has_verdict:
        claims = (
            GateClaim("beats_base_model", True, 0.7, 1.0, "perplexity 23 | base 34"),
            GateClaim("says_what_the_posts_say", False, 0.9, 0.2, "9 of 10 unsupported",
                      blocks="voice"),
        )  # fmt: skip
        registry.record_verdict(Verdict("ann", name, GATE_VERSION, "passed", claims, "2026-01-01"))
    folder = tmp_path / "export"
    code = run_export(
        home, "v1", author="ann", export_format="adapter", output_folder=folder, dtype="float16",
        as_json=False, console=Console(file=io.StringIO()),
    )  # fmt: skip
    assert code == 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(sentence in card for sentence in sentences)
    front_matter = yaml.safe_load(card.split("---")[1])
    assert (front_matter["license"], front_matter["library_name"]) == ("other", "peft")
    results = front_matter.get("model-index", [{"results": []}])[0]["results"]
    metrics = {metric["type"]: metric["value"] for row in results for metric in row["metrics"]}
    assert metrics.get("beats_base_model") == (0.7 if has_verdict else None)
    for file in folder.rglob("*"):
        for private_path in (tmp_path, tiny_model, home.home):
            assert str(private_path).encode() not in file.read_bytes(), file.name
