"""Garbage is collected in rounds, while Python's own moments are off."""

from __future__ import annotations

import gc
import weakref

import pytest

from twin_resources.gateway.runtime.gc_schedule import (
    FULL_COLLECTION_ROUNDS,
    GcScheduler,
    disable_collection,
)


class Knot:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_rounds_free_what_python_would_have_freed() -> None:
    rounds = GcScheduler()
    rounds.begin()
    try:
        assert not gc.isenabled()
        knot = weakref.ref(Knot())
        assert knot() is not None
        rounds.collect()
        assert knot() is None
        aged = Knot()
        for _ in range(5):  # into the oldest generation
            rounds.collect()
        seen = weakref.ref(aged)
        del aged
        for _ in range(FULL_COLLECTION_ROUNDS):
            rounds.collect()
        assert seen() is None
    finally:
        rounds.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_nothing_is_collected_while_litellm_is_imported() -> None:
    assert gc.isenabled()
    with disable_collection():
        assert not gc.isenabled()
        with disable_collection():
            pass
        assert not gc.isenabled(), "as it was found"
    assert gc.isenabled()
    with pytest.raises(ImportError), disable_collection():
        raise ImportError("broken")
    assert gc.isenabled()
