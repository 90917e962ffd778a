"""When the gateway's process collects garbage: at chosen moments, never inside an allocation.

Scope: switching Python's own moments off, for good or while LiteLLM is imported, and the
rounds in their place.
Out of scope: the timer (`config_watcher.py`).

Python up to 3.11 collects while it allocates. A finalizer that sets a context variable then frees
the tree of variables that `ContextVar.set` is just copying, and the process dies of a segmentation
fault (https://github.com/python/cpython/issues/148891). LiteLLM, OpenTelemetry and streams that a
reader left give the gateway both halves of it: it died in 2 of 4 load tests on a busy machine, in
`hamt_node_bitmap_assoc`. Collected by a timer, no allocation is interrupted. What exists when the
server is ready (300 MB, mostly LiteLLM) lives as long as the process and is not looked at again.
"""
# pyright: strict

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

YOUNG_SECONDS = 0.5
FULL_EVERY = 60  # rounds, so every 30 s


@contextmanager
def uncollected() -> Generator[None]:
    """While LiteLLM is imported: all that it makes stays, and looking through it for garbage
    1,600 times took 2.7 of the import's 11.3 CPU s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class GcScheduler:
    """Collects young objects each round and all of them now and then."""

    rounds: int = 0

    def begin(self) -> None:
        """Called when the server is ready."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def collect(self) -> int:
        """One round; gives the number of objects that could not be freed otherwise."""
        self.rounds += 1
        return gc.collect(2 if self.rounds % FULL_EVERY == 0 else 1)

    def end(self) -> None:
        """Give it back to Python."""
        gc.enable()
        gc.unfreeze()
