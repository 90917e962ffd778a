"""Read the authors' names, post titles and voice plots from the home's files for the page.

Scope: reading these files; a missing file is not an error. Out of scope: calling the gateway, HTML.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from twin_resources.authors import list_readable_authors
from twin_resources.quality.judges.voice_figures import VOICE_FIGURES_FILE, VOICE_PLOT_FILE
from twin_resources.settings import Settings


@dataclass(frozen=True)
class AuthorFiles:
    """Access to one home's files about its authors."""

    settings: Settings

    def names(self) -> dict[str, str]:
        """Return the authors' names by slug."""
        return {author.slug: author.name for author in list_readable_authors(self.settings)[0]}

    def titles(self, author: str, *, max_titles: int) -> list[str]:
        """Return titles of 3 to 60 characters from the author's newest posts, newest first."""
        from twin_resources.storage.state.state import State
        from twin_resources.storage.tables.tables import Tables

        tables = Tables(self.settings.tables_base, state=State.open(self.settings.state_address))
        if not tables.exists("embeddings", author):
            return []
        columns = ["title", "published_at", "document_id"]
        rows = tables.read("embeddings", author, columns=columns).unique("document_id")
        newest_posts = rows.sort(["published_at", "document_id"], descending=True, nulls_last=True)
        titles = dict.fromkeys(str(title or "").strip() for title in newest_posts["title"])
        return [title for title in titles if 3 <= len(title) <= 60][:max_titles]

    def voice_plot(self, author: str) -> str:
        """Return the newest voice plot of the author as a `data:` URL, or "" if there is none."""
        folder = self.settings.checkpoints_dir / author
        figure_files = folder.glob(f"*/evaluation/{VOICE_FIGURES_FILE}")
        newest_file = max(figure_files, key=lambda path: path.stat().st_mtime, default=None)
        if newest_file is None or not newest_file.with_name(VOICE_PLOT_FILE).exists():
            return ""
        content = newest_file.with_name(VOICE_PLOT_FILE).read_bytes()
        # An SVG in an <img> element does not run scripts or load files.
        return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
