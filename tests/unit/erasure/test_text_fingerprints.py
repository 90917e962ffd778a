"""Test that a text is found by its runs of words, whatever is between the words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.erasure.text_fingerprints import (
    MIN_WORDS,
    RUN_LENGTH,
    FingerprintCollector,
    TextFingerprints,
)

TEXT = "One evening in March the old clock of my uncle stopped at a quarter past nine."


def fingerprint(*texts: str, excluded: tuple[str, ...] = ()) -> TextFingerprints:
    collector = FingerprintCollector()
    for text in texts:
        collector.add(text)
    for text in excluded:
        collector.exclude_shared(text)
    return collector.fingerprints()


@pytest.mark.parametrize(
    "other_text",
    [
        f"He said: {TEXT} Then he left.",
        "in MARCH, the old *clock* of\nmy uncle",
        'said "in March the old\\nclock of my uncle stopped"',
        "in March the old clock of my <b>uncle</b>",
    ],
)
def test_a_run_of_eight_words_is_found(other_text: str) -> None:
    assert fingerprint(TEXT).matches(other_text)


@pytest.mark.parametrize(
    "other_text",
    ["", "clock", "March in the old clock of my uncle", "in March the old clock of my aunt", "\\n"],
)
def test_seven_words_or_another_order_are_not_found(other_text: str) -> None:
    assert not fingerprint(TEXT).matches(other_text)


def test_runs_that_a_remaining_text_shares_are_excluded() -> None:
    remaining_text = "It was told that one evening in March the old clock of my neighbor fell."
    fingerprints = fingerprint(TEXT, excluded=(remaining_text,))
    assert not fingerprints.matches(remaining_text)
    assert fingerprints.matches(TEXT)
    assert fingerprint(TEXT, excluded=(TEXT,)).runs.size == 0
    title = "The walk behind the mill"
    fingerprints = fingerprint(title, TEXT, excluded=(f"See {title} again.", "The walk behind"))
    assert not fingerprints.matches(title)
    assert fingerprints.matches(TEXT)


def test_a_short_title_is_one_run_of_its_own_length() -> None:
    fingerprints = fingerprint("The walk behind the mill", TEXT)
    assert fingerprints.lengths == (5, RUN_LENGTH)
    assert fingerprints.matches("read 'the walk behind the mill' again")
    assert not fingerprints.matches("the walk behind a mill")
    assert fingerprint("The old mill walk").runs.size == 0, f"fewer than {MIN_WORDS} words"
    assert fingerprint(" ".join(TEXT.split()[:7])).lengths == (7, RUN_LENGTH)
    assert fingerprint(" ".join(TEXT.split()[:8])).lengths == (RUN_LENGTH,)
    assert fingerprint(TEXT).runs.size == len(TEXT.split()) - RUN_LENGTH + 1


def test_the_file_of_fingerprints_does_not_contain_the_text(tmp_path: Path) -> None:
    path = tmp_path / "marks.npz"
    fingerprint(TEXT, "The walk behind the mill").save(path)
    loaded = TextFingerprints.load(path)
    assert loaded.matches(TEXT)
    assert loaded.lengths == (5, RUN_LENGTH)
    assert b"clock" not in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
    with np.load(path) as archive:
        arrays = {name: archive[name].astype(object) for name in archive.files}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allow_pickle"):
        TextFingerprints.load(path)


@given(
    st.lists(st.text("abcdefghij", min_size=1, max_size=6), min_size=RUN_LENGTH, max_size=40),
    st.lists(st.text("klmnopqrst", min_size=1, max_size=6), max_size=30),
    st.integers(min_value=0, max_value=32),
)
def test_any_run_of_a_text_is_found_in_other_texts(
    words: list[str], other_words: list[str], start: int
) -> None:
    start = min(start, len(words) - RUN_LENGTH)
    run = words[start : start + RUN_LENGTH]
    fingerprints = fingerprint(" ".join(words))
    assert fingerprints.matches(" ".join([*other_words, *run, *other_words]))
    assert not fingerprints.matches(" ".join(other_words))
