"""Apply the fields that posts inherit from their site: by folder, by pattern, or for one post.

Scope: finding and reading these fields, and merging them with the post's own fields.
Out of scope: front matter (`front_matter`), the meaning of a field, the rest of a configuration
(`site_configuration`).

Sources: https://www.11ty.dev/docs/data-template-dir/ (`posts/posts.json` applies to everything
below `posts`, and `posts/a.json` to `posts/a.md`; `.11tydata.js` is a program, which is not run).
https://jekyllrb.com/docs/configuration/front-matter-defaults/ (`defaults` in `_config.yml`, and
`collections: {posts: {output: false}}`),
https://gohugo.io/content-management/front-matter/#cascade-1 (`cascade` in the configuration and in
`_index.md`), https://quarto.org/docs/projects/quarto-projects.html (`_metadata.yml`). Fields nearer
to the post take precedence, and lists of tags are joined.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.site_configuration import (
    lowercase_keys,
    parse_file,
    read_configuration,
)

_ELEVENTY_CONFIGURATION = re.compile(r"eleventy\.config\.\w+|\.eleventy\.c?js")
_DATA_FILE = re.compile(
    r"(?P<stem>(?:.*/)?[^/]+?)(?P<eleventy_suffix>\.11tydata)?\.json", re.DOTALL
)
_HUGO_SECTION_FILE = re.compile(
    r"(?P<folder>(?:.*/)?)_index(?:\.[\w-]+)?\.(?:md|markdown|html?)", re.DOTALL
)
_QUARTO_METADATA_FILE = re.compile(r"(?P<folder>(?:.*/)?)_metadata\.ya?ml", re.DOTALL)
_MERGED_LISTS = ("tags", "categories", "keywords")
# A permalink with 11ty, Jekyll or Hugo template syntax is not an address.
_TEMPLATE = re.compile(r"\{[{%]|:\w")
# Prefix of a scope that is a regular expression for the path without its suffix.
_PATTERN_PREFIX = "^"
_WILDCARDS = re.compile(r"\*\*/|\*\*|\*|\?|\{[^{}]*\}|[^*?{]+|\{")

ReadFile = Callable[[str], bytes]
ScopedFieldsJson = tuple[str, str]


def read_inherited_fields(
    source_ids: Collection[str], read: ReadFile, *, site: Site, root_name: str = ""
) -> tuple[ScopedFieldsJson, ...]:
    """Return `Site.data` for a site or a folder within it, with the nearest scope last.

    Args:
        source_ids: paths of the files in the site.
        read: function that returns the bytes of one of these files; may raise `OSError`.
        site: the site, as configured.
        root_name: the folder's name, which its data file may share.
    """
    if site.generator == "jekyll":
        return tuple(_iter_jekyll_fields(read_configuration(source_ids, read, layout="jekyll")))
    if site.generator == "hugo":
        return tuple(_iter_hugo_fields(source_ids, read, site))
    scoped_fields = [
        *_iter_eleventy_fields(source_ids, read, root_name),
        *_iter_quarto_fields(source_ids, read),
    ]
    return tuple(sorted(scoped_fields, key=lambda item: (len(item[0]), item[0])))


def merge_inherited(fields: Mapping[str, Any], path: str, site: Site) -> dict[str, Any]:
    """Return a post's fields merged with those that it inherits from its site.

    Args:
        fields: the post's front matter, with lower-case keys.
        path: the post's path in the site.

    Raises:
        ValueError: a file with inherited fields, which might exclude the post, cannot be read.
    """
    own_fields = dict(fields)
    inherited_values: dict[str, Any] = {}
    for scope, json_fields in site.data:
        if _is_in_scope(scope, path):
            if not json_fields:
                raise ValueError(f"the fields of {scope or 'the folder'} cannot be read")
            inherited_values = _merge_fields(inherited_values, json.loads(json_fields))
    return _merge_fields(inherited_values, own_fields) if inherited_values else own_fields


def _is_in_scope(scope: str, path: str) -> bool:
    stem = path.rsplit(".", 1)[0]
    if scope.startswith(_PATTERN_PREFIX):
        names = (path, stem, stem.removesuffix("/index"))
        return any(re.fullmatch(scope, name, re.DOTALL) for name in names)
    return stem == scope or (path.startswith(scope) and scope[-1:] in {"", "/"})


def _merge_fields(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Merge fields: those of the child take precedence, but lists of tags are joined."""
    parent_lists = {
        name: front_matter.get_list_field(parent, name) for name in _MERGED_LISTS if name in parent
    }
    lists = {
        name: list(dict.fromkeys([*parent_values, *front_matter.get_list_field(child, name)]))
        for name, parent_values in parent_lists.items()
    }
    return {**parent, **child, **lists}


def _iter_eleventy_fields(
    source_ids: Collection[str], read: ReadFile, root_name: str
) -> Iterator[ScopedFieldsJson]:
    is_site = any(_ELEVENTY_CONFIGURATION.fullmatch(path) for path in source_ids)
    post_stems = {path.rsplit(".", 1)[0] for path in source_ids if not path.endswith(".json")}
    for path in sorted(source_ids):
        match = _DATA_FILE.fullmatch(path) if path.endswith(".json") else None
        if match is None or not (is_site or match["eleventy_suffix"]):
            continue
        folder, _, name = match["stem"].rpartition("/")
        parent_name = folder.rpartition("/")[2] if folder else root_name
        if match["stem"] in post_stems:
            yield match["stem"], _read_data_file(path, read)
        elif name == parent_name:
            yield f"{folder}/" if folder else "", _read_data_file(path, read)


