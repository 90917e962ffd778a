"""The table of site generators: how each is recognized, where its posts lie, and what its
configuration says about them.

A folder without a generator holds notes, and every text in it is a post.

Sources: https://jekyllrb.com/docs/structure/, https://jekyllrb.com/docs/configuration/options/,
https://jekyllrb.com/docs/configuration/front-matter-defaults/, https://hexo.io/docs/configuration,
https://gohugo.io/content-management/page-bundles/ (a folder with `index.md` is one page with its
other files as parts; `_index.md` makes the folder a section), https://gohugo.io/configuration/all/,
https://gohugo.io/content-management/front-matter/#cascade-1,
https://www.11ty.dev/docs/data-template-dir/ (`posts/posts.json` applies to everything below
`posts`; `.11tydata.js` is a program, which is not run),
https://quarto.org/docs/projects/quarto-projects.html (`_metadata.yml`).
Files without a page: https://jekyllrb.com/docs/configuration/options/ (`exclude`),
https://jekyllrb.com/docs/posts/ (a name without a date), https://hexo.io/docs/configuration,
https://www.11ty.dev/docs/ignores/, https://docs.astro.build/en/guides/routing/#excluding-pages,
https://docusaurus.io/docs/api/plugins/@docusaurus/plugin-content-blog (`exclude`),
https://quarto.org/docs/projects/quarto-projects.html#render-targets.
"""
# pyright: strict

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast
from zoneinfo import ZoneInfo

import yaml

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.post_dates import find_zone
from twin_assets.corpus.importers.suffixes import (
    NON_MARKDOWN_SUFFIXES,
    get_known_suffix,
    get_markup,
)
from twin_assets.corpus.importers.text_formats import is_readable, needs_extra

_LIGHT_MARKUP = frozenset({"rst", "org", "adoc", "asciidoc", "asc", "textile", "dj"})
_DATA = r"(?:toml|ya?ml|json)"
_JEKYLL_CONFIGURATION = r"_config\.(?:ya?ml|toml)"
_HUGO_CONFIGURATION = rf"(?:config/_default/)?(?:hugo|config)\.{_DATA}"
_SETTINGS = (("url", ("baseurl", "url")), ("timezone", ("timezone",)))


