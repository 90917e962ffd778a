"""Compute the hash of each weight in a transformers folder.

Scope: reading safetensors as bytes and hashing them. Out of scope: when hashes are computed and
where they are stored (`weights.py`), and weights as tensors (`sharded_loading.py`).
Format: https://huggingface.co/docs/safetensors; a JSON header with offsets precedes the bytes.
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
    """Return the SHA-256 (hex) of a weight's shape and its stored bytes."""
    digest = hashlib.sha256(f"{tuple(shape)}\n".encode())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the `weight_hash` of every weight in a folder, by name, reading one MB at a time.

    Raises:
        TwinError: a file is incomplete or not a safetensors file; the message names it.
    """
    hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        _require_complete(path)
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(size))
            header.pop("__metadata__", None)
            for name, tensor_info in header.items():
                begin, end = tensor_info["data_offsets"]
                stream.seek(8 + size + begin)
                hashes[name] = weight_hash(tensor_info["shape"], _read_blocks(stream, end - begin))
    return hashes


def _require_complete(path: Path) -> None:
    """Open a file with safetensors, which checks its header against its length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise TwinError(
            f"read the weights in {path}",
            found=f"the safetensors file is incomplete: {error}",
            next_step="download the model again; an interrupted download leaves such a file",
        ) from error


def _read_blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    for start in range(0, length, BLOCK_BYTES):
        yield stream.read(min(BLOCK_BYTES, length - start))