def _iter_quarto_fields(source_ids: Collection[str], read: ReadFile) -> Iterator[ScopedFieldsJson]:
    for path in source_ids:
        if match := _QUARTO_METADATA_FILE.fullmatch(path):
            yield match["folder"], _read_data_file(path, read)


def _iter_jekyll_fields(fields: Mapping[str, Any]) -> Iterator[ScopedFieldsJson]:
    """Yield Jekyll's defaults: longer paths take precedence, then entries that name a type."""
    ranked_fields: list[tuple[tuple[int, bool], ScopedFieldsJson]] = []
    for entry in _list_mappings(fields.get("defaults")):
        scope = lowercase_keys(entry.get("scope"))
        folder, page_type = str(scope.get("path") or "").strip("/"), str(scope.get("type") or "")
        values = _to_json(lowercase_keys(entry.get("values")))
        prefix = f"{folder}/" if folder else ""
        names_type = bool(page_type) and f"_{page_type}" not in folder.split("/")
        type_pattern = f"**/_{page_type}/**" if names_type else "**"
        for pattern in dict.fromkeys((folder, prefix + type_pattern)):
            if pattern and (pattern != folder or type_pattern == "**"):
                ranked_fields.append(((len(folder), bool(page_type)), (_to_regex(pattern), values)))
    for name, options in lowercase_keys(fields.get("collections")).items():
        if lowercase_keys(options).get("output") is False:
            yield _to_regex(f"**/_{name}/**"), _to_json({"published": False})
    yield from (item for _, item in sorted(ranked_fields, key=lambda item: item[0]))


def _iter_hugo_fields(
    source_ids: Collection[str], read: ReadFile, site: Site
) -> Iterator[ScopedFieldsJson]:
    """Yield Hugo's cascades in reverse order, because the first entry with a field has priority."""
    roots = [f"{folder}/" for folder in site.folders]
    for entry in reversed(
        _list_mappings(read_configuration(source_ids, read, layout="hugo").get("cascade"))
    ):
        for root in roots:
            yield from _iter_cascade_fields(entry, folder=root, root=root)
    sections = [match for path in source_ids if (match := _HUGO_SECTION_FILE.fullmatch(path))]
    for match in sorted(sections, key=lambda section: (section["folder"].count("/"), section[0])):
        folder = match["folder"]
        root = max(
            (candidate for candidate in roots if folder.startswith(candidate)), key=len, default=""
        )
        try:
            text = read(match[0]).decode("utf-8-sig")
            front_matter_fields = lowercase_keys(front_matter.split_front_matter(text)[0])
        except (OSError, ValueError):
            yield folder, ""
            continue
        for entry in reversed(_list_mappings(front_matter_fields.get("cascade"))):
            yield from _iter_cascade_fields(entry, folder=folder, root=root)


def _iter_cascade_fields(
    entry: Mapping[str, Any], *, folder: str, root: str
) -> Iterator[ScopedFieldsJson]:
    """Yield one cascade; its target is a pattern for the posts' path below the content folder."""
    target = lowercase_keys(entry.get("target") or entry.get("_target"))
    if "page" not in str(target.get("kind") or "page").strip("{}").split(","):
        return
    if target.get("environment", "production") != "production":
        return
    values = _to_json(
        {key: value for key, value in entry.items() if key not in {"target", "_target"}}
    )
    path = target.get("path")
    yield (_to_regex(root + path.strip("/")) if isinstance(path, str) else folder), values


def _to_regex(wildcards: str) -> str:
    """Convert a path with wildcards (`*`, `**`, `?`, `{a,b}`) to a regex that starts with `^`."""
    return _PATTERN_PREFIX + "".join(map(_wildcard_to_regex, _WILDCARDS.findall(wildcards)))


def _wildcard_to_regex(part: str) -> str:
    if part[0] == "{" and part[-1] == "}":
        return f"(?:{'|'.join(map(re.escape, part[1:-1].split(',')))})"
    regex_by_wildcard = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return regex_by_wildcard.get(part) or re.escape(part)


def _list_mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings in a value that is one mapping or a list of them."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [mapping for mapping in map(lowercase_keys, items) if mapping]


def _read_data_file(path: str, read: ReadFile) -> str:
    document = parse_file(path, read)
    is_mapping = isinstance(document, dict)
    return _to_json(lowercase_keys(cast("object", document))) if is_mapping else ""


def _to_json(fields: Mapping[str, Any]) -> str:
    """Return fields as JSON, without a templated permalink; dates become text."""
    lowercase_fields = {key.strip().lower(): value for key, value in fields.items()}
    permalink = lowercase_fields.get("permalink")
    if isinstance(permalink, str) and _TEMPLATE.search(permalink):
        del lowercase_fields["permalink"]
    return json.dumps(lowercase_fields, default=str)