@dataclass(frozen=True)
class Generator:
    """A row of the table.

    Attributes:
        name: the name that the preview shows as the folder's layout.
        signs: alternative tuples of patterns; each pattern of one of them must match the path of a
            file in the site.
        folders: the folders that contain its posts; () if they may lie anywhere.
        folders_are_nested: whether these folders may lie in any other folder.
        is_framework: whether it may also be a program's, whose texts are no posts.
        formats: the formats other than Markdown and HTML that it builds pages from.
        configuration: pattern of the files with its settings.
        settings: the settings by field of `Site`, in lower case.
        tags: the language of the template tags in its posts (`template_tags`), or "".
        ignored: pattern of the paths from which it builds no page.
        ignored_by: pattern of the file at the top of a site without which `ignored` does not apply.
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...] = ()
    folders_are_nested: bool = False
    is_framework: bool = False
    formats: frozenset[str] = _LIGHT_MARKUP | {"ipynb"}
    configuration: str = rf"{_JEKYLL_CONFIGURATION}|{_HUGO_CONFIGURATION}"
    settings: tuple[tuple[str, tuple[str, ...]], ...] = _SETTINGS
    tags: str = ""
    ignored: str = r"(?!)"
    ignored_by: str = ""


_UNDERSCORE_NAME = r"(?:.*/)?_[^/]*"
# What is in `_drafts` is a draft, which its author may ask for.
_UNDERSCORE_NAME_OR_FOLDER = r"(?!(?:.*/)?_drafts/)(?:.*/)?_[^/]*(?:/.*)?"
_JEKYLL_SETTINGS = (
    ("url", ("url",)),
    ("timezone", ("timezone",)),
    ("language", ("lang", "locale")),
    ("permalink", ("permalink",)),
    ("shows_future", ("future",)),
    ("excluded", ("exclude",)),
)
_HUGO_SETTINGS = (
    ("url", ("baseurl", "url")),
    ("timezone", ("timezone",)),
    ("language", ("defaultcontentlanguage", "languagecode")),
    ("permalink", ("permalinks", "uglyurls")),
    ("shows_future", ("buildfuture",)),
    ("shows_expired", ("buildexpired",)),
)
_POSTS = ("_posts", "_drafts", "_notebooks")
GENERATORS = (
    Generator(
        "hexo",
        ((r"source/_posts/.*",),),
        _POSTS,
        folders_are_nested=True,
        configuration=_JEKYLL_CONFIGURATION,
        settings=_JEKYLL_SETTINGS[:-1],
        tags="liquid",
        ignored=rf"source/_posts/{_UNDERSCORE_NAME_OR_FOLDER}",
    ),
    Generator(
        "jekyll",
        ((r"(?:.*/)?_posts/.*",),),
        _POSTS,
        folders_are_nested=True,
        configuration=_JEKYLL_CONFIGURATION,
        settings=_JEKYLL_SETTINGS,
        tags="liquid",
        ignored=rf"(?:.*/)?_posts/(?!(?:.*/)?\d{{2,4}}-\d{{1,2}}-\d{{1,2}}-[^/]*$).*"
        rf"|{_UNDERSCORE_NAME}|.*~",
        ignored_by=_JEKYLL_CONFIGURATION,  # starters of other programs have a folder `_posts` too
    ),
    Generator(
        "hugo",
        (
            (rf"(?:config/_default/)?hugo\.{_DATA}",),
            (rf"(?:config/_default/)?config\.{_DATA}", r"content/.*"),
        ),
        ("content",),
        formats=_LIGHT_MARKUP,
        configuration=_HUGO_CONFIGURATION,
        settings=_HUGO_SETTINGS,
        tags="shortcodes",
    ),
    Generator(
        "docusaurus",
        ((r"docusaurus\.config\.\w+", r"blog/.*\.(?:md|mdx|markdown)"),),
        ("blog",),
        ignored=_UNDERSCORE_NAME_OR_FOLDER,
    ),
    Generator("docusaurus", ((r"docusaurus\.config\.\w+",),), ignored=_UNDERSCORE_NAME_OR_FOLDER),
    Generator("vuepress", ((r"\.vuepress",),)),
    Generator("eleventy", ((r"eleventy\.config\.\w+|\.eleventy\.c?js",),)),
    Generator(
        "astro",
        ((r"astro\.config\.\w+",),),
        ignored=rf"src/(?:pages|content)/{_UNDERSCORE_NAME_OR_FOLDER}",
    ),
    Generator("gatsby", ((r"gatsby-config\.\w+",),)),
    Generator("gridsome", ((r"gridsome\.config\.\w+",),)),
    Generator("quartz", ((r"quartz\.config\.\w+", r"content/.*"),), ("content",)),
    Generator("quartz", ((r"quartz\.config\.\w+",),)),
    Generator("pelican", ((r"pelicanconf\.py",),)),
    Generator(
        "quarto",
        ((r"_quarto\.yml",),),
        is_framework=True,
        ignored=_UNDERSCORE_NAME_OR_FOLDER,
    ),
    Generator("mkdocs", ((r"mkdocs\.yml",),), is_framework=True),
    Generator(
        "blog",
        ((r"(?:next|nuxt|svelte|vite|vue|remix)\.config\.\w+|_config\.ts|package\.json",),),
        is_framework=True,
    ),
)
"""The generators in the order in which they are tried."""

_ELEVENTY_IGNORES = ".eleventyignore"
HIDDEN_SIGNS = (".eleventy.js", ".eleventy.cjs", ".vuepress", _ELEVENTY_IGNORES)
"""Signs and settings among the hidden files, which are otherwise not listed."""

# A site within a larger repository is recognized by its configuration and its posts.
_NESTED_SIGN = re.compile(
    rf"(?P<root>(?:[^/]+/){{0,3}}?)(?:{_JEKYLL_CONFIGURATION}|{_HUGO_CONFIGURATION}"
    r"|(?:astro|eleventy|docusaurus|quartz|gridsome)\.config\.\w+|gatsby-config\.\w+"
    r"|\.eleventy\.c?js|pelicanconf\.py)"
)
_THEME_FOLDERS = frozenset(
    {"example", "examples", "examplesite", "demo", "test", "tests", "testdata", "fixtures"}
    | {"template", "templates", "starter", "starters"}
)
_POST_FOLDERS = frozenset(
    {"blog", "blogs", "post", "posts", "_posts", "article", "articles", "essay", "essays", "news"}
    | {"writing", "writings", "journal", "weblog", "log", "diary", "notes", "notebook"}
)
_MIN_POSTS = 2

# Files about the repository. The names in the second line count only in upper case, so
# `security.md` remains a post.
_REPOSITORY_FILE = re.compile(
    r"(?i:readme|(?:un)?licen[cs]e|copying|contributing)(?:[-_.][A-Z][\w.-]*)?"
    r"|(?:CODE_OF_CONDUCT|CHANGELOG|CHANGES|SECURITY|AUTHORS|NOTICE|SUPPORT|AGENTS|CLAUDE|TODO)"
)
# Text files that are input for programs.
_PROGRAM_TEXT_FILE = re.compile(
    r"(?:requirements|constraints|robots|humans|ads|app-ads|security|llms|CMakeLists|version"
    r"|manifest|sitemap|wordlist|stopwords)[\w.-]*\.txt",
    re.IGNORECASE,
)
_TEMPLATE_FOLDERS = frozenset({"templates", "_templates", "scaffolds", "_partials", "partials"})
# Saved pages that list posts. Lists under other names are found by their text (`boilerplate`).
_LISTING_PAGE = re.compile(
    r"(?:.*/)?(?:(?:tags?|category|categories|authors?)/(?:[^/]+/(?:page/?\d+/)?index(?:-\d+)?|[^/]+)"
    r"|page/?\d+/index|(?:tags|categories|search)(?:/index)?"
    r"|archives?(?:/\d{4})?(?:/\d{1,2})?(?:/index)?|(?:19|20)\d\d(?:/\d{1,2})?/index)\.x?html?",
    re.IGNORECASE,
)
_ABOUT_THE_FOLDER = "about the folder (README, LICENSE …)"
_NO_PAGE = "file from which the site builds no page"
PAGE_REASONS = frozenset(
    {"page outside the site", "page without front matter", "part of a page bundle", _NO_PAGE}
    | {f"page outside {row.folders[0]}" for row in GENERATORS if row.folders}
)
"""Reasons for skipping files that contain text."""
DOCUMENT_SUFFIXES = frozenset(
    {"rst", "org", "adoc", "asciidoc", "asc", "ipynb", "qmd", "rmd", "txt", "textile", "docx"}
    | {"dj", "odt", "pdf", "doc", "rtf", "epub", "tex", "wiki", "mediawiki", "creole", "opml"}
    | {"pages"}
)
"""Suffixes of files that contain text, supported or not; pictures and code are excluded."""

ReadFile = Callable[[str], bytes]


@dataclass(frozen=True)
class Site:
    """The settings of a site that apply to all its posts; stored with a post's row.

    Attributes:
        url: the site's address, or "".
        timezone: IANA name of the zone for dates without one, or "".
        generator: the name of its row in `GENERATORS`, or "" for notes.
        language: BCP 47 language of posts that do not name one, or "".
        shows_future, shows_expired: whether future and expired posts are published.
        languages: languages that a file's name may contain (`post.fr.md`).
        folders: the folders with posts; () if they may lie anywhere.
        permalink: Jekyll's address style or template; for Hugo, not empty if the site has its own
            rules.
        below: the imported folder's path in the site, with a trailing `/`; "" for the site's root.
        within: the site's path in the imported folder, in the same format.
        excluded: pattern of the paths that its configuration leaves out, or "".
        data: pairs of a pattern for paths and the JSON of the fields that these posts inherit, or
            "" if they cannot be read; the nearest last.
    """

    url: str = ""
    timezone: str = ""
    generator: str = ""
    language: str = ""
    shows_future: bool = False
    shows_expired: bool = False
    languages: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    permalink: str = ""
    below: str = ""
    within: str = ""
    excluded: str = ""
    data: tuple[tuple[str, str], ...] = ()

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone for dates without one, or None (UTC) if the site does not name a known zone."""
        return find_zone(self.timezone)

    @property
    def tags(self) -> str:
        """The language of the template tags in its posts, or ""."""
        return next((row.tags for row in GENERATORS if row.name == self.generator), "")

    def as_json(self) -> str:
        """Return all fields as JSON; if it changes, every post is read again."""
        return json.dumps(asdict(self))

    def get_site_path(self, source_id: str) -> str:
        """Return a post's path in the site."""
        return self.below + source_id.removeprefix(self.within)

    def find_language(self, path: str) -> str:
        """Return the language in a path (`post.fr.md`, `content/fr/post.md`), or the site's."""
        *folders, name = path.lower().split("/")
        named = (part for part in [*name.split(".")[1:-1], *folders[1:2]] if part in self.languages)
        return next(named, self.language)

    def remove_language(self, path: str) -> str:
        """Return the path without the language in the file's name: `a/post.fr.md` → `a/post.md`."""
        stem, *suffixes = path.rsplit(".", 2)
        is_named = len(suffixes) == 2 and suffixes[0].lower() in self.languages
        return f"{stem}.{suffixes[1]}" if is_named else path


