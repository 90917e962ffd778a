"""The hash of each weight of a transformers folder, taken when it is prepared.

Scope: reading safetensors as bytes, and the hashes. Out of scope: when they are
taken and where they are kept (`weights.py`), weights as tensors (`sharded_loading.py` of the
training).
Format: https://huggingface.co/docs/safetensors, a header of JSON with offsets and then the bytes.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from twin_resources.errors import TwinError

BLOCK_BYTES = 1 << 20


def weight_hash(shape: Sequence[int], blocks: Iterable[bytes | memoryview]) -> str:
    """SHA-256 (hex) over a weight's shape and its bytes as they are stored."""
    digest = hashlib.sha256(f"{tuple(shape)}\n".encode())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """`weight_hash` (hex) of every weight in a folder's safetensors, by name; a MB at a time.

    Raises:
        TwinError: a file is none of safetensors, or only a part of one; names it.
    """
    hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        _require_complete(path)
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(size))
            header.pop("__metadata__", None)
            for name, stored in header.items():
                begin, end = stored["data_offsets"]
                stream.seek(8 + size + begin)
                hashes[name] = weight_hash(stored["shape"], _blocks(stream, end - begin))
    return hashes


def _require_complete(path: Path) -> None:
    """Opening it holds its header against its length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise TwinError(
            f"read the weights in {path}",
            found=f"not a whole file of safetensors: {error}",
            next_step="fetch the model again; an interrupted download leaves such a file",
        ) from error


def _blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    for start in range(0, length, BLOCK_BYTES):
        yield stream.read(min(BLOCK_BYTES, length - start))
