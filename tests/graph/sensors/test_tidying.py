"""Test that the nightly maintenance compacts every author's tables and never waits for a lease."""

from __future__ import annotations

import dagster as dg

from tests.graph.tables.words import sync_words
from tests.materialization import create_instance
from twin_assets.definitions import defs
from twin_resources.dagster_resources import TablesResource
from twin_resources.storage.tables.tables import Tables
from twin_sensors.compaction import compact_author, tidy_tables, tidy_tables_before_dawn

TEXTS = {f"p{number}": f"shared word{number}" for number in range(40)}


def test_the_job_tidies_every_author(tables: Tables) -> None:
    for author in ("ann", "bob"):
        sync_words(tables, TEXTS, author=author, batch_rows=4)
    with create_instance("ann", "bob", "without-tables") as instance:
        result = tidy_tables.execute_in_process(
            instance=instance, resources={"tables": TablesResource()}
        )
    assert result.success
    for author in ("ann", "bob"):
        assert tables.compact("words", author).merged_count == 0, "the job left fragments unmerged"
        assert tables.compact("words", author).fragment_count == 1


def test_a_table_being_written_is_left_for_the_next_night(tables: Tables) -> None:
    sync_words(tables, TEXTS, batch_rows=4)
    other_tables = Tables(tables.base_uri, state=tables.state, lease_wait_s=0.1)
    with tables.lease("words", "mara"):
        message, failures = compact_author(other_tables, "mara")
    assert message == (
        "mara: 1 tables, 0 fragments merged, 0 bytes removed, vector index: none, busy: words"
    )
    assert failures == []
    assert "10 fragments merged" in compact_author(other_tables, "mara")[0]


def test_the_tidying_schedule_is_on_by_default() -> None:
    (schedule,) = [job for job in defs.schedules or () if job.name == tidy_tables_before_dawn.name]
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "tidy_tables"
