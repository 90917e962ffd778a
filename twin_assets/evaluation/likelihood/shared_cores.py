"""Decide how many batches are read in parallel, and how many cores each batch uses.

Scope: that decision, and limiting a reading thread to its share of the cores.
Out of scope: the samples (`sample_likelihoods.py`) and computing likelihoods (`perplexity.py`).

Two threads hardly speed up one small batch: SmolLM2-135M read a gate's 278 answers in 46 s of wall
time with two threads, and in 54 s of CPU time with one. Two batches are therefore read in parallel,
each with half of the cores.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from twin_resources.models.serving.model_server_process import max_concurrent_servers


def choose_batch_concurrency() -> int:
    """Return 1 on a GPU, else the largest number of concurrent model servers."""
    import torch

    return 1 if torch.cuda.is_available() else max_concurrent_servers()


@contextmanager
def share_cores(concurrency: int) -> Generator[Callable[[], None]]:
    """Yield a function that limits the calling thread to its share of the cores."""
    import torch

    thread_count = torch.get_num_threads()
    threads_per_batch = max(1, thread_count // concurrency)
    try:
        yield lambda: torch.set_num_threads(threads_per_batch)
    finally:
        torch.set_num_threads(thread_count)  # the setting is process-wide, not per thread