def find_generator(paths: Iterable[str]) -> Generator | None:
    """Return the generator of a site with these files, or None for notes."""
    names = "\n".join(paths)
    return next(
        (
            row
            for row in GENERATORS
            for sign in row.signs
            if all(re.search(rf"^(?:{pattern})$", names, re.MULTILINE) for pattern in sign)
        ),
        None,
    )


def find_site_folder(paths: Sequence[str]) -> str:
    """Return the folder below the root that is a blog's site (`site/`), or "" if there is none.

    If there are several, return the one with most posts; if the root is a site, return "".
    """
    top = find_generator(paths)
    has_root_posts = any(path.startswith("_posts/") for path in paths)
    if top is not None and not top.is_framework and (top.tags != "liquid" or has_root_posts):
        return ""
    matches = (_NESTED_SIGN.fullmatch(path) for path in paths)
    best = (_MIN_POSTS - 1, 0, "")
    for root in {match["root"] for match in matches if match} - {""}:
        below = [path[len(root) :] for path in paths if path.startswith(root)]
        row = find_generator(below)
        if row is None or row.is_framework or _THEME_FOLDERS & set(root.lower().split("/")):
            continue
        count = sum(
            bool(get_markup(path))
            and is_in_post_folder(path, row, row.folders)
            and not _POST_FOLDERS.isdisjoint(path.lower().split("/")[:-1])
            for path in below
        )
        best = max(best, (count, -len(root), root))
    return best[2]


