"""Which files of a folder are posts: by the layout of Jekyll, of Hugo, or of a folder of notes.

Belongs here: the verdict on a path. Does not belong here: walking, reading (`folders`), what the
site's configuration says (`site_configuration`).

Layouts: https://jekyllrb.com/docs/structure/, https://jekyllrb.com/docs/collections/,
https://gohugo.io/content-management/page-bundles/ (a folder with `index.md` is one page, and other
files in it are its parts; `_index.md` makes a section).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable

from twin_assets.corpus.importers.posts import markup_of
from twin_assets.corpus.importers.site import Site

# Files about the repository. A post called security.md stays one: the words beyond the first four
# count only in the UPPER CASE in which repositories write them.
_ABOUT_THE_FOLDER = re.compile(
    r"(?i:readme|(?:un)?licen[cs]e|copying|contributing)(?:[-_.][A-Z][\w.-]*)?"
    r"|(?:CODE_OF_CONDUCT|CHANGELOG|CHANGES|SECURITY|AUTHORS|NOTICE|SUPPORT|AGENTS|CLAUDE|TODO)"
)
_FIRST_LETTERS = frozenset("RrLlUuCcSANT")  # of those names
_HUGO_ALONE = re.compile(r"(?:config/_default/)?hugo\.(?:toml|ya?ml|json)")
_HUGO_OR_ANOTHER = re.compile(r"(?:config/_default/)?config\.(?:toml|ya?ml|json)")


def layout_of(source_ids: Iterable[str]) -> str:
    """`jekyll`, `hugo` or `notes`, by the paths of all files of a folder."""
    paths = list(source_ids)
    if any(path.startswith("_posts/") or "/_posts/" in path for path in paths):
        return "jekyll"
    content = any(path.startswith("content/") for path in paths)
    for path in paths:
        if _HUGO_ALONE.fullmatch(path) or (content and _HUGO_OR_ANOTHER.fullmatch(path)):
            return "hugo"
    return "notes"


def bundles_of(source_ids: Iterable[str]) -> frozenset[str]:
    """Folders of Hugo's leaf bundles: those that hold an `index` page, in any language."""
    pages = (path.rpartition("/") for path in source_ids if markup_of(path))
    return frozenset(folder for folder, _, name in pages if name.split(".")[0] == "index")


def why_no_post(
    source_id: str, *, layout: str, site: Site, bundles: frozenset[str] = frozenset()
) -> str:
    """Why a file is no post, in words that a summary shows; "" when it is one.

    Args:
        source_id: its path in the folder.
        layout: from `layout_of`.
        site: from its configuration; `folders` counts.
        bundles: of Hugo, from `bundles_of`.
    """
    if is_about_the_folder(source_id):
        return "about the folder (README, LICENSE …)"
    *folders, name = source_id.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if not markup_of(name):
        return "other file" if stem == name else f"{name.rsplit('.', 1)[-1].lower()} file"
    if layout == "jekyll" and not _holds_posts(folders, site):
        return "page outside _posts"
    if layout == "notes" and not folders and stem.lower() in {"index", "404"}:
        return "home page (index)"
    return _why_no_hugo_post(source_id, site, bundles) if layout == "hugo" else ""


def _holds_posts(folders: list[str], site: Site) -> bool:
    return "_posts" in folders or "_drafts" in folders or not set(site.folders).isdisjoint(folders)


def _why_no_hugo_post(source_id: str, site: Site, bundles: frozenset[str]) -> str:
    content = site.folders or ("content",)
    if not any(source_id.startswith(f"{folder}/") for folder in content):
        return "page outside content"
    folder, _, name = source_id.rpartition("/")
    page = name.split(".")[0]
    if page == "_index":
        return "section page (_index)"
    parents = ["/".join(folder.split("/")[: n + 1]) for n in range(folder.count("/") + 1)]
    if page != "index" and not bundles.isdisjoint(set(parents) - set(content)):
        return "part of a page bundle"
    return ""


def is_about_the_folder(source_id: str) -> bool:
    """Whether a file speaks about its folder (README, LICENSE, CONTRIBUTING …) by its name."""
    name = source_id[source_id.rfind("/") + 1 :]
    # Of 100,000 posts most begin with a year: a look at one letter spares them the pattern.
    return name[:1] in _FIRST_LETTERS and bool(_ABOUT_THE_FOLDER.fullmatch(name.split(".", 1)[0]))
