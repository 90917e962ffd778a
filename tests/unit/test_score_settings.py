"""Test `[scores]` in an author's file: how scores are mapped, and the errors for mistakes."""

from __future__ import annotations

import pytest

from twin_resources.authors import Author, read_author, read_counted_scores, write_author
from twin_resources.authors.score_settings import CountedScore, CountedScores
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

TABLE = """
[scores]
user-feedback = "thumbs"
stars = { range = [1, 5] }
mood = { stream = "thumbs", values = { happy = 1, meh = 0.5, angry = 0 } }
toxic = { by = "judge", range = [1, 0] }
expert = { stream = "thumbs", by = "annotator", weight = 3 }
"""


def write_author_text(home: Settings, text: str, slug: str = "ann") -> None:
    home.authors_dir.mkdir(parents=True, exist_ok=True)
    (home.authors_dir / f"{slug}.toml").write_text(text)


@pytest.mark.parametrize(
    ("name", "number", "category", "value", "problem"),
    [
        ("user-feedback", 1.0, "", 1.0, ""),
        ("user-feedback", 0.25, "", 0.25, ""),
        ("user-feedback", 2.0, "", None, "out_of_range"),
        ("user-feedback", None, "good", None, "not_a_number"),
        ("user-feedback", float("nan"), "", None, "not_a_number"),
        ("stars", 1.0, "", 0.0, ""),
        ("stars", 4.0, "", 0.75, ""),
        ("stars", 0.0, "", None, "out_of_range"),
        ("mood", None, "meh", 0.5, ""),
        ("mood", None, "Meh", None, "unknown_category"),
        ("mood", 1.0, "", None, "unknown_category"),
        ("toxic", 1.0, "", 0.0, ""),
        ("toxic", 0.0, "", 1.0, ""),
    ],
)
def test_a_score_becomes_a_value_from_0_to_1(
    home: Settings,
    name: str,
    number: float | None,
    category: str,
    value: float | None,
    problem: str,
) -> None:
    write_author_text(home, TABLE)
    mapped = read_author(home, "ann").scores.get(name)
    assert mapped is not None
    assert mapped.normalize(number, category) == (value, problem)


def test_each_score_has_a_stream_and_a_scorer(home: Settings) -> None:
    write_author_text(home, TABLE)
    scores = read_author(home, "ann").scores
    assert [(score.name, score.stream, score.by, score.weight) for score in scores.scores] == [
        ("expert", "thumbs", "annotator", 3),
        ("mood", "thumbs", "reader", 1),
        ("stars", "stars", "reader", 1),
        ("toxic", "toxic", "judge", 1),
        ("user-feedback", "thumbs", "reader", 1),
    ]
    assert scores.get("comfort") is None


def test_the_table_round_trips(home: Settings) -> None:
    write_author_text(home, TABLE)
    author = read_author(home, "ann")
    write_author(home, author)
    assert read_author(home, "ann") == author
    assert 'user-feedback = "thumbs"' in (home.authors_dir / "ann.toml").read_text()
    bare = Author("bob", "Bob", scores=CountedScores((CountedScore("style", "style"),)))
    write_author(home, bare)
    assert read_author(home, "bob") == bare


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('thumbs = "stars"', "'thumbs' is one of the twin's own names"),
        ('"judge:x@1" = "stars"', "one of the twin's own names"),
        ("style = 3", "style = 3 is neither a stream"),
        ('style = "a stream"', "'a stream' cannot name a stream"),
        ('"how nice" = { by = "judge" }', "'how nice' cannot name a stream"),
        ('style = { steam = "x" }', "style.steam is not one of stream, by, range, values, weight"),
        ('style = { by = "nobody" }', "style.by = 'nobody' is not one of reader, judge"),
        ('style = { by = "annotator", weight = 0 }', "weight = 0 is not a whole number from 1 to"),
        ("style = { weight = 2 }", 'a weight without by = "annotator"'),
        ("style = { range = [1] }", "style.range = [1] is not [worst, best]"),
        ("style = { range = [2, 2] }", "is not [worst, best]"),
        ("style = { range = [0, true] }", "is not [worst, best]"),
        ("style = { values = {} }", "style.values = {} does not give each category a number"),
        ("style = { values = { good = 2 } }", "does not give each category a number from 0 to 1"),
        ("style = { range = [0, 1], values = { a = 1 } }", "give only one"),
    ],
)
def test_the_error_names_the_mistake_and_the_valid_values(
    home: Settings, entry: str, message: str
) -> None:
    write_author_text(home, f"[scores]\n{entry}\n")
    with pytest.raises(TwinError) as excinfo:
        read_author(home, "ann")
    assert message in excinfo.value.found
    assert "ann.toml" in excinfo.value.found


def test_scores_that_are_not_a_table_are_refused(home: Settings) -> None:
    write_author_text(home, "scores = 3\n")
    with pytest.raises(TwinError, match="scores"):
        read_author(home, "ann")


def test_one_authors_mistake_does_not_affect_the_others(
    home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write_author_text(home, TABLE)
    write_author_text(home, "[scores]\nstyle = 3\n", "bob")
    write_author_text(home, "name = [  # scores", "cy")
    write_author_text(home, 'name = "Dee"\n', "dee")
    scores = read_counted_scores(home)
    assert list(scores) == ["ann"]
    assert scores["ann"] == read_author(home, "ann").scores
    bob, cy = caplog.messages
    assert "author bob " in bob
    assert "style = 3 is neither a stream" in bob
    assert "author cy " in cy
