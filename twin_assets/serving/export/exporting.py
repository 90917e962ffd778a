"""Write a published checkpoint in the formats that other software loads.

Scope: writing the four formats, the record beside an export, and refusing an export whose answers
differ from the checkpoint's. Out of scope: the weights of a checkpoint
(`exported_weights.py`), measuring equality (`export_parity.py`), the GGUF formats
(`twin_resources/storage/weights/kept_converter.py`), the command (`deploy/twin_cli/commands`).

    adapter        PEFT: adapter_model.safetensors, adapter_config.json (vLLM, transformers + PEFT)
    merged         a transformers folder with the adapter added to the base's weights
    gguf-adapter   adapter.gguf, for llama.cpp beside the base's f16 GGUF
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
from twin_assets.checkpoints.merged_weights import write_merged
from twin_assets.serving.export.export_parity import LogprobDifferences, agreement_of
from twin_assets.serving.export.exported_weights import (
    GGUF_NAMES,
    Dtype,
    ExportSource,
    Format,
    source_of,
)
from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import told_when_full

if TYPE_CHECKING:
    from twin_resources.settings import Settings

RECORD = "export.json"


@dataclass(frozen=True)
class ExportResult:
    """A complete export: its folder, its size on disk, and its agreement, None if not measured."""

    folder: Path
    bytes: int
    agreement: LogprobDifferences | None


def export(
    checkpoint: Path,
    into: Path,
    *,
    wanted: Format,
    settings: Settings,
    dtype: Dtype = "float16",
    verify: bool = True,
    report: Callable[[str], object] = lambda _: None,
) -> ExportResult:
    """Write one format into a new folder, and check that it answers as the checkpoint does.

    Args:
        checkpoint: folder of a published checkpoint.
        into: new folder; it appears only when it is complete and, with `verify`, equal.
        dtype: dtype of `merged`; GGUF files are float16, adapters float32.
        settings: settings for the model server that compares a GGUF file.

    Raises:
        TwinError: the folder exists, the checkpoint has no such format, a weight does not fit, or
            the export answers differently.
    """

    source, manifest = source_of(checkpoint)
    tried = f"export {manifest.checkpoint[:12]} as {wanted}"
    if into.exists():
        raise TwinError(tried, found=f"{into} exists", next_step="name a folder that does not")
    if source.adapter is None and wanted in ("adapter", "gguf-adapter"):
        raise TwinError(
            tried, found="every weight was trained", next_step="export it as merged or gguf"
        )
    with told_when_full(tried, into.parent), _partial(into) as made:
        report(f"writing {wanted}")
        write(source, made, wanted=wanted, dtype=dtype, settings=settings)
        agreement = None
        if verify:
            report("comparing log-probabilities with those of the checkpoint")
            agreement = agreement_of(source, made, wanted=wanted, dtype=dtype, settings=settings)
            if not agreement.holds:
                raise TwinError(
                    tried,
                    found=f"log-probabilities {agreement}",
                    next_step="report this with the base model's name; nothing was kept",
                )
        write_json(made / RECORD, _record(manifest, wanted, dtype, agreement))
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        made.rename(into)
    return ExportResult(into, size, agreement)


def write(
    source: ExportSource, into: Path, *, wanted: Format, dtype: Dtype, settings: Settings
) -> None:
    """Write the files of one format into an existing, empty folder.

    Args:
        settings: settings with the folder of the converter for architectures other than Llama.

    Raises:
        TwinError: a weight does not fit `dtype`, or GGUF cannot express the model.
    """
    from twin_resources.storage.weights import kept_converter

    wheels = settings.weights_dir / "wheels"
    if wanted == "adapter":
        assert source.adapter is not None
        shutil.copytree(source.adapter, into, dirs_exist_ok=True)
    elif wanted == "gguf-adapter":
        assert source.adapter is not None
        file = into / GGUF_NAMES[wanted]
        kept_converter.write_adapter(source.adapter, source.base, file, wheels=wheels)
    elif wanted == "merged":
        write_merged(source.whole, source.adapter, into, dtype=dtype)
    elif source.adapter is None:
        kept_converter.write_model(source.whole, into / GGUF_NAMES[wanted], wheels=wheels)
    else:
        # the GGUF writer rounds once; the export's disk has enough space for the merged weights
        with tempfile.TemporaryDirectory(dir=into.parent, prefix="merged-") as folder:
            write_merged(source.whole, source.adapter, Path(folder), dtype="float32")
            kept_converter.write_model(Path(folder), into / GGUF_NAMES[wanted], wheels=wheels)


def _record(
    manifest: Manifest, wanted: Format, dtype: Dtype, agreement: LogprobDifferences | None
) -> dict[str, Any]:
    """Return the record of an export: its origin, without folders of this machine."""
    stored = {"adapter": "float32", "gguf-adapter": "float32", "gguf": "float16"}
    return {
        "author": manifest.author,
        "checkpoint": manifest.checkpoint,
        "training": manifest.training,
        "stage": manifest.stage,
        "base": {name: manifest.base[name] for name in ("name", "revision")},
        "template": manifest.template,
        "format": wanted,
        "dtype": stored.get(wanted, dtype),
        "agreement": None if agreement is None else asdict(agreement),
    }


@contextmanager
def _partial(into: Path) -> Generator[Path]:
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}-") as folder:
        made = Path(folder) / "export"
        made.mkdir()
        yield made
