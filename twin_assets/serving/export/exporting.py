"""Write a published checkpoint in the formats that other software loads.

Scope: writing the four formats and the record of an export, and refusing an export whose answers
differ from the checkpoint's. Out of scope: the weights of a checkpoint (`exported_weights.py`),
measuring the differences (`export_parity.py`), the GGUF formats
(`twin_resources/storage/weights/gguf_converter.py`), the command (`deploy/twin_cli/commands`).

    adapter        PEFT: adapter_model.safetensors, adapter_config.json (vLLM, transformers + PEFT)
    merged         a transformers folder with the adapter added to the base's weights
    gguf-adapter   adapter.gguf, for llama.cpp with the base's f16 GGUF
    gguf           model.gguf, f16: the whole model for llama.cpp

A checkpoint that trained every weight has no adapter; its `merged` is the model itself.
Formats: https://huggingface.co/docs/peft, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.job import write_json
from twin_assets.checkpoints.manifest import Manifest
from twin_assets.checkpoints.merged_weights import write_merged_model
from twin_assets.checkpoints.published_weights import PublishedWeights
from twin_assets.serving.export.export_parity import LogprobDifferences, measure_differences
from twin_assets.serving.export.exported_weights import (
    GGUF_NAMES,
    Dtype,
    Format,
    find_export_source,
)
from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import translate_disk_full

if TYPE_CHECKING:
    from twin_resources.settings import Settings

RECORD_FILE_NAME = "export.json"


@dataclass(frozen=True)
class ExportResult:
    """A complete export: its folder, its size, and its differences (None if not measured)."""

    folder: Path
    size_bytes: int
    agreement: LogprobDifferences | None


def export(
    checkpoint: Path,
    output_folder: Path,
    *,
    export_format: Format,
    settings: Settings,
    dtype: Dtype = "float16",
    verify: bool = True,
    report: Callable[[str], object] = lambda _: None,
) -> ExportResult:
    """Write one format into a new folder, and check that it gives the checkpoint's answers.

    Args:
        checkpoint: folder of a published checkpoint.
        output_folder: new folder; it appears only when the export is complete and, with `verify`,
            within the limits.
        dtype: dtype of `merged`; GGUF files are float16, adapters float32.
        settings: settings for the model server that compares a GGUF file.

    Raises:
        TwinError: the folder exists, the checkpoint has no such format, a weight exceeds the range
            of `dtype`, or the export's log-probabilities differ too much.
    """
    source, manifest = find_export_source(checkpoint)
    action = f"export {manifest.checkpoint[:12]} as {export_format}"
    if output_folder.exists():
        raise TwinError(
            action, found=f"{output_folder} already exists", next_step="specify a new folder"
        )
    if source.adapter is None and export_format in ("adapter", "gguf-adapter"):
        raise TwinError(
            action, found="a full model without an adapter", next_step="export it as merged or gguf"
        )
    with (
        translate_disk_full(action, output_folder.parent),
        _create_temporary_export(output_folder) as partial_folder,
    ):
        report(f"writing {export_format}")
        write_export(
            source, partial_folder, export_format=export_format, dtype=dtype, settings=settings
        )
        agreement = None
        if verify:
            report("comparing log-probabilities with those of the checkpoint")
            agreement = measure_differences(
                source, partial_folder, export_format=export_format, dtype=dtype, settings=settings
            )
            if not agreement.is_within_tolerance:
                raise TwinError(
                    action,
                    found=f"log-probabilities {agreement}",
                    next_step="report this with the base model's name; nothing was kept",
                )
        write_json(
            partial_folder / RECORD_FILE_NAME,
            _build_record(manifest, export_format, dtype, agreement),
        )
        byte_count = sum(
            path.stat().st_size for path in partial_folder.rglob("*") if path.is_file()
        )
        partial_folder.rename(output_folder)
    return ExportResult(output_folder, byte_count, agreement)


def write_export(
    source: PublishedWeights,
    output_folder: Path,
    *,
    export_format: Format,
    dtype: Dtype,
    settings: Settings,
) -> None:
    """Write the files of one format into an existing, empty folder.

    Args:
        settings: settings with the folder of the converter for architectures other than Llama.

    Raises:
        TwinError: a weight exceeds the range of `dtype`, or GGUF does not support the model.
    """
    from twin_resources.storage.weights import gguf_converter

    wheels = settings.weights_dir / "wheels"
    if export_format == "adapter":
        assert source.adapter is not None
        shutil.copytree(source.adapter, output_folder, dirs_exist_ok=True)
    elif export_format == "gguf-adapter":
        assert source.adapter is not None
        file = output_folder / GGUF_NAMES[export_format]
        gguf_converter.write_adapter(source.adapter, source.model, file, wheel_cache=wheels)
    elif export_format == "merged":
        write_merged_model(source.model, source.adapter, output_folder, dtype=dtype)
    elif source.adapter is None:
        gguf_converter.write_model(
            source.model, output_folder / GGUF_NAMES[export_format], wheel_cache=wheels
        )
    else:
        # the GGUF writer rounds once; the export's disk has enough space for the merged weights
        with tempfile.TemporaryDirectory(dir=output_folder.parent, prefix="merged-") as folder:
            write_merged_model(source.model, source.adapter, Path(folder), dtype="float32")
            gguf_converter.write_model(
                Path(folder), output_folder / GGUF_NAMES[export_format], wheel_cache=wheels
            )


def _build_record(
    manifest: Manifest, export_format: Format, dtype: Dtype, agreement: LogprobDifferences | None
) -> dict[str, Any]:
    """Return the record of an export's origin, without paths of this machine."""
    stored_dtypes = {"adapter": "float32", "gguf-adapter": "float32", "gguf": "float16"}
    return {
        "author": manifest.author,
        "checkpoint": manifest.checkpoint,
        "training": manifest.training,
        "stage": manifest.stage,
        "base": {name: manifest.base[name] for name in ("name", "revision")},
        "template": manifest.template,
        "format": export_format,
        "dtype": stored_dtypes.get(export_format, dtype),
        "agreement": None if agreement is None else asdict(agreement),
    }


@contextmanager
def _create_temporary_export(output_folder: Path) -> Generator[Path]:
    output_folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=output_folder.parent, prefix=f".{output_folder.name}-"
    ) as folder:
        partial_folder = Path(folder) / "export"
        partial_folder.mkdir()
        yield partial_folder
