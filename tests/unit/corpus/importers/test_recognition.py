"""Which importer reads a source, and what is refused: as it was recorded."""

from __future__ import annotations

from tests.unit.corpus.importers.recorded_verdicts import recorded, verdicts


def test_each_source_gets_the_verdict_that_was_recorded() -> None:
    """A change that is meant is recorded anew: `recorded_verdicts.py` says how."""
    now, before = verdicts(), recorded()
    assert len(now) > 1_200
    assert {name: said for name, said in now.items() if before.get(name) != said} == {}
    assert before.keys() == now.keys()
