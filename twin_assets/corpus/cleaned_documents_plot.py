"""The picture of a corpus: in which languages its documents are, and how long they are.

Belongs here: drawing. Does not belong here: counting, Dagster (`cleaned_documents_report`).
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_VERSION = "2"
"""Of the picture; another one draws it anew."""

MOST_LANGUAGES = 8
_BINS = 30
_MARGINS = {"left": 0.08, "right": 0.95, "bottom": 0.17, "top": 0.82, "wspace": 0.2}
# A bar of 300 pixels moves by one.
_VISIBLE = 1 / 300


@dataclass(frozen=True)
class CorpusShape:
    """What the picture shows.

    Attributes:
        languages: code → documents, most frequent first; beyond eight they are one bar.
        edges: words at which the bars of the right half begin and end; none without a document.
        documents: in each of them.
    """

    languages: dict[str, int]
    edges: tuple[float, ...]
    documents: tuple[int, ...]

    @classmethod
    def of(cls, languages: Mapping[str, int], words: Sequence[int]) -> CorpusShape:
        """Count.

        Args:
            languages: code → documents, most frequent first.
            words: of each kept document.
        """
        import numpy as np

        bars = dict(list(languages.items())[:MOST_LANGUAGES])
        rest = sum(languages.values()) - sum(bars.values())
        if rest:
            bars["others"] = rest
        if not words:
            return cls(bars, (), ())
        low, high = max(1, min(words)), max(words) + 1
        edges = [low * (high / low) ** (step / _BINS) for step in range(_BINS + 1)]
        counts, _ = np.histogram(words, bins=edges)
        return cls(bars, tuple(edges), tuple(counts.tolist()))

    def looks_like(self, other: CorpusShape) -> bool:
        """Whether nobody could tell the two pictures apart: no bar differs by a pixel."""
        return (
            list(self.languages) == list(other.languages)
            and self.edges == other.edges
            and _alike(list(self.languages.values()), list(other.languages.values()))
            and _alike(self.documents, other.documents)
        )

    @classmethod
    def from_document(cls, fields: Mapping[str, Any]) -> CorpusShape:
        """From what `dataclasses.asdict` made of it, read back from JSON."""
        return cls(dict(fields["languages"]), tuple(fields["edges"]), tuple(fields["documents"]))


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    step = _VISIBLE * max([*one, *other], default=0)
    return all(abs(a - b) <= step for a, b in zip(one, other, strict=True))


def draw(shape: CorpusShape, *, title: str) -> bytes:
    """A PNG of about 20 KB: left, documents a language; right, documents by words (log scale)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    written = io.BytesIO()
    FigureCanvasAgg(figure_of(shape, title=title)).print_png(written)
    return written.getvalue()


def figure_of(shape: CorpusShape, *, title: str) -> Figure:
    """The picture before it is drawn.

    Every import draws it: with margins for what is known to stand there, and plain numbers, that
    takes half of what Matplotlib's own layout and its powers of ten take.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(8.0, 3.2), dpi=80)
    left, right = figure.subplots(1, 2, gridspec_kw=_MARGINS)
    left.barh(list(shape.languages)[::-1], list(shape.languages.values())[::-1])
    left.set_xlabel("documents")
    left.set_title("language", fontsize="medium")
    if shape.edges:
        widths = [end - begin for begin, end in pairwise(shape.edges)]
        right.bar(shape.edges[:-1], shape.documents, width=widths, align="edge")
        right.set_xscale("log")
        between = (2.0, 5.0) if shape.edges[-1] < 100 * shape.edges[0] else ()  # else they overlap
        right.xaxis.set_major_locator(LogLocator(subs=(1.0, *between), numticks=5))
        right.xaxis.set_major_formatter("{x:,.9g}")
        right.xaxis.set_minor_locator(NullLocator())
    right.set_xlabel("words")
    right.set_title("length", fontsize="medium")
    figure.suptitle(title)
    return figure
