"""Read the settings for posts from a Jekyll or Hugo site's configuration.

Scope: `_config.yml`, `hugo.toml` and similar files, read into a `Site`.
Out of scope: which files are posts (`folders`), and a post's own fields (`posts`).

Settings: https://jekyllrb.com/docs/configuration/options/, https://jekyllrb.com/docs/collections/,
https://gohugo.io/configuration/all/, https://gohugo.io/configuration/languages/. If a configuration
cannot be read, addresses, time zones and languages are lost, but the posts are still imported.
"""
# pyright: strict

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import yaml

from twin_assets.corpus.importers.site import Site

_JEKYLL = re.compile(r"_config\.(?:ya?ml|toml)")
_HUGO = re.compile(r"(?:config/_default/)?(?:hugo|config)\.(?:toml|ya?ml|json)")
_HUGO_SECTION_FILES = re.compile(r"config/_default/(languages|cascade)\.(?:toml|ya?ml|json)")

Configuration = Mapping[str, Any]


def read_site(paths: Iterable[str], read_bytes: Callable[[str], bytes], *, layout: str) -> Site:
    """Return the site of a folder.

    Args:
        paths: paths of the files in the folder, relative to its root.
        read_bytes: function that returns the bytes of one of these files; may raise `OSError`.
        layout: `jekyll`, `hugo`, or any other value, for which only the address and the
            time zone are read.
    """
    fields = read_configuration(paths, read_bytes, layout=layout)
    # Jekyll's `baseurl` is the path below `url`; Hugo's is the whole address.
    address = _get_text(fields, "url") if layout == "jekyll" else _get_text(fields, "baseurl")
    address = address or _get_text(fields, "url")
    site = Site(
        url=address if address.startswith("http") else "",
        timezone=_get_text(fields, "timezone"),
    )
    if layout == "jekyll":
        return _build_jekyll_site(site, fields)
    return _build_hugo_site(site, fields) if layout == "hugo" else site


def read_configuration(
    paths: Iterable[str], read_bytes: Callable[[str], bytes], *, layout: str
) -> Configuration:
    """Return a site's settings with lower-case keys, or {} if they cannot be read.

    The arguments are those of `read_site`.
    """
    sorted_paths = sorted(paths)
    pattern = {"jekyll": _JEKYLL, "hugo": _HUGO}.get(layout)
    configuration_paths = [path for path in sorted_paths if (pattern or _JEKYLL).fullmatch(path)]
    if pattern is None:
        configuration_paths += [path for path in sorted_paths if _HUGO.fullmatch(path)]
    candidates = (lowercase_keys(parse_file(path, read_bytes)) for path in configuration_paths)
    fields = next(filter(None, candidates), dict[str, Any]())
    if layout == "hugo":
        for path in sorted_paths:
            if match := _HUGO_SECTION_FILES.fullmatch(path):
                section = parse_file(path, read_bytes)
                fields = {match[1]: lowercase_keys(section).get(match[1], section), **fields}
    return fields


def _build_jekyll_site(site: Site, fields: Configuration) -> Site:
    collections = lowercase_keys(fields.get("collections"))
    output_collections = [
        name
        for name, options in collections.items()
        if lowercase_keys(options).get("output") is True
    ]
    base_path = _get_text(fields, "baseurl").strip("/")
    return Site(
        url=f"{site.url.rstrip('/')}/{base_path}" if site.url and base_path else site.url,
        timezone=site.timezone,
        generator="jekyll",
        permalink=_get_text(fields, "permalink"),
        language=_get_text(fields, "lang") or _get_text(fields, "locale"),
        shows_future=fields.get("future") is True,
        folders=tuple(f"_{name}" for name in output_collections if name != "posts"),
    )


def _build_hugo_site(site: Site, fields: Configuration) -> Site:
    languages = {
        str(name).lower(): lowercase_keys(options)
        for name, options in lowercase_keys(fields.get("languages")).items()
    }
    language_folders = [_get_text(language, "contentdir") for language in languages.values()]
    folders = [
        folder.strip("/")
        for folder in (*language_folders, _get_text(fields, "contentdir") or "content")
    ]
    return Site(
        url=site.url,
        timezone=site.timezone,
        generator="hugo",
        permalink="own" if fields.get("permalinks") or fields.get("uglyurls") else "",
        language=_get_text(fields, "defaultcontentlanguage") or _get_text(fields, "languagecode"),
        shows_future=fields.get("buildfuture") is True,
        shows_expired=fields.get("buildexpired") is True,
        languages=tuple(sorted(languages)),
        folders=tuple(dict.fromkeys(filter(None, folders))),
    )


def parse_file(path: str, read_bytes: Callable[[str], bytes]) -> object:
    """Return the document in a TOML, JSON or YAML file, or None if it cannot be read."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if path.endswith(".toml"):
            return tomllib.loads(text)
        return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def lowercase_keys(value: object) -> Configuration:
    """Return a mapping with lower-case keys, or an empty mapping for any other value."""
    if not isinstance(value, dict):
        return {}
    return {str(key).lower(): item for key, item in cast("dict[object, Any]", value).items()}


def _get_text(fields: Configuration, name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""