def is_in_post_folder(path: str, row: Generator, folders: Sequence[str]) -> bool:
    """Return whether a file is in one of a site's folders of posts."""
    if row.folders_are_nested:
        return not set(folders).isdisjoint(path.split("/")[:-1])
    return not folders or any(path.startswith(f"{folder}/") for folder in folders)


def is_repository_file(path: str) -> bool:
    """Return whether a file's name shows that it is about its folder (README, LICENSE …)."""
    return bool(_REPOSITORY_FILE.fullmatch(path[path.rfind("/") + 1 :].split(".", 1)[0]))


def classify_outside_file(path: str) -> str:
    """Return why a file outside a folder's site is not a post."""
    if is_repository_file(path):
        return _ABOUT_THE_FOLDER
    return "page outside the site" if get_markup(path) else "other file"


def build_skip_rule(
    paths: Collection[str], row: Generator | None, site: Site
) -> Callable[[str], str]:
    """Return a function from a path in a site to why it is not a post, or "" if it is one.

    Notes beside Markdown may be in any format but PDF, which is often not the author's.
    """
    formats = row.formats if row else NON_MARKDOWN_SUFFIXES
    is_markdown = (
        get_markup(path) == "markdown" and not is_repository_file(path) for path in paths
    )
    if row is None and any(is_markdown):
        formats -= {"pdf"}
    formats = frozenset(suffix for suffix in formats if is_readable(suffix))
    bundles = frozenset[str]()
    if row is not None and row.tags == "shortcodes":
        pages = (path.rpartition("/") for path in paths if get_markup(path))
        bundles = frozenset(folder for folder, _, name in pages if name.split(".")[0] == "index")
        bundles -= set(site.folders)

    ignored = [site.excluded] if site.excluded else []
    if row is not None and (
        not row.ignored_by or any(re.fullmatch(row.ignored_by, path) for path in paths)
    ):
        ignored.append(row.ignored)
    is_ignored = re.compile("|".join(ignored) or r"(?!)", re.DOTALL).fullmatch

    def find_skip_reason(path: str) -> str:
        if is_repository_file(path):
            return _ABOUT_THE_FOLDER
        *folders, name = path.split("/")
        stem, dot, suffix = name.rpartition(".")
        if not get_markup(name) and (
            get_known_suffix(name) not in formats or _PROGRAM_TEXT_FILE.fullmatch(name)
        ):
            return f"{suffix.lower()} file" if dot else "other file"
        is_hugo = row is not None and row.tags == "shortcodes"
        if row is None or not row.tags:
            if not _TEMPLATE_FOLDERS.isdisjoint(map(str.lower, folders)):
                return "template"
            if not folders and stem.lower() in {"index", "404"}:
                return "home page (index)"
            if get_markup(name) == "html" and _LISTING_PAGE.fullmatch(path):
                return "list of posts (tag, category, archive)"
        if row is not None and not is_in_post_folder(path, row, site.folders):
            return f"page outside {row.folders[0]}"
        if is_ignored(path):
            return _NO_PAGE
        if is_hugo and name.split(".")[0] == "_index":
            return "section page (_index)"
        parents = ("/".join(folders[:depth]) for depth in range(1, len(folders) + 1))
        if is_hugo and name.split(".")[0] != "index" and not bundles.isdisjoint(parents):
            return "part of a page bundle"
        return ""

    return find_skip_reason


