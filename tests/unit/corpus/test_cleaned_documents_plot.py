"""The picture of a corpus is drawn anew when it would look different, and only then."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from twin_assets.corpus.cleaned_documents_plot import CorpusShape, draw, figure_of

WORDS = [10 + n % 2_000 for n in range(60_000)]


def test_ten_posts_among_many_do_not_show() -> None:
    before = CorpusShape.of({"en": 60_000, "de": 30_000}, WORDS)
    after = CorpusShape.of({"en": 60_010, "de": 30_000}, [*WORDS, *[500] * 10])
    assert after != before
    assert after.looks_like(before)


def test_what_shows_is_drawn() -> None:
    before = CorpusShape.of({"en": 600, "de": 30}, WORDS)
    assert not CorpusShape.of({"en": 610, "de": 30}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600, "fr": 30}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600, "de": 30}, [*WORDS, 9_000]).looks_like(before)
    assert not CorpusShape.of({"en": 600, "de": 30}, WORDS[: len(WORDS) // 2]).looks_like(before)


def test_a_shape_counts_each_document_once_and_is_kept() -> None:
    shape = CorpusShape.of({f"l{n}": 20 - n for n in range(12)}, [1, 5, 5, 80])
    assert sum(shape.documents) == 4
    assert list(shape.languages)[-1] == "others"
    assert sum(shape.languages.values()) == sum(20 - n for n in range(12))
    assert CorpusShape.from_document(json.loads(json.dumps(asdict(shape)))) == shape


def test_nothing_is_drawn_as_well() -> None:
    nothing = CorpusShape.of({}, [])
    assert nothing.looks_like(CorpusShape.of({}, []))
    assert not nothing.looks_like(CorpusShape.of({"en": 1}, [12]))
    assert draw(nothing, title="Ann").startswith(b"\x89PNG")
    assert draw(CorpusShape.of({"en": 3}, [1, 2, 700]), title="Ann").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        ({f"l{n}": 100_000 - n for n in range(12)}, [*range(10, 60_000), *[300] * 200_000]),
        ({"en": 3}, [1, 2, 700_000]),
        ({"en": 2}, [12, 900]),
        ({"en": 3}, [55, 56, 57]),
        ({"en": 1}, [60]),
    ],
)
def test_what_is_written_in_it_fits_and_is_plain(
    languages: dict[str, int], words: list[int]
) -> None:
    figure = figure_of(CorpusShape.of(languages, words), title="José Núñez")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    left, right = figure.axes
    below = [one for one in right.get_xticklabels() if one.get_text()]
    low, high = right.get_xlim()
    seen = [one for one in below if low <= one.get_position()[0] <= high]

    assert len(seen) >= 2
    assert all(label.get_text().replace(",", "").replace(".", "").isdigit() for label in seen)
    boxes = [label.get_window_extent() for label in seen]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
    beside = [*left.get_yticklabels(), *right.get_yticklabels(), left.xaxis.label, *figure.texts]
    for box in [*boxes, *(one.get_window_extent() for one in beside)]:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    counted = min(one.get_window_extent().x0 for one in right.get_yticklabels())
    assert counted > left.bbox.x1
    assert figure.get_layout_engine() is None  # which takes as long as all the rest
