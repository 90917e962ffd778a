"""Decide by a folder's layout which files are posts: Jekyll, Hugo, other generators, or notes.

Scope: the verdict on a path.
Out of scope: walking and reading (`folders`), what the site's configuration says
(`site_configuration`).

Layouts: https://jekyllrb.com/docs/structure/, https://jekyllrb.com/docs/collections/,
https://gohugo.io/content-management/page-bundles/ (a folder with `index.md` is one page, and other
files in it are its parts; `_index.md` makes a section).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.suffixes import NOT_MARKDOWN, markup_of, suffix_of
from twin_assets.corpus.importers.text_formats import is_read, needs_extra

# Files about the repository. The words beyond the first four count only in the UPPER CASE in which
# repositories write them, so a post called security.md stays a post.
_ABOUT_THE_FOLDER = re.compile(
    r"(?i:readme|(?:un)?licen[cs]e|copying|contributing)(?:[-_.][A-Z][\w.-]*)?"
    r"|(?:CODE_OF_CONDUCT|CHANGELOG|CHANGES|SECURITY|AUTHORS|NOTICE|SUPPORT|AGENTS|CLAUDE|TODO)"
)
_FIRST_LETTERS = frozenset("RrLlUuCcSANT")  # the first letters of those names
_HUGO_ALONE = re.compile(r"(?:config/_default/)?hugo\.(?:toml|ya?ml|json)")
_HUGO_OR_ANOTHER = re.compile(r"(?:config/_default/)?config\.(?:toml|ya?ml|json)")


_GENERATED = re.compile(
    r"(?:astro|eleventy|docusaurus|quartz|gridsome)\.config\.\w+|gatsby-config\.\w+"
    r"|\.eleventy\.c?js|pelicanconf\.py"
)
_SITE = re.compile(
    rf"{_GENERATED.pattern}|(?:next|nuxt|svelte|vite|vue|remix)\.config\.\w+|_config\.ts"
    r"|package\.json|_quarto\.yml|mkdocs\.yml"
)
_DOCUSAURUS = re.compile(r"docusaurus\.config\.\w+")
_LINES = ("rst", "org", "adoc", "asciidoc", "asc", "textile", "dj")
_OF_GENERATORS = {
    "jekyll": frozenset({*_LINES, "ipynb"}),
    "hugo": frozenset(_LINES),
    "blog": frozenset({*_LINES, "ipynb"}),
}
# Plain text that programs read.
_LIST = re.compile(
    r"(?:requirements|constraints|robots|humans|ads|app-ads|security|llms|CMakeLists|version"
    r"|manifest|sitemap|wordlist|stopwords)[\w.-]*\.txt",
    re.IGNORECASE,
)
_TEMPLATES = frozenset({"templates", "_templates", "scaffolds", "_partials", "partials"})

# A site in a repository of other things is recognised by its configuration and its posts.
_CONFIGURES = re.compile(
    rf"(?P<jekyll>_config\.(?:ya?ml|toml))|(?P<hugo>(?:hugo|config)\.(?:toml|ya?ml|json))"
    rf"|(?P<other>{_GENERATED.pattern})"
)
_OF_A_THEME = frozenset(
    {"example", "examples", "examplesite", "demo", "test", "tests", "testdata", "fixtures"}
    | {"template", "templates", "starter", "starters"}
)
_POST_FOLDERS = frozenset(
    {"blog", "blogs", "post", "posts", "_posts", "article", "articles", "essay", "essays", "news"}
    | {"writing", "writings", "journal", "weblog", "log", "diary", "notes", "notebook"}
)
_DEEPEST_SITE = 3
_MIN_POSTS = 2

PAGES = frozenset(
    {"page outside _posts", "page outside the site", "page outside content", "page outside blog"}
    | {"page without front matter", "part of a page bundle"}
)
"""Reasons for which files that hold text are not posts here."""

DOCUMENTS = frozenset(
    {"rst", "org", "adoc", "asciidoc", "asc", "ipynb", "qmd", "rmd", "txt", "textile", "docx"}
    | {
        "dj",
        "odt",
        "pdf",
        "doc",
        "rtf",
        "epub",
        "tex",
        "wiki",
        "mediawiki",
        "creole",
        "opml",
        "pages",
    }
)
"""Suffixes of files that hold text, whether they are read or not; not pictures or code."""


def layout_of(source_ids: Iterable[str]) -> str:
    """Return `jekyll`, `hugo`, `blog` (another generator's site) or `notes`, from all files' paths.

    `folders` then checks how a `blog`'s files begin, and may turn it into `notes`.
    """
    paths = list(source_ids)
    if any(path.startswith("_posts/") or "/_posts/" in path for path in paths):
        return "jekyll"
    content = any(path.startswith("content/") for path in paths)
    for path in paths:
        if _HUGO_ALONE.fullmatch(path) or (content and _HUGO_OR_ANOTHER.fullmatch(path)):
            return "hugo"
    return "blog" if any(_SITE.fullmatch(path) for path in paths) else "notes"


def site_within(source_ids: Sequence[str]) -> str:
    """Return the folder below the root that is a blog's site (`site/`), or "" if there is none.

    The largest of several is returned; if the root itself is a site, the result is "".

    Args:
        source_ids: paths of all files.
    """
    roots = _sites(source_ids)
    if roots.get("", {"jekyll"}) != {"jekyll"} or any(
        path.startswith("_posts/") for path in source_ids
    ):
        return ""
    sizes = {root: _posts_in(source_ids, root, kinds) for root, kinds in roots.items()}
    large = [(size, -len(root), root) for root, size in sizes.items() if size >= _MIN_POSTS]
    return max(large)[2] if large else ""


def _sites(source_ids: Sequence[str]) -> dict[str, set[str]]:
    """Return folders with a generator's configuration → its kinds: `jekyll`, `hugo`, `other`."""
    found: dict[str, set[str]] = {}
    for path in source_ids:
        folder, _, name = path.rpartition("/")
        configures = _CONFIGURES.fullmatch(name) if "conf" in name or "hugo" in name else None
        if configures is None or configures.lastgroup is None:
            continue
        root = f"/{folder}".removesuffix("/config/_default").removeprefix("/")
        if configures["hugo"] and not _has_content(source_ids, root):
            continue  # a program's own config.toml
        parts = root.lower().split("/") if root else []
        if len(parts) <= _DEEPEST_SITE and _OF_A_THEME.isdisjoint(parts):
            found.setdefault(f"{root}/" if root else "", set()).add(configures.lastgroup)
    return found


def _has_content(source_ids: Sequence[str], root: str) -> bool:
    below = f"{root}/content/" if root else "content/"
    return any(path.startswith(below) for path in source_ids)


def _posts_in(source_ids: Sequence[str], root: str, kinds: Collection[str]) -> int:
    """Count a site's pages that are in the folders of posts."""
    if not root:
        return 0
    inside = [path.removeprefix(root) for path in source_ids if path.startswith(root)]
    if "jekyll" in kinds and any("_posts/" in path for path in inside):
        return sum("_posts/" in path and bool(markup_of(path)) for path in inside)
    if "hugo" in kinds:
        inside = [path for path in inside if path.startswith("content/")]
    folders = (path.lower().split("/")[:-1] for path in inside if markup_of(path))
    return sum(not _POST_FOLDERS.isdisjoint(folder) for folder in folders)


def why_outside(source_id: str) -> str:
    """Return why a file outside the site within a folder is not a post."""
    if is_about_the_folder(source_id):
        return "about the folder (README, LICENSE …)"
    return "page outside the site" if markup_of(source_id) else "other file"


def is_generated_site(path: str) -> bool:
    """Return whether a file at the root marks a site of Markdown pages, whatever else is there."""
    return bool(_GENERATED.fullmatch(path))


def is_docusaurus(source_ids: Iterable[str]) -> bool:
    """Return whether it is a site of Docusaurus with a blog; its other pages document a program."""
    paths = list(source_ids)
    return any(_DOCUSAURUS.fullmatch(path) for path in paths) and any(
        path.startswith("blog/") and markup_of(path) for path in paths
    )


def bundles_of(source_ids: Iterable[str]) -> frozenset[str]:
    """Return the folders of Hugo's leaf bundles: those with an `index` page in any language."""
    pages = (path.rpartition("/") for path in source_ids if markup_of(path))
    return frozenset(folder for folder, _, name in pages if name.split(".")[0] == "index")


def formats_of(source_ids: Iterable[str], *, layout: str) -> frozenset[str]:
    """Return the formats besides Markdown and HTML whose files are posts there (`text_formats`).

    A site's generator reads some; a PDF beside Markdown notes is somebody else's text.
    """
    if layout in _OF_GENERATORS:
        wanted = _OF_GENERATORS[layout]
    else:
        beside = any(markup_of(path) == "markdown" and not is_about_the_folder(path)
                     for path in source_ids)  # fmt: skip
        wanted = NOT_MARKDOWN - {"pdf"} if beside else NOT_MARKDOWN
    return frozenset(suffix for suffix in wanted if is_read(suffix))


def why_no_post(
    source_id: str,
    *,
    layout: str,
    site: Site,
    bundles: frozenset[str] = frozenset(),
    formats: frozenset[str] = frozenset(),
) -> str:
    """Return why a file is not a post, in the words of the summary, or "" if it is one.

    Args:
        source_id: the file's path in the folder.
        layout: the result of `layout_of`.
        site: the site's configuration; only `folders` is used.
        bundles: Hugo's bundles, from `bundles_of`.
        formats: the result of `formats_of`.
    """
    if is_about_the_folder(source_id):
        return "about the folder (README, LICENSE …)"
    *folders, name = source_id.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if not markup_of(name) and (suffix_of(name) not in formats or _LIST.fullmatch(name)):
        return "other file" if stem == name else f"{name.rsplit('.', 1)[-1].lower()} file"
    if layout in {"blog", "notes"} and not _TEMPLATES.isdisjoint(map(str.lower, folders)):
        return "template"
    if layout == "jekyll" and not _holds_posts(folders, site):
        return "page outside _posts"
    if layout in {"blog", "notes"} and not folders and stem.lower() in {"index", "404"}:
        return "home page (index)"
    if layout == "blog" and site.folders and folders[:1] != [site.folders[0]]:
        return "page outside blog"
    return _why_no_hugo_post(source_id, site, bundles) if layout == "hugo" else ""


def _holds_posts(folders: list[str], site: Site) -> bool:
    held = not {"_posts", "_drafts", "_notebooks"}.isdisjoint(folders)
    return held or not set(site.folders).isdisjoint(folders)


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
    """Return whether a file's name shows that it is about its folder (README, LICENSE …)."""
    name = source_id[source_id.rfind("/") + 1 :]
    # Most of 100,000 posts begin with a year: checking one letter avoids the pattern.
    return name[:1] in _FIRST_LETTERS and bool(_ABOUT_THE_FOLDER.fullmatch(name.split(".", 1)[0]))


def holds_text(reason: str) -> bool:
    """Return whether files that are skipped for this reason (from `why_no_post`) hold text."""
    return reason in PAGES or reason.removesuffix(" file") in DOCUMENTS


def missing_extra(reasons: Iterable[str]) -> bool:
    """Return whether files were skipped because the extra `formats` is not installed."""
    return any(needs_extra(reason.removesuffix(" file")) for reason in reasons)
