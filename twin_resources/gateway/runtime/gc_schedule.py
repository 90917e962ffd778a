"""Schedule garbage collection in the gateway, so that it never runs inside an allocation.

Scope: disabling automatic collection, permanently or while LiteLLM is imported, and the scheduled
collections that replace it.
Out of scope: the timer (`background_tasks.py`).

Python up to 3.11 collects during allocations. A finalizer that sets a context variable can then
free the tree of variables that `ContextVar.set` is copying, and the process ends with a
segmentation fault (https://github.com/python/cpython/issues/148891). LiteLLM, OpenTelemetry and
cancelled streams meet both conditions in the gateway. The gateway crashed in 2 of 4 load tests on a
busy machine, in `hamt_node_bitmap_assoc`. A timer collects outside allocations. Objects that exist
when the server is ready (300 MB, mostly LiteLLM) are frozen and not examined again.
"""
# pyright: strict

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

YOUNG_COLLECTION_INTERVAL_S = 0.5
FULL_COLLECTION_ROUNDS = 60  # in rounds; equals 30 s


@contextmanager
def disable_collection() -> Generator[None]:
    """Disable collection while LiteLLM is imported.

    LiteLLM's objects stay in memory, and 1,600 collections took 2.7 of the import's 11.3 s of CPU
    time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class GcScheduler:
    """A scheduler of garbage collection.

    It collects young objects each round, and all objects every `FULL_COLLECTION_ROUNDS` rounds.
    """

    round_count: int = 0

    def begin(self) -> None:
        """Freeze existing objects and disable automatic collection, when the server is ready."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def collect(self) -> None:
        """Run one round."""
        self.round_count += 1
        gc.collect(2 if self.round_count % FULL_COLLECTION_ROUNDS == 0 else 1)

    def end(self) -> None:
        """Restore automatic collection."""
        gc.enable()
        gc.unfreeze()
