"""Read the authors' names, titles and gate plots for the page from the home's files.

Scope: reading these files; a missing file is not an error. Out of scope: calling the gateway, HTML.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from twin_resources.authors import list_readable_authors
from twin_resources.quality.judges.voice_shown import PICTURE, find_newest_voice_figures
from twin_resources.settings import Settings

MAX_PLOT_BYTES = 2_000_000
PLOT_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class AuthorFiles:
    """The files of one home."""

    settings: Settings

    def names(self) -> dict[str, str]:
        """Return the authors' names by slug."""
        return {author.slug: author.name for author in list_readable_authors(self.settings)[0]}

    def titles(self, author: str, *, max_titles: int) -> list[str]:
        """Return suitable titles of the author's newest posts; none before an import."""
        from twin_resources.storage.state.state import State
        from twin_resources.storage.tables.tables import Tables

        tables = Tables(self.settings.tables_base, state=State.open(self.settings.state_address))
        if not tables.exists("embeddings", author):
            return []
        columns = ["title", "published_at", "document_id"]
        rows = tables.read("embeddings", author, columns=columns).unique("document_id")
        newest = rows.sort(["published_at", "document_id"], descending=True, nulls_last=True)
        titles = dict.fromkeys(str(title or "").strip() for title in newest["title"])
        return [title for title in titles if 3 <= len(title) <= 60][:max_titles]

    def plots(self, author: str) -> list[tuple[str, str]]:
        """Return (name, `data:` URL) of each plot of the author's newest gate, the voice first.

        A report is `<checkpoint>/evaluation/<gate>.md`. Its plots, `<gate>-<name>.svg` or `.png`,
        are beside it (twin_assets/evaluation/report), and so is the voice plot, `voice_shown.svg`.
        """
        folder = self.settings.checkpoints_dir / author
        plots: dict[str, Path] = {}
        voice = find_newest_voice_figures(self.settings.checkpoints_dir, author)
        if voice is not None and voice.with_name(PICTURE).exists():
            plots["voice"] = voice.with_name(PICTURE)
        reports = sorted(folder.glob("*/evaluation/*.md"), key=lambda path: path.stat().st_mtime)
        if reports:
            stem = reports[-1].stem
            for path in sorted(reports[-1].parent.glob(f"{stem}-*")):
                if path.suffix in PLOT_MEDIA_TYPES:
                    name = path.stem.removeprefix(f"{stem}-").replace("_", " ")
                    plots.setdefault(f"{name} of the gate", path)
        return [
            (name, _encode_data_url(path))
            for name, path in plots.items()
            if path.stat().st_size <= MAX_PLOT_BYTES
        ]


def _encode_data_url(path: Path) -> str:
    # An SVG in an <img> element does not run scripts or load files.
    return (
        f"data:{PLOT_MEDIA_TYPES[path.suffix]};base64,"
        + base64.b64encode(path.read_bytes()).decode()
    )
