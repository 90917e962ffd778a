"""Answers that a judge keeps go with their post, their reader and their author, and the proof of an
erasure knows where they stood."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa

from tests.graph.erasure.conftest import AUTHOR, TOLD, Lived
from tests.graph.erasure.test_planted_word import forgotten
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.erasure.plan import plan
from twin_resources.erasure.state_store import StateStore
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining import judge_reference_set
from twin_resources.statistics.judge_drift import FIRST_SCORES
from twin_resources.storage.state.state_tables import kept_answers as kept
from twin_resources.storage.state.state_tables import kept_days, kept_scores

JUDGE = "general@1"
SUBJECTS = {
    "post": ErasureSubject("post", AUTHOR, TOLD),
    "author": ErasureSubject("author", AUTHOR, AUTHOR),
}


def keep_all(instance: Installation) -> set[str]:
    """The judge keeps every answer of the ledger, and has scored each for ten days."""
    with instance.state.transaction() as connection:
        everything = connection.execute(sa.select(ledger_tables.traces.c.trace_id)).scalars().all()
        for day in range(FIRST_SCORES + 3):
            names = judge_reference_set.renew(
                connection,
                AUTHOR,
                JUDGE,
                drawn=everything,
                there=everything,
                most=40,
                today=20_000 + day,
            )
            scores = dict.fromkeys(names, 0.5)
            judge_reference_set.store(connection, AUTHOR, JUDGE, scores, today=20_000 + day, at=0.0)
    return set(everything)


def left(instance: Installation) -> tuple[set[str], set[str], int]:
    """Answers that are kept, those that have scores, and days of sums."""
    with instance.state.reading() as connection:
        return (
            set(connection.execute(sa.select(kept.c.trace_id)).scalars()),
            set(connection.execute(sa.select(kept_scores.c.trace_id)).scalars()),
            len(connection.execute(sa.select(kept_days)).all()),
        )


@pytest.mark.parametrize("kind", ["post", "reader", "author"])
def test_kept_answers_are_erased_and_looked_for(lived: Lived, kind: str) -> None:
    instance = lived.instance
    everything = keep_all(instance)
    subject = SUBJECTS.get(kind, ErasureSubject("reader", "", lived.reader))
    key_hash = hashlib.sha256(lived.reader_key.encode()).hexdigest() if kind == "reader" else ""
    gone = plan(instance, subject, key_hash=key_hash)
    found = StateStore(instance).holds(gone)
    assert {"kept_answers", "kept_scores"} <= set(found), "the proof would find them"
    mine = set(gone.traces) & everything
    assert mine
    assert (mine == everything) == (kind == "author")
    assert left(instance) == (everything, everything, 3)
    instance.state.close()

    forgotten(lived, subject, key_hash=key_hash)

    after = lived.instance
    rest = everything - mine
    assert left(after) == (rest, rest, 0 if kind == "author" else 3)
    assert StateStore(after).holds(gone) == []
    after.state.close()
