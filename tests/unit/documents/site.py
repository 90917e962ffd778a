"""Build the site of the documents with MkDocs, with README as its first page.

Scope: copying the pages, and the strict build. Out of scope: theme and navigation
(`deploy/docs/mkdocs.yml`).

    python -m tests.unit.documents.site FOLDER     # FOLDER/index.html is the first page
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT

DOCS = ROOT / "deploy" / "docs"
RESULTS = ROOT / "tests" / "bench" / "RESULTS.md"


def build_site(site: Path) -> None:
    """Build the site in a folder.

    Raises:
        mkdocs.exceptions.Abort: a link or an anchor is broken, or a page is in no section.
    """
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with tempfile.TemporaryDirectory() as folder:
        pages = copy_pages(Path(folder) / "pages")
        config = load_config(
            str(DOCS / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site), strict=True
        )
        build(config)


def copy_pages(folder: Path) -> Path:
    """Copy README, the pages with their pictures and the measurements, and adjust the links."""
    ignored = shutil.ignore_patterns("*.yml", "__pycache__")
    shutil.copytree(DOCS, folder, ignore=ignored)
    shutil.copy(ROOT / "README.md", folder / "index.md")
    shutil.copy(RESULTS, folder / "measurements.md")
    for page in folder.glob("*.md"):
        text = re.sub(r"\((?:\.\./\.\./)?tests/bench/RESULTS\.md", "(measurements.md", _read(page))
        page.write_text(
            indent_blocks(text.replace("(deploy/docs/", "(").replace("(../../deploy/docs/", "(")),
            encoding="utf-8",
        )
    return folder


def indent_blocks(text: str) -> str:
    """Indent code blocks in lists by four spaces instead of three, as Python-Markdown requires."""
    if "\n   ```" not in text:
        return text
    return re.sub(r"^ {3}", "    ", text, flags=re.MULTILINE)


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


if __name__ == "__main__":
    build_site(Path(sys.argv[1]))
