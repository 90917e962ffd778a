"""Test that the site builds without a warning, and that every link and picture exists."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.unit.documents.site import DOCS, build_site


class AddressCollector(HTMLParser):
    """A parser that collects every `href` and `src` of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in {"href", "src"} and value]


def list_linked_files(page: Path, root: Path) -> list[Path]:
    """Return the files of the site that a page links to."""
    files: list[Path] = []
    for address in AddressCollector(page.read_text(encoding="utf-8")).addresses:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not parts.path:
            continue
        file = (page.parent / unquote(parts.path)).resolve()
        files.append(file / "index.html" if parts.path.endswith("/") else file)
    return [path for path in files if root.resolve() in path.parents]


def test_the_strict_build_succeeds_and_linked_files_exist(tmp_path: Path) -> None:
    build_site(tmp_path / "site")

    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    links = [(page, path) for page in pages for path in list_linked_files(page, tmp_path / "site")]
    assert len(links) > 500
    assert [(page.parent.name, path.name) for page, path in links if not path.exists()] == []
    recipes = (tmp_path / "site/contributing/index.html").read_text()
    assert recipes.count("<ol>") == len(
        re.findall(r"^1\. ", (DOCS / "contributing.md").read_text(), re.MULTILINE)
    )
    assert 'class="mermaid"' in (tmp_path / "site/architecture/index.html").read_text()
