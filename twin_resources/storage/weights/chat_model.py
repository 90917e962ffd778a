"""Check whether a folder or a GGUF file contains a chat model, and count a GGUF file's parameters.

Scope: the checks before installation. This module therefore imports only the standard library and
uses no syntax newer than Python 3.9.
Out of scope: fetching and preparing a model (`weights/weights.py`), and whether it fits the
machine (`model_fit.py`).
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import BinaryIO

from twin_resources.errors import TwinError

GGUF_MAGIC = b"GGUF"
CHAT_TEMPLATE_KEY = b"tokenizer.chat_template"
# The metadata precedes the weights; a vocabulary of 256,000 tokens with its merges takes 15 MB.
MAX_METADATA_BYTES = 64 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024

# The key, followed by the code of its type (4 = uint32).
_FILE_TYPE_MARKER = b"general.file_type" + (4).to_bytes(4, "little")
# Codes from https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, general.file_type
_QUANTIZATIONS = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k",
    11: "q3_k_s", 12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s",
    17: "q5_k_m", 18: "q6_k", 32: "bf16",
}  # fmt: skip


def read_gguf_quantization(path: Path) -> str:
    """Return the quantization of a GGUF file's matrices (`f16`, `q8_0` …), or "" if not stated."""
    value = _read_after_marker(path, _FILE_TYPE_MARKER, 4)
    if len(value) < 4:
        return ""
    file_type = int.from_bytes(value, "little")
    return _QUANTIZATIONS.get(file_type, f"file type {file_type}")


def _read_after_marker(path: Path, marker: bytes, length: int) -> bytes:
    """Return the bytes after a marker in the metadata, or b"" if the marker is missing."""
    with path.open("rb") as stream:
        buffer = b""
        for _ in range(MAX_METADATA_BYTES // BLOCK_BYTES):
            if not (block := stream.read(BLOCK_BYTES)):
                break
            buffer += block
            if (start := buffer.find(marker)) >= 0 and len(buffer) >= start + len(marker) + length:
                return buffer[start + len(marker) :][:length]
            buffer = buffer[-len(marker) - length :]
    return b""


# Bytes of a metadata value by its type code; strings (8) and arrays (9) state their own length.
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def count_gguf_parameters(path: Path) -> int | None:
    """Return the number of a GGUF file's weights from its list of tensors; None if it is damaged.

    Reading the list of a vocabulary of 150,000 tokens takes .2 s.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                return None
            _, tensor_count, value_count = _unpack(stream, "<IQQ")
            for _ in range(value_count):
                _skip_string(stream)
                _skip_value(stream, *_unpack(stream, "<I"))
            total = 0
            for _ in range(tensor_count):
                _skip_string(stream)
                (dimension_count,) = _unpack(stream, "<I")
                count = 1
                for length in _unpack(stream, f"<{dimension_count}Q"):
                    count *= length
                _unpack(stream, "<IQ")  # the type and the offset
                total += count
            return total
    except (OSError, struct.error, KeyError):
        return None


def _unpack(stream: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _skip_string(stream: BinaryIO) -> None:
    stream.seek(_unpack(stream, "<Q")[0], 1)


def _skip_value(stream: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _skip_string(stream)
    elif kind == _ARRAY:
        item_kind, count = _unpack(stream, "<IQ")
        if item_kind in (_STRING, _ARRAY):
            for _ in range(count):
                _skip_value(stream, item_kind)
        else:
            stream.seek(_VALUE_BYTES[item_kind] * count, 1)
    else:
        stream.seek(_VALUE_BYTES[kind], 1)


def require_chat_folder(folder: Path, *, action: str) -> None:
    """Check that a transformers folder contains a chat model.

    Raises:
        TwinError: the folder has no configuration, no safetensors, or no chat template.
    """
    if not (folder / "config.json").is_file():
        raise TwinError(
            action,
            found=f"no config.json in {folder}",
            next_step="specify a transformers folder with config.json, a tokenizer and "
            "*.safetensors",
        )
    if not any(folder.glob("*.safetensors")):
        raise TwinError(
            action,
            found=f"no *.safetensors in {folder} (pickled weights are not read)",
            next_step="specify a model that is stored in safetensors format",
        )
    settings_file = folder / "tokenizer_config.json"
    has_template_setting = settings_file.is_file() and "chat_template" in json.loads(
        settings_file.read_text(encoding="utf-8")
    )
    if not has_template_setting and not (folder / "chat_template.jinja").is_file():
        raise TwinError(
            action,
            found="its tokenizer has no chat template",
            next_step="specify the instruct or chat variant of this model",
        )


def require_chat_gguf(path: Path, *, action: str) -> None:
    """Check that a GGUF file contains a chat model, according to its metadata.

    Raises:
        TwinError: it is not a GGUF file or has no chat template (adapters have none).
    """
    with path.open("rb") as stream:
        magic = stream.read(len(GGUF_MAGIC))
        if magic != GGUF_MAGIC:
            raise TwinError(
                action,
                found=f"{path} is not a GGUF file",
                next_step="specify a GGUF file or the model's transformers folder",
            )
    if not _read_after_marker(path, CHAT_TEMPLATE_KEY, 1):
        raise TwinError(
            action,
            found=f"{path} has no chat template",
            next_step="specify the GGUF file of the complete instruct or chat variant, not an "
            "adapter",
        )
