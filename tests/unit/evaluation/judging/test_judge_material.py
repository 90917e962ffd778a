"""Test which other authors provide texts for the judges."""

from __future__ import annotations

from twin_assets.evaluation.judging.judge_material import other_author_slugs
from twin_resources.authors import SAMPLES_DIR, Author, write_author
from twin_resources.settings import Settings


def test_other_authors_exclude_sample_authors(home: Settings) -> None:
    sample = min(path.name for path in SAMPLES_DIR.iterdir() if path.is_dir())
    for slug in ("ann", "bob", sample):
        write_author(home, Author(slug, slug.title()))
    (home.authors_dir / "cleo.toml").write_text("name = [")
    assert other_author_slugs("ann", home) == ["bob", "cleo"]
    assert other_author_slugs(sample, home) == ["ann", "bob", "cleo"]
