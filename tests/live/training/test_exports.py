"""Test that each exported model answers like its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twin_cli import running as cli
from twin_cli.commands.outcome import open_registry

from tests.live.serving.conftest import make_adapter
from tests.model_versions import build_manifest, register_version
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.published_weights import PublishedWeights
from twin_assets.serving.export import exporting
from twin_assets.serving.export.exporting import export
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
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
    tmp_path: Path,
) -> None:
    output_folder = tmp_path / "out" / "export"

    result = export(
        checkpoints.adapter, output_folder, export_format=export_format, dtype=dtype, settings=home
    )

    assert result.agreement is not None
    assert result.agreement.is_within_tolerance
    assert result.agreement.compared >= 8 * 5
    assert (output_folder / file).is_file()
    record = json.loads((output_folder / exporting.RECORD_FILE_NAME).read_text(encoding="utf-8"))
    assert record["format"] == export_format
    assert record["dtype"] == dtype
    assert record["agreement"]["largest"] == result.agreement.largest
    assert record["checkpoint"] == manifests.read_manifest(checkpoints.adapter).checkpoint
    assert str(tmp_path) not in json.dumps(record)
    assert list(output_folder.parent.iterdir()) == [output_folder]  # no partial export remains
    assert result.size_bytes >= (output_folder / file).stat().st_size


@pytest.mark.parametrize("export_format", ["merged", "gguf"])
def test_a_full_model_is_exported(
    export_format: Any, home: Settings, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    result = export(
        checkpoints.full_model, tmp_path / "export", export_format=export_format, settings=home
    )

    assert result.agreement is not None
    assert result.agreement.is_within_tolerance


@pytest.mark.parametrize("export_format", ["adapter", "gguf-adapter"])
def test_a_full_model_has_no_adapter_to_export(
    export_format: Any, home: Settings, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(TwinError, match="a full model without an adapter"):
        export(
            checkpoints.full_model, tmp_path / "export", export_format=export_format, settings=home
        )

    assert list(tmp_path.glob("*export*")) == []


@pytest.mark.parametrize("export_format", ["adapter", "merged", "gguf-adapter", "gguf"])
def test_an_export_with_different_answers_is_not_kept(
    export_format: Any,
    home: Settings,
    checkpoints: Checkpoints,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The export gets an adapter of twice the strength."""
    strong_adapter = make_adapter(tiny_model, tmp_path / "other", scale=0.2)
    original_write: Callable[..., None] = exporting.write_export

    def write(_source: PublishedWeights, output_folder: Path, **options: Any) -> None:
        original_write(
            PublishedWeights(tiny_model, strong_adapter, "", None), output_folder, **options
        )

    monkeypatch.setattr(exporting, "write_export", write)

    with pytest.raises(TwinError, match=r"log-probabilities.* differ by"):
        export(
            checkpoints.adapter, tmp_path / "out" / "e", export_format=export_format, settings=home
        )

    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_exports_the_named_version(
    home: Settings, checkpoints: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_author(home, Author(slug="ann", name="Ann", sources=("/posts",)))
    manifest = manifests.read_manifest(checkpoints.adapter)
    register_version(
        open_registry(home),
        "ann",
        manifest.checkpoint,
        folder=str(checkpoints.adapter),
        base=manifest.base["folder"],
    )
    output_folder = tmp_path / "out"
    command = ["export", "v1", "--author", "ann", "--format", "merged", "--to", str(output_folder)]

    assert cli.run(command) == 0

    output = capsys.readouterr().out
    assert "Ann v1 (candidate) as merged" in output
    assert "differ by" in output
    assert (output_folder / "model.safetensors").is_file()
    assert cli.run(command) == 1  # the folder now exists
    assert f"{output_folder} already exists" in " ".join(capsys.readouterr().err.split()).replace(
        "- ", "-"
    )


def test_weights_outside_the_range_are_an_error(
    home: Settings, checkpoints: Checkpoints, tiny_model: Path, tmp_path: Path
) -> None:
    strong = tmp_path / "strong"
    make_adapter(tiny_model, strong / manifests.ADAPTER_FOLDER, scale=1e5)
    write_published_manifest(strong, tiny_model)

    with pytest.raises(TwinError, match="--dtype"):
        export(strong, tmp_path / "export", export_format="merged", dtype="float16", settings=home)


@pytest.mark.long
@pytest.mark.parametrize("export_format", ["merged", "gguf-adapter", "gguf"])
def test_tolerances_on_the_embedded_base_model(
    export_format: Any,
    home: Settings,
    base_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_adapter(base_model, tmp_path / "c" / manifests.ADAPTER_FOLDER, scale=0.02)
    checkpoint = write_published_manifest(tmp_path / "c", base_model)

    result = export(
        checkpoint, tmp_path / "export", export_format=export_format, settings=home
    ).agreement

    assert result is not None
    assert result.is_within_tolerance
    if export_format == "gguf-adapter":  # the error that the tolerances must detect
        monkeypatch.setattr(gguf, "_to_gguf_rows", lambda _name, values, _config: values)
        with pytest.raises(TwinError, match="differ by"):
            export(checkpoint, tmp_path / "wrong", export_format=export_format, settings=home)
