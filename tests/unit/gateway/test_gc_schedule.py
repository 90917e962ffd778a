"""Test scheduled garbage collection, which replaces automatic collection."""

from __future__ import annotations

import gc
import weakref

import pytest

from twin_resources.gateway.runtime.gc_schedule import (
    FULL_COLLECTION_ROUNDS,
    GcScheduler,
    disable_collection,
)


class ReferenceCycle:
    """An object that only a garbage collection frees."""

    def __init__(self) -> None:
        self.reference = self


def test_scheduled_collections_free_reference_cycles() -> None:
    scheduler = GcScheduler()
    scheduler.begin()
    try:
        assert not gc.isenabled()
        cycle = weakref.ref(ReferenceCycle())
        assert cycle() is not None
        scheduler.collect()
        assert cycle() is None
        old_cycle = ReferenceCycle()
        for _ in range(5):  # moves it to the oldest generation
            scheduler.collect()
        reference = weakref.ref(old_cycle)
        del old_cycle
        for _ in range(FULL_COLLECTION_ROUNDS):
            scheduler.collect()
        assert reference() is None
    finally:
        scheduler.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_collection_is_disabled_within_the_context() -> None:
    assert gc.isenabled()
    with disable_collection():
        assert not gc.isenabled()
        with disable_collection():
            pass
        assert not gc.isenabled(), "the inner context restores the earlier state"
    assert gc.isenabled()
    with pytest.raises(ImportError), disable_collection():
        raise ImportError("broken")
    assert gc.isenabled()
