"""Tests of the benchmark of importing, with so few posts that it takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.bench_corpus import (
    SLUG,
    add_ten_posts,
    create_home,
    require_planted_found,
    run_worker,
    write_posts,
)
from tests.graph.corpus.conftest import narrate
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


def test_benchmark_adds_ten_posts_to_posts_with_random_vectors(
    tmp_path: Path,
    embedder_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentences = [narrate(f"lamp {number}", sentences=1) for number in range(200)]
    write_posts(tmp_path / "posts", 5, seed=1, sentences=sentences)
    home = create_home(tmp_path, "few", embedder_weights, tmp_path / "posts")
    monkeypatch.setenv("TWIN_HOME", str(home.home))
    tables = Tables(home.tables_base, state=open_home_state(home))

    def import_posts(vectors: str) -> int:
        assert run_worker(vectors) == 0
        cost = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(cost) == {"cpu_s", "wall_s", "peak_mb"}
        return tables.read("embeddings", SLUG, columns=["document_id"]).n_unique()

    assert import_posts("random") == 5
    add_ten_posts(tmp_path / "posts", sentences)
    assert import_posts("real") == 15
    require_planted_found(home)