def is_text_reason(reason: str) -> bool:
    """Return whether files skipped for this reason contain text."""
    return reason in PAGE_REASONS or reason.removesuffix(" file") in DOCUMENT_SUFFIXES


def is_extra_missing(reasons: Iterable[str]) -> bool:
    """Return whether files were skipped because the extra `formats` is not installed."""
    return any(needs_extra(reason.removesuffix(" file")) for reason in reasons)


def read_site(
    paths: Collection[str],
    read: ReadFile,
    row: Generator | None,
    *,
    below: str = "",
    within: str = "",
    root_name: str = "",
) -> Site:
    """Return the site of a folder.

    If a configuration cannot be read, addresses, time zone and language are lost, but the posts are
    still imported.

    Args:
        paths: paths of the files in the site.
        read: function that returns the bytes of one of these files; may raise `OSError`.
        row: the site's generator.
        below, within: as in `Site`.
        root_name: the site's folder's name, which its data file may share.
    """
    table = row or GENERATORS[-1]
    fields = _read_configuration(paths, read, table)
    values = {
        name: next((fields[key] for key in keys if fields.get(key)), None)
        for name, keys in table.settings
    }
    texts = {name: str(value).strip() for name, value in values.items() if isinstance(value, str)}
    url = texts.get("url", "") if texts.get("url", "").startswith("http") else ""
    base_path = str(fields.get("baseurl") or "").strip("/") if table.tags == "liquid" else ""
    languages = _lower_keys(fields.get("languages")) if table.tags == "shortcodes" else {}
    folders = list(table.folders)
    if table.tags == "shortcodes":
        settings = [*map(_lower_keys, languages.values()), fields]
        configured = [str(setting.get("contentdir") or "").strip("/") for setting in settings]
        folders = list(filter(None, [*configured[:-1], configured[-1] or "content"]))
    for name, options in _lower_keys(fields.get("collections")).items():
        if table.tags == "liquid" and _lower_keys(options).get("output") is True:
            folders.append(f"_{name}")
    permalink = texts.get("permalink", "")
    site = Site(
        url=f"{url.rstrip('/')}/{base_path}" if url and base_path else url,
        timezone=texts.get("timezone", ""),
        generator=row.name if row else "",
        language=texts.get("language", ""),
        shows_future=values.get("shows_future") is True,
        shows_expired=values.get("shows_expired") is True,
        languages=tuple(sorted(name.lower() for name in languages)),
        folders=tuple(dict.fromkeys(folders)),
        permalink="own" if values.get("permalink") and table.tags == "shortcodes" else permalink,
        below=below,
        within=within,
        excluded=_read_exclusions(paths, read, table, values.get("excluded")),
    )
    if table.tags == "liquid":
        data = _iter_defaults(fields)
    elif table.tags == "shortcodes":
        data = _iter_cascades(paths, read, fields, site.folders)
    else:
        data = _iter_data_files(paths, read, root_name, is_eleventy=table.name == "eleventy")
    return replace(site, data=tuple(data))


