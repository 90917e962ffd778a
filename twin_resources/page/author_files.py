"""Read the authors' names, example questions and voice plots from the home's files for the page.

Scope: reading these files; a missing file is not an error. Out of scope: calling the gateway, HTML.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from twin_resources.authors import list_readable_authors
from twin_resources.quality.judges.voice_figures import VOICE_FIGURES_FILE, VOICE_PLOT_FILE
from twin_resources.settings import Settings


def progress_path(settings: Settings, author: str) -> Path:
    """Return the file of an author's progress, which the command writes."""
    return settings.home / "progress" / f"{author}.json"


@dataclass(frozen=True)
class AuthorFiles:
    """Access to one home's files about its authors."""

    settings: Settings

    def names(self) -> dict[str, str]:
        """Return the authors' names by slug."""
        return {author.slug: author.name for author in list_readable_authors(self.settings)[0]}

    def example_questions(self, author: str) -> list[str]:
        """Return questions that `twin up` has asked and that got a quotation, the best first."""
        try:
            progress = json.loads(progress_path(self.settings, author).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):  # nothing was asked, or it is torn
            return []
        return [str(question) for question in progress.get("examples", ())]

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
