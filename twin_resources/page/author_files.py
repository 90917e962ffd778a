"""Read the authors' names, post titles and gate plots from the home's files for the page.

Scope: reading these files; a missing file is not an error. Out of scope: calling the gateway, HTML.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from twin_resources.authors import list_readable_authors
from twin_resources.quality.judges.voice_shown import VOICE_FIGURES_FILE, VOICE_PLOT_FILE
from twin_resources.settings import Settings

MAX_PLOT_BYTES = 2_000_000
PLOT_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class AuthorFiles:
    """A reader of one home's author files."""

    settings: Settings

    def names(self) -> dict[str, str]:
        """Return the authors' names by slug."""
        return {author.slug: author.name for author in list_readable_authors(self.settings)[0]}

    def titles(self, author: str, *, max_titles: int) -> list[str]:
        """Return titles of 3 to 60 characters from the author's newest posts, if there are any."""
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

    def plots(self, author: str) -> list[tuple[str, str]]:
        """Return the name and `data:` URL of each plot of the author's newest gate, voice first.

        A report is `<checkpoint>/evaluation/<gate>.md`. Its folder also contains its plots,
        `<gate>-<name>.svg` or `.png` (twin_assets/evaluation/report), and the voice plot,
        `voice_shown.svg`.
        """
        folder = self.settings.checkpoints_dir / author
        plots: dict[str, Path] = {}
        records = sorted(
            folder.glob(f"*/evaluation/{VOICE_FIGURES_FILE}"), key=lambda path: path.stat().st_mtime
        )
        if records and records[-1].with_name(VOICE_PLOT_FILE).exists():
            plots["voice"] = records[-1].with_name(VOICE_PLOT_FILE)
        reports = sorted(folder.glob("*/evaluation/*.md"), key=lambda path: path.stat().st_mtime)
        if reports:
            gate_name = reports[-1].stem
            for path in sorted(reports[-1].parent.glob(f"{gate_name}-*")):
                if path.suffix in PLOT_MEDIA_TYPES:
                    name = path.stem.removeprefix(f"{gate_name}-").replace("_", " ")
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
