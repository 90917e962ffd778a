"""The checks of `cleaned_documents` as Dagster runs them, and what a person sees in the UI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.graph.corpus.conftest import SLUG, Materialize, metadata, paragraph
from twin_assets.corpus import boilerplate, cleaning, contracts, document_claims
from twin_resources.storage.tables.tables import Tables


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        evaluation.check_name: evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.asset_key.path == ["cleaned_documents"]
    }


def test_all_claims_are_checks_that_block(materialize: Materialize) -> None:
    checks = evaluations(materialize())
    names = {
        *document_claims.CLAIMS,
        "rows_keep_their_contract",
        "every_import_is_kept_or_explained",
    }
    assert set(checks) == names
    assert all(check.passed and check.blocking for check in checks.values())


def test_a_cleaning_that_leaves_buttons_fails_and_stops_the_chunks(
    materialize: Materialize, posts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{paragraph('kite')}\n\nSubscribe now\n\n{paragraph('old kite')}\n"
    (posts / "_posts" / "2022-01-01-kite.md").write_text(text)
    monkeypatch.setattr(boilerplate, "remove_platform_lines", lambda given: given)
    result = materialize(raise_on_error=False)
    checks = evaluations(result)
    assert [name for name, check in checks.items() if not check.passed] == [
        "no_platform_boilerplate_left"
    ]
    failed = checks["no_platform_boilerplate_left"]
    assert failed.metadata["quarantined"].value == 1
    assert "TWIN_MOST_QUARANTINED" in (failed.description or "")
    assert not result.success
    assert not result.asset_materializations_for_node("document_chunks")


def test_a_document_whose_quotation_became_prose_is_put_aside(
    materialize: Materialize, posts: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = "> Whoever sold me this kite had never seen one fly, he told me that himself.\n"
    for number, subject in enumerate(("kite", "tram", "bell", "oar")):
        text = f"{paragraph(subject)}\n\n{quoted if subject == 'kite' else ''}\n"
        (posts / "_posts" / f"2022-01-0{number + 1}-{subject}.md").write_text(text)
    clean = cleaning.clean_markdown
    monkeypatch.setattr(
        cleaning, "clean_markdown", lambda text, **how: clean(text, **how).replace("> ", "")
    )
    result = materialize()
    assert all(evaluation.passed for evaluation in evaluations(result).values())
    (aside,) = tables.read("cleaned_documents_quarantine", SLUG).to_dicts()
    assert "kite" in aside["source_id"]
    assert aside[contracts.FAILED_RULES] == ["quotations_keep_their_mark"]


def test_a_row_that_breaks_the_contract_fails_and_stops_the_chunks(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_rows = cleaning.document_rows
    monkeypatch.setattr(
        cleaning,
        "document_rows",
        lambda *given: document_rows(*given).with_columns(pl.lit("").alias("language")),
    )
    monkeypatch.setattr(contracts, "good_rows", lambda frame, _schema: frame)
    result = materialize(raise_on_error=False)
    check = evaluations(result)["rows_keep_their_contract"]
    assert not check.passed
    assert check.metadata["bad_rows"].value == 3
    assert check.metadata["by_rule"].value == {"kept_rows_have_words_and_a_language": 3}
    assert not result.asset_materializations_for_node("document_chunks")


def test_a_quarantined_row_is_explained_and_counted(
    materialize: Materialize, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_rows = cleaning.document_rows

    def spoiled(verdicts: pl.DataFrame, prepared: pl.DataFrame) -> pl.DataFrame:
        lamp = pl.col("source_id").str.contains("lamp")
        return document_rows(verdicts, prepared).with_columns(
            pl.when(lamp).then(pl.lit("")).otherwise("language").alias("language")
        )

    monkeypatch.setattr(cleaning, "document_rows", spoiled)
    result = materialize()
    checks = evaluations(result)
    assert checks["every_import_is_kept_or_explained"].passed
    assert checks["every_import_is_kept_or_explained"].metadata["quarantined"].value == 1
    contract = checks["rows_keep_their_contract"]
    assert contract.passed
    assert contract.metadata["quarantined"].value == {"kept_rows_have_words_and_a_language": 1}
    assert metadata(result, "cleaned_documents")["quarantined"] == 1
    assert tables.read("cleaned_documents_quarantine", SLUG).height == 1


def test_statistics_but_no_text_in_the_event_log(
    materialize: Materialize, instance: dg.DagsterInstance, posts: Path
) -> None:
    (posts / "_posts" / "2022-01-01-mail.md").write_text(
        f"{paragraph('letter')} Write to ann.lee@clockmail.ch about it.\n"
    )
    result = materialize()
    statistics = metadata(result, "cleaned_documents")
    assert statistics["kept"] == 4
    assert statistics["languages"] == {"en": 4}
    assert statistics["replaced"] == {"e-mail": 1}
    events = "".join(entry.to_json() for entry in instance.all_logs(result.run_id))
    assert "cleaned_documents" in events
    assert "come back unchanged" not in events
    assert "clockmail" not in events


def test_a_row_is_held_against_its_contract_once_and_again_under_another(
    materialize: Materialize, posts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at() -> tuple[Any, Any]:
        check = evaluations(materialize())["rows_keep_their_contract"]
        assert check.passed
        return check.metadata["looked_at"].value, check.metadata["rows"].value

    assert looked_at() == (3, 3)
    assert looked_at() == (0, 3)
    (posts / "_posts" / "2022-01-01-letter.md").write_text(f"{paragraph('letter')}\n")
    assert looked_at() == (1, 4)
    monkeypatch.setattr(contracts, "schema_version", lambda _schema: "another")
    assert looked_at() == (4, 4)


def test_a_bad_row_among_sound_ones_is_found_each_time(
    materialize: Materialize, posts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize()
    document_rows = cleaning.document_rows
    monkeypatch.setattr(
        cleaning,
        "document_rows",
        lambda *given: document_rows(*given).with_columns(pl.lit("").alias("language")),
    )
    monkeypatch.setattr(contracts, "good_rows", lambda frame, _schema: frame)
    (posts / "_posts" / "2022-01-01-letter.md").write_text(f"{paragraph('letter')}\n")
    for _ in range(2):
        check = evaluations(materialize(raise_on_error=False))["rows_keep_their_contract"]
        assert not check.passed
        assert check.metadata["by_rule"].value == {"kept_rows_have_words_and_a_language": 1}
