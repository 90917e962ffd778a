"""How many models read at the same time, and with how many cores each.

Belongs here: that decision, and holding a reading to its share of the cores.
Does not belong here: what is read (`losses.py`), a likelihood (`perplexity.py`).

Two threads share one small model badly: SmolLM2-135M read a gate's 278 answers in 46 s with two,
where one takes 54 CPU seconds. So base and candidate read side by side, half of the cores each,
when both fit into memory.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twin_resources.serving.model_server_process import servers_at_once

# A bf16 file is loaded in fp32 (twice its size) and then turned into bf16 beside it.
SIZES_WHILE_LOADING = 3
SHARE_OF_MEMORY = 0.5


def models_at_once(folders: Sequence[Path], *, available: int | None = None) -> int:
    """One on a GPU, on a single core, or where two would not fit; else two.

    Args:
        folders: of the base models that will be loaded, one for each that reads.
        available: bytes of free memory; None: this machine's.
    """
    import psutil
    import torch

    if len(folders) < 2 or torch.cuda.is_available():
        return 1
    wanted = min(len(folders), servers_at_once())
    largest = sorted(map(_bytes_of_weights, folders))[-wanted:]
    free = psutil.virtual_memory().available if available is None else available
    return wanted if sum(largest) * SIZES_WHILE_LOADING <= free * SHARE_OF_MEMORY else 1


@contextmanager
def shared_cores(readers: int) -> Generator[Callable[[], None]]:
    """What each reading thread calls before it computes, to take its share of the cores."""
    import torch

    before = torch.get_num_threads()
    each = max(1, before // readers)
    try:
        yield lambda: torch.set_num_threads(each)
    finally:
        torch.set_num_threads(before)  # it holds for the whole process, not for that thread alone


def _bytes_of_weights(folder: Path) -> int:
    found = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return sum(path.stat().st_size for path in found)
