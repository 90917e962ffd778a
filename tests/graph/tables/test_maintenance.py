"""Test that maintenance merges small fragments and old index segments, and changes no row."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.graph.tables.words import index_full_text, sync_words
from twin_resources.storage.tables import maintenance
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

TEXTS = {f"p{number}": f"shared word{number}" for number in range(40)}


def list_fragment_sizes(tables: Tables) -> list[int]:
    import lance

    fragments = lance.dataset(tables.uri("words", "mara")).get_fragments()
    return [fragment.physical_rows for fragment in fragments]


def count_segments(tables: Tables) -> dict[str, int]:
    import lance

    indices = lance.dataset(tables.uri("words", "mara")).describe_indices()
    return {index.name: len(index.segments) for index in indices}


def add_rows_to_indexes(tables: Tables) -> None:
    import lance

    lance.dataset(tables.uri("words", "mara")).optimize.optimize_indices(num_indices_to_merge=0)


def test_small_fragments_are_merged_and_rows_stay(tables: Tables) -> None:
    before = sync_words(tables, TEXTS, batch_rows=4)
    assert len(list_fragment_sizes(tables)) == 10
    report = tables.compact("words", "mara")
    assert (report.merged_count, report.fragment_count) == (10, 1)
    assert tables.data_version("words", "mara") == before.data_version
    assert sync_words(tables, TEXTS).computed_count == 0
    # Nothing to do: no new version.
    version = tables.lance_version("words", "mara")
    assert tables.compact("words", "mara").merged_count == 0
    assert tables.lance_version("words", "mara") == version


def test_a_full_fragment_is_not_rewritten_for_a_small_change(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ROWS_PER_FRAGMENT", 20)
    sync_words(tables, TEXTS, batch_rows=10)
    assert list_fragment_sizes(tables) == [20] * 4
    files = list_data_files(tables)
    sync_words(tables, TEXTS | {"p3": "shared other", "new": "a b"})
    tables.compact("words", "mara")
    assert files <= list_data_files(tables), "a full fragment was rewritten"
    assert sorted(list_fragment_sizes(tables)) == [4, 20, 20, 20, 20]


def test_one_compaction_rewrites_at_most_its_limit(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ROWS_PER_FRAGMENT", 16)
    monkeypatch.setattr(maintenance, "MAX_ROWS_PER_COMPACTION", 32)
    sync_words(tables, TEXTS, batch_rows=2)
    assert list_fragment_sizes(tables) == [4] * 20
    assert tables.compact("words", "mara").merged_count == 8
    assert tables.compact("words", "mara").merged_count == 8
    assert tables.compact("words", "mara").merged_count == 4
    assert tables.compact("words", "mara").merged_count == 0
    assert list_fragment_sizes(tables) == [16] * 5


def list_data_files(tables: Tables) -> set[str]:
    return {path.name for path in Path(tables.uri("words", "mara"), "data").iterdir()}


@pytest.mark.long
def test_many_segments_of_an_index_are_merged(tables: Tables) -> None:
    import lancedb

    sync_words(tables, TEXTS)
    tables.ensure_index("words", "mara", "word_id")
    index_full_text(tables)
    texts = dict(TEXTS)
    for number in range(maintenance.MAX_SEGMENTS):
        texts[f"q{number}"] = f"later{number}"
        sync_words(tables, texts)
        add_rows_to_indexes(tables)
    assert set(count_segments(tables).values()) == {1 + maintenance.MAX_SEGMENTS}
    assert len(tables.compact("words", "mara").merged_indexes) == 2
    assert set(count_segments(tables).values()) == {1}
    table = lancedb.connect(f"{tables.base_uri}/mara").open_table("words")
    for word in ("word7", "later0", "later7"):
        assert [row["word"] for row in table.search(word, query_type="fts").to_list()] == [word]
    assert tables.compact("words", "mara").merged_indexes == ()


def test_old_versions_are_removed_and_tagged_ones_stay(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_words(tables, {"a": "one two"})
    tables.tag("words", "mara", "trained")
    sync_words(tables, {"a": "three"})
    middle = tables.lance_version("words", "mara")
    sync_words(tables, {"a": "four"})
    assert tables.compact("words", "mara").bytes_removed == 0, "a version of today was removed"
    monkeypatch.setattr(maintenance, "KEEP_VERSIONS_FOR", timedelta(0))
    assert tables.compact("words", "mara").bytes_removed > 0
    assert tables.read("words", "mara", version="trained").height == 2
    assert tables.read("words", "mara")["word"].to_list() == ["four"]
    with pytest.raises(Exception, match="choose a tag or version"):
        tables.read("words", "mara", version=middle)


def test_the_tables_of_an_author_are_listed(tables: Tables) -> None:
    assert tables.list_assets("mara") == []
    assert not Path(tables.base_uri, "mara").exists()
    sync_words(tables, TEXTS)
    assert tables.list_assets("mara") == ["words"]
    with pytest.raises(TableNotFoundError):
        tables.compact("verbs", "mara")