def inherit_fields(fields: Mapping[str, Any], path: str, site: Site) -> dict[str, Any]:
    """Return a post's own fields, with those that it inherits from its site by its path.

    Raises:
        ValueError: a file with inherited fields, which might hide the post, cannot be read.
    """
    inherited: dict[str, Any] = {}
    for pattern, values in site.data:
        if re.fullmatch(pattern, path, re.DOTALL):
            if not values:
                raise ValueError(f"the fields that {path} inherits cannot be read")
            inherited |= json.loads(values)
    return {**inherited, **fields}


def _read_exclusions(
    paths: Collection[str], read: ReadFile, row: Generator, excluded: object
) -> str:
    """Return a pattern for the paths that Jekyll's `exclude` or 11ty's ignore file names, or "".

    In Jekyll, a path begins at the site and names all that begins with it; 11ty's lines are those
    of a `.gitignore`.
    """
    names = cast("list[object]", excluded) if isinstance(excluded, list) else [excluded]
    patterns = [
        rf"{fnmatch.translate(name.lstrip('/'))[:-2]}|{re.escape(name.lstrip('/'))}.*"
        for name in names
        if isinstance(name, str) and name.strip("/")
    ]
    if row.name == "eleventy" and _ELEVENTY_IGNORES in paths:
        try:
            lines = read(_ELEVENTY_IGNORES).decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        for line in map(str.strip, lines):
            glob = line.strip("/")
            if glob and not line.startswith(("#", "!")):
                above = "" if "/" in line.rstrip("/") else "(?:.*/)?"
                patterns.append(rf"{above}{_to_exact_pattern(glob)}(?:/.*)?")
    return "|".join(patterns)


