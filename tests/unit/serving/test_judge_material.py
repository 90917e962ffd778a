"""Whose texts an author's judges are told from."""

from __future__ import annotations

from twin_assets.evaluation.judged.judge_material import others_of
from twin_resources.authors import SAMPLES, Author, write_author
from twin_resources.settings import Settings


def test_others_are_there_whatever_their_files_say_and_no_sample_twice(home: Settings) -> None:
    sample = min(path.name for path in SAMPLES.iterdir() if path.is_dir())
    for slug in ("ann", "bob", sample):
        write_author(home, Author(slug, slug.title()))
    (home.authors_dir / "cleo.toml").write_text("name = [")
    assert others_of("ann", home) == ["bob", "cleo"]
    assert others_of(sample, home) == ["ann", "bob", "cleo"]
