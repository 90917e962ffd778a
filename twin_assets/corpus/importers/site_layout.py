"""Decide which files of a folder are posts, by its layout: Jekyll, Hugo, other sites, or notes.

Scope: detecting the layout, and classifying each path.
Out of scope: listing and reading files (`folders`), and the site's configuration
(`site_configuration`).

Layouts: https://jekyllrb.com/docs/structure/, https://jekyllrb.com/docs/collections/,
https://gohugo.io/content-management/page-bundles/ (a folder with `index.md` is one page with its
other files as parts; `_index.md` makes the folder a section).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.suffixes import (
    NON_MARKDOWN_SUFFIXES,
    get_known_suffix,
    get_markup,
)
from twin_assets.corpus.importers.text_formats import is_readable, needs_extra

# Files about the repository. The names in the second line count only in upper case, so
# `security.md` remains a post.
_REPOSITORY_FILE = re.compile(
    r"(?i:readme|(?:un)?licen[cs]e|copying|contributing)(?:[-_.][A-Z][\w.-]*)?"
    r"|(?:CODE_OF_CONDUCT|CHANGELOG|CHANGES|SECURITY|AUTHORS|NOTICE|SUPPORT|AGENTS|CLAUDE|TODO)"
)
_HUGO_FILE = re.compile(r"(?:config/_default/)?hugo\.(?:toml|ya?ml|json)")
_CONFIG_FILE = re.compile(r"(?:config/_default/)?config\.(?:toml|ya?ml|json)")

_GENERATOR_CONFIGURATION = re.compile(
    r"(?:astro|eleventy|docusaurus|quartz|gridsome)\.config\.\w+|gatsby-config\.\w+"
    r"|\.eleventy\.c?js|pelicanconf\.py"
)
_SITE_CONFIGURATION = re.compile(
    rf"{_GENERATOR_CONFIGURATION.pattern}|(?:next|nuxt|svelte|vite|vue|remix)\.config\.\w+|_config\.ts"
    r"|package\.json|_quarto\.yml|mkdocs\.yml"
)
_DOCUSAURUS = re.compile(r"docusaurus\.config\.\w+")
_LIGHTWEIGHT_MARKUP = ("rst", "org", "adoc", "asciidoc", "asc", "textile", "dj")
_GENERATOR_FORMATS = {
    "jekyll": frozenset({*_LIGHTWEIGHT_MARKUP, "ipynb"}),
    "hugo": frozenset(_LIGHTWEIGHT_MARKUP),
    "blog": frozenset({*_LIGHTWEIGHT_MARKUP, "ipynb"}),
}
# Text files that are input for programs.
_PROGRAM_TEXT_FILE = re.compile(
    r"(?:requirements|constraints|robots|humans|ads|app-ads|security|llms|CMakeLists|version"
    r"|manifest|sitemap|wordlist|stopwords)[\w.-]*\.txt",
    re.IGNORECASE,
)
_TEMPLATE_FOLDERS = frozenset({"templates", "_templates", "scaffolds", "_partials", "partials"})

# A site within a larger repository is recognized by its configuration and its posts.
_NESTED_SITE_CONFIGURATION = re.compile(
    rf"(?P<jekyll>_config\.(?:ya?ml|toml))|(?P<hugo>(?:hugo|config)\.(?:toml|ya?ml|json))"
    rf"|(?P<other>{_GENERATOR_CONFIGURATION.pattern})"
)
_THEME_FOLDERS = frozenset(
    {"example", "examples", "examplesite", "demo", "test", "tests", "testdata", "fixtures"}
    | {"template", "templates", "starter", "starters"}
)
_POST_FOLDERS = frozenset(
    {"blog", "blogs", "post", "posts", "_posts", "article", "articles", "essay", "essays", "news"}
    | {"writing", "writings", "journal", "weblog", "log", "diary", "notes", "notebook"}
)
_MAX_SITE_DEPTH = 3
_MIN_POSTS = 2

PAGE_REASONS = frozenset(
    {"page outside _posts", "page outside the site", "page outside content", "page outside blog"}
    | {"page without front matter", "part of a page bundle"}
)
"""Reasons for skipping files that contain text."""

DOCUMENT_SUFFIXES = frozenset(
    {"rst", "org", "adoc", "asciidoc", "asc", "ipynb", "qmd", "rmd", "txt", "textile", "docx"}
    | {"dj", "odt", "pdf", "doc", "rtf", "epub", "tex", "wiki", "mediawiki", "creole", "opml"}
    | {"pages"}
)
"""Suffixes of files that contain text, supported or not; pictures and code are excluded."""


def detect_layout(source_ids: Iterable[str]) -> str:
    """Return `jekyll`, `hugo`, `blog` (another generator's site) or `notes`, based on all paths.

    `folders` then checks the beginnings of the files of a `blog`, and may change it to `notes`.
    """
    paths = list(source_ids)
    if any(path.startswith("_posts/") or "/_posts/" in path for path in paths):
        return "jekyll"
    has_content = any(path.startswith("content/") for path in paths)
    for path in paths:
        if _HUGO_FILE.fullmatch(path) or (has_content and _CONFIG_FILE.fullmatch(path)):
            return "hugo"
    return "blog" if any(_SITE_CONFIGURATION.fullmatch(path) for path in paths) else "notes"


def find_site_folder(source_ids: Sequence[str]) -> str:
    """Return the folder below the root that is a blog's site (`site/`), or "" if there is none.

    If there are several, return the largest; if the root is a site, return "".

    Args:
        source_ids: paths of all files.
    """
    roots = _find_site_kinds(source_ids)
    if roots.get("", {"jekyll"}) != {"jekyll"} or any(
        path.startswith("_posts/") for path in source_ids
    ):
        return ""
    post_counts = {root: _count_posts(source_ids, root, kinds) for root, kinds in roots.items()}
    candidates = [
        (count, -len(root), root) for root, count in post_counts.items() if count >= _MIN_POSTS
    ]
    return max(candidates)[2] if candidates else ""


def _find_site_kinds(source_ids: Sequence[str]) -> dict[str, set[str]]:
    """Return the kinds (`jekyll`, `hugo`, `other`) of each folder with a configuration."""
    kinds_by_folder: dict[str, set[str]] = {}
    for path in source_ids:
        folder, _, name = path.rpartition("/")
        match = (
            _NESTED_SITE_CONFIGURATION.fullmatch(name) if "conf" in name or "hugo" in name else None
        )
        if match is None or match.lastgroup is None:
            continue
        root = f"/{folder}".removesuffix("/config/_default").removeprefix("/")
        content = f"{root}/content/" if root else "content/"
        if match["hugo"] and not any(path.startswith(content) for path in source_ids):
            continue  # a program's own config.toml
        parts = root.lower().split("/") if root else []
        if len(parts) <= _MAX_SITE_DEPTH and _THEME_FOLDERS.isdisjoint(parts):
            kinds_by_folder.setdefault(f"{root}/" if root else "", set()).add(match.lastgroup)
    return kinds_by_folder


def _count_posts(source_ids: Sequence[str], root: str, kinds: Collection[str]) -> int:
    """Return the number of a site's pages in post folders."""
    if not root:
        return 0
    site_paths = [path.removeprefix(root) for path in source_ids if path.startswith(root)]
    if "jekyll" in kinds and any("_posts/" in path for path in site_paths):
        return sum("_posts/" in path and bool(get_markup(path)) for path in site_paths)
    if "hugo" in kinds:
        site_paths = [path for path in site_paths if path.startswith("content/")]
    folders = (path.lower().split("/")[:-1] for path in site_paths if get_markup(path))
    return sum(not _POST_FOLDERS.isdisjoint(folder) for folder in folders)


def classify_outside_file(source_id: str) -> str:
    """Return why a file outside a folder's site is not a post."""
    if is_repository_file(source_id):
        return "about the folder (README, LICENSE …)"
    return "page outside the site" if get_markup(source_id) else "other file"


def is_generator_configuration(path: str) -> bool:
    """Return whether a file at the root configures a generator that builds pages from Markdown."""
    return bool(_GENERATOR_CONFIGURATION.fullmatch(path))


def is_docusaurus_blog(source_ids: Iterable[str]) -> bool:
    """Return whether a site is a Docusaurus blog, whose other pages document a program."""
    paths = list(source_ids)
    return any(_DOCUSAURUS.fullmatch(path) for path in paths) and any(
        path.startswith("blog/") and get_markup(path) for path in paths
    )


def find_bundles(source_ids: Iterable[str]) -> frozenset[str]:
    """Return the folders of Hugo's leaf bundles: those with an `index` page in any language."""
    pages = (path.rpartition("/") for path in source_ids if get_markup(path))
    return frozenset(folder for folder, _, name in pages if name.split(".")[0] == "index")


def list_post_formats(source_ids: Iterable[str], *, layout: str) -> frozenset[str]:
    """Return the formats other than Markdown and HTML whose files are posts (`text_formats`).

    A site's generator supports some of them. A PDF beside Markdown notes is not the author's text.
    """
    if layout in _GENERATOR_FORMATS:
        suffixes = _GENERATOR_FORMATS[layout]
    else:
        has_markdown = any(
            get_markup(path) == "markdown" and not is_repository_file(path) for path in source_ids
        )
        suffixes = NON_MARKDOWN_SUFFIXES - {"pdf"} if has_markdown else NON_MARKDOWN_SUFFIXES
    return frozenset(suffix for suffix in suffixes if is_readable(suffix))


def find_skip_reason(
    source_id: str,
    *,
    layout: str,
    site: Site,
    bundles: frozenset[str] = frozenset(),
    formats: frozenset[str] = frozenset(),
) -> str:
    """Return why a file is not a post, worded for the summary, or "" if it is a post.

    Args:
        source_id: the file's path in the folder.
        layout: the result of `detect_layout`.
        site: the site's configuration; only `folders` is used.
        bundles: Hugo's bundles, from `find_bundles`.
        formats: the result of `list_post_formats`.
    """
    if is_repository_file(source_id):
        return "about the folder (README, LICENSE …)"
    *folders, name = source_id.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if not get_markup(name) and (
        get_known_suffix(name) not in formats or _PROGRAM_TEXT_FILE.fullmatch(name)
    ):
        return "other file" if stem == name else f"{name.rsplit('.', 1)[-1].lower()} file"
    if layout in {"blog", "notes"} and not _TEMPLATE_FOLDERS.isdisjoint(map(str.lower, folders)):
        return "template"
    if layout == "jekyll" and not _is_in_post_folder(folders, site):
        return "page outside _posts"
    if layout in {"blog", "notes"} and not folders and stem.lower() in {"index", "404"}:
        return "home page (index)"
    if layout == "blog" and site.folders and folders[:1] != [site.folders[0]]:
        return "page outside blog"
    return _find_hugo_skip_reason(source_id, site, bundles) if layout == "hugo" else ""


def _is_in_post_folder(folders: list[str], site: Site) -> bool:
    has_post_folder = not {"_posts", "_drafts", "_notebooks"}.isdisjoint(folders)
    return has_post_folder or not set(site.folders).isdisjoint(folders)


def _find_hugo_skip_reason(source_id: str, site: Site, bundles: frozenset[str]) -> str:
    content_folders = site.folders or ("content",)
    if not any(source_id.startswith(f"{folder}/") for folder in content_folders):
        return "page outside content"
    folder, _, name = source_id.rpartition("/")
    stem = name.split(".")[0]
    if stem == "_index":
        return "section page (_index)"
    parents = ["/".join(folder.split("/")[: depth + 1]) for depth in range(folder.count("/") + 1)]
    if stem != "index" and not bundles.isdisjoint(set(parents) - set(content_folders)):
        return "part of a page bundle"
    return ""


def is_repository_file(source_id: str) -> bool:
    """Return whether a file's name shows that it is about its folder (README, LICENSE …)."""
    name = source_id[source_id.rfind("/") + 1 :]
    return bool(_REPOSITORY_FILE.fullmatch(name.split(".", 1)[0]))


def is_text_reason(reason: str) -> bool:
    """Return whether files skipped for this reason (from `find_skip_reason`) contain text."""
    return reason in PAGE_REASONS or reason.removesuffix(" file") in DOCUMENT_SUFFIXES


def is_extra_missing(reasons: Iterable[str]) -> bool:
    """Return whether files were skipped because the extra `formats` is not installed."""
    return any(needs_extra(reason.removesuffix(" file")) for reason in reasons)
