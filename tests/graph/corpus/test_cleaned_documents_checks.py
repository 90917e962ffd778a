"""Test the checks of `cleaned_documents` in Dagster, and the metadata of its runs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.graph.corpus.conftest import SLUG, Materialize, get_metadata, narrate
from twin_assets.corpus import boilerplate, cleaning, document_claims
from twin_resources.storage.tables.tables import Tables


def read_checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        evaluation.check_name: evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.asset_key.path == ["cleaned_documents"]
    }


def test_all_claims_are_blocking_checks(materialize: Materialize) -> None:
    checks = read_checks(materialize())
    names = {
        *document_claims.CLAIMS,
        "rows_keep_their_contract",
        "every_import_is_kept_or_explained",
    }
    assert set(checks) == names
    assert all(check.passed and check.blocking for check in checks.values())


def test_remaining_buttons_fail_the_check_and_stop_the_chunks(
    materialize: Materialize, posts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{narrate('kite')}\n\nSubscribe now\n\n{narrate('old kite')}\n"
    (posts / "_posts" / "2022-01-01-kite.md").write_text(text)
    monkeypatch.setattr(boilerplate, "remove_platform_lines", lambda text: text)
    result = materialize(raise_on_error=False)
    checks = read_checks(result)
    assert [name for name, check in checks.items() if not check.passed] == [
        "no_platform_boilerplate_left"
    ]
    failed_check = checks["no_platform_boilerplate_left"]
    assert failed_check.metadata["quarantined"].value == 1
    assert "TWIN_MOST_QUARANTINED" in (failed_check.description or "")
    assert not result.success
    assert not result.asset_materializations_for_node("embeddings")


@pytest.mark.long
def test_an_invalid_row_fails_the_check_and_stops_the_chunks(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_rows = cleaning.build_document_rows
    monkeypatch.setattr(
        cleaning,
        "build_document_rows",
        lambda *frames: build_rows(*frames).with_columns(pl.lit("").alias("language")),
    )
    monkeypatch.setattr(cleaning, "_quarantine", lambda rows, _names: rows)
    monkeypatch.setattr(cleaning, "validate_rows", lambda rows, _schema: rows)
    for _ in range(2):  # every run reports it
        result = materialize(raise_on_error=False)
        check = read_checks(result)["rows_keep_their_contract"]
        assert not check.passed
        assert check.metadata["bad_rows"].value == 3
        assert check.metadata["by_rule"].value == {"kept_rows_have_words_and_a_language": 3}
        assert not result.asset_materializations_for_node("embeddings")


@pytest.mark.long
def test_a_quarantined_row_is_explained_and_counted(
    materialize: Materialize, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_rows = cleaning.build_document_rows

    def remove_language(verdicts: pl.DataFrame, prepared_posts: pl.DataFrame) -> pl.DataFrame:
        lamp = pl.col("source_id").str.contains("lamp")
        return build_rows(verdicts, prepared_posts).with_columns(
            pl.when(lamp).then(pl.lit("")).otherwise("language").alias("language")
        )

    monkeypatch.setattr(cleaning, "build_document_rows", remove_language)
    result = materialize()
    checks = read_checks(result)
    assert checks["every_import_is_kept_or_explained"].passed
    assert checks["every_import_is_kept_or_explained"].metadata["quarantined"].value == 1
    assert checks["rows_keep_their_contract"].passed
    assert get_metadata(result, "cleaned_documents")["quarantined"] == 1
    documents = tables.read("cleaned_documents", SLUG, where="NOT kept")
    assert documents["dropped_because"].to_list() == ["breaks_kept_rows_have_words_and_a_language"]


def test_the_event_log_has_statistics_but_no_text(
    materialize: Materialize, instance: dg.DagsterInstance, posts: Path
) -> None:
    (posts / "_posts" / "2022-01-01-mail.md").write_text(
        f"{narrate('letter')} Write to ann.lee@clockmail.ch about it.\n"
    )
    result = materialize()
    statistics = get_metadata(result, "cleaned_documents")
    assert statistics["kept"] == 4
    assert statistics["languages"] == {"en": 4}
    assert statistics["replaced"] == {"e-mail": 1}
    events = "".join(entry.to_json() for entry in instance.all_logs(result.run_id))
    assert "cleaned_documents" in events
    assert "come back unchanged" not in events
    assert "clockmail" not in events
