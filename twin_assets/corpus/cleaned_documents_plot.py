"""The picture of a corpus: in which languages its documents are, and how long they are.

Belongs here: drawing. Does not belong here: counting, Dagster (`cleaned_documents_report`).
Method: Matplotlib without a display, https://matplotlib.org/stable/users/explain/figure/backends.html
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

MOST_LANGUAGES = 8
_BINS = 30


def draw(languages: Mapping[str, int], words: Sequence[int], *, title: str) -> bytes:
    """A PNG of about 20 KB: left, documents a language; right, documents by words (log scale).

    Args:
        languages: code → documents, most frequent first; beyond eight they are one bar.
        words: of each kept document.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.2), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    bars = dict(list(languages.items())[:MOST_LANGUAGES])
    rest = sum(languages.values()) - sum(bars.values())
    if rest:
        bars["others"] = rest
    left.barh(list(bars)[::-1], list(bars.values())[::-1])
    left.set_xlabel("documents")
    left.set_title("language", fontsize="medium")
    if words:
        low, high = max(1, min(words)), max(words) + 1
        edges = [low * (high / low) ** (step / _BINS) for step in range(_BINS + 1)]
        right.hist(words, bins=edges)
        right.set_xscale("log")
    right.set_xlabel("words")
    right.set_title("length", fontsize="medium")
    figure.suptitle(title)
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    return written.getvalue()