def _iter_defaults(configuration: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what Jekyll's posts inherit, as `Site.data`; longer paths and types have priority."""
    for name, options in _lower_keys(configuration.get("collections")).items():
        if _lower_keys(options).get("output") is False:
            yield _to_pattern(f"**/_{name}/**"), _to_json({"published": False})
    scopes: list[tuple[tuple[int, bool], str, str]] = []
    for entry in _list_mappings(configuration.get("defaults")):
        scope = _lower_keys(entry.get("scope"))
        folder, kind = str(scope.get("path") or "").strip("/"), str(scope.get("type") or "")
        prefix = f"{folder}/" if folder else ""
        if kind and f"_{kind}" not in folder.split("/"):
            pattern = _to_pattern(f"{prefix}**/_{kind}/**")
        else:
            pattern = f"{_to_pattern(folder)}|{_to_pattern(prefix + '**')}"
        values = _to_json(_lower_keys(entry.get("values")))
        scopes.append(((len(folder), bool(kind)), pattern, values))
    for _, pattern, values in sorted(scopes, key=lambda scope: scope[0]):
        yield pattern, values


def _iter_cascades(
    paths: Collection[str], read: ReadFile, configuration: Mapping[str, Any], folders: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what Hugo's posts inherit; the first entry and the nearest section have priority."""
    cascades = [(root, root, configuration.get("cascade")) for root in folders]
    sections = [path for path in paths if re.match(r"_index\.", path[path.rfind("/") + 1 :])]
    for path in sorted(sections, key=lambda path: (path.count("/"), path)):
        root = next((root for root in folders if path.startswith(f"{root}/")), "")
        folder = path.rpartition("/")[0]
        try:
            head = front_matter.split_front_matter(read(path).decode("utf-8-sig"))[0]
        except (OSError, ValueError):
            yield _to_pattern(f"{folder}/**"), ""
            continue
        cascades.append((folder, root, head.get("cascade")))
    for folder, root, cascade in cascades:
        for entry in reversed(_list_mappings(cascade)):
            target = _lower_keys(entry.pop("target", None) or entry.pop("_target", None))
            kinds = str(target.get("kind") or "page").strip("{}").split(",")
            if "page" in kinds and target.get("environment", "production") == "production":
                glob = target.get("path")
                glob = f"{root}/{glob.strip('/')}" if isinstance(glob, str) else f"{folder}/**"
                yield _to_pattern(glob), _to_json(entry)


def _iter_data_files(
    paths: Collection[str], read: ReadFile, root_name: str, *, is_eleventy: bool
) -> Iterator[tuple[str, str]]:
    """Yield what posts inherit from data files of 11ty and Quarto; the nearest has priority."""
    stems = {path.rsplit(".", 1)[0] for path in paths if not path.endswith(".json")}
    scopes: list[tuple[str, str]] = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        stem = path.removesuffix(".json").removesuffix(".11tydata")
        is_data = path.endswith(".11tydata.json") or (is_eleventy and path.endswith(".json"))
        is_folders = stem.rpartition("/")[2] == (folder.rpartition("/")[2] or root_name)
        if is_data and stem in stems:
            scopes.append((stem, path))
        elif (is_data and is_folders) or name in {"_metadata.yml", "_metadata.yaml"}:
            scopes.append((f"{folder}/**" if folder else "**", path))
    for glob, path in sorted(scopes, key=lambda scope: len(scope[0].rstrip("*"))):
        document = parse_file(path, read)
        fields = _to_json(_lower_keys(document))
        yield _to_pattern(glob), fields if isinstance(document, dict) else ""


def _to_pattern(glob: str) -> str:
    """Return a regular expression for the paths, with or without suffix, that a glob names."""
    return rf"{_to_exact_pattern(glob)}(?:(?:/index)?\.\w+)?"


def _to_exact_pattern(glob: str) -> str:
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\{[^{}]*\}|[^*?{]+|\{", glob)
    expression = "".join(
        f"(?:{'|'.join(map(re.escape, part[1:-1].split(',')))})"
        if part.startswith("{") and part.endswith("}")
        else wildcards.get(part) or re.escape(part)
        for part in parts
    )
    return f"(?:{expression})"


ALL_PATHS = _to_pattern("**")
"""The pattern in `Site.data` of fields that all posts of a site inherit."""


def _read_configuration(paths: Iterable[str], read: ReadFile, row: Generator) -> Mapping[str, Any]:
    """Return a site's settings with lower-case keys, or {} if they cannot be read."""
    sorted_paths = sorted(paths)
    files = (path for path in sorted_paths if re.fullmatch(row.configuration, path))
    fields = next(
        filter(None, (_lower_keys(parse_file(path, read)) for path in files)), dict[str, Any]()
    )
    for path in sorted_paths if row.tags == "shortcodes" else ():
        if match := re.fullmatch(rf"config/_default/(languages|cascade)\.{_DATA}", path):
            section = parse_file(path, read)
            fields = {match[1]: _lower_keys(section).get(match[1], section), **fields}
    return fields


def parse_file(path: str, read: ReadFile) -> object:
    """Return the document in a TOML, JSON or YAML file, or None if it cannot be read."""
    try:
        text = read(path).decode("utf-8-sig")
        if path.endswith(".toml"):
            return tomllib.loads(text)
        return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _lower_keys(value: object) -> dict[str, Any]:
    """Return a mapping with lower-case keys, or an empty mapping for any other value."""
    if not isinstance(value, dict):
        return {}
    return {
        str(key).strip().lower(): item for key, item in cast("dict[object, Any]", value).items()
    }


def _list_mappings(value: object) -> list[dict[str, Any]]:
    """Return the mappings in a value that is one mapping or a list of them."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [mapping for mapping in map(_lower_keys, items) if mapping]


def _to_json(fields: Mapping[str, Any]) -> str:
    """Return fields as JSON; dates become text."""
    return json.dumps(fields, default=str)
