"""Build the public address of a Jekyll or Hugo post from its name and date, as its generator does.

Scope: the address rules of both generators.
Out of scope: addresses in a post's fields (`posts`), and checking that an address is reachable.

Rules: https://jekyllrb.com/docs/permalinks/ (built-in styles and placeholders),
https://gohugo.io/content-management/organization/ and https://gohugo.io/content-management/urls/.
Unsupported rules (Hugo's `permalinks`, a plugin's placeholder) yield no address, because a wrong
address would mislead the reader.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.site import Site

_STYLES = {
    "date": "/:categories/:year/:month/:day/:title:output_ext",
    "pretty": "/:categories/:year/:month/:day/:title/",
    "ordinal": "/:categories/:year/:y_day/:title:output_ext",
    "none": "/:categories/:title:output_ext",
}
_TIME_CODES = {
    **{"year": "%Y", "month": "%m", "day": "%d", "short_year": "%y", "y_day": "%j"},
    **{"hour": "%H", "minute": "%M", "second": "%S"},
}
_NAME = re.compile(r"(?:\d{4}-\d{1,2}-\d{1,2}-)?(.+?)(?:\.\w+)?")


def build_post_address(
    fields: Mapping[str, Any], *, source_id: str, created_at: datetime | None, site: Site
) -> str:
    """Return the post's address, or "" if it cannot be determined.

    Args:
        fields: the front matter.
        source_id: the post's path in the site.
        created_at: the post's date, with a time zone.
        site: the post's site.
    """
    if not site.url:
        return ""
    path = ""
    if site.generator == "jekyll":
        path = _build_jekyll_path(fields, source_id, created_at, site)
    elif site.generator == "hugo":
        path = _build_hugo_path(fields, source_id, site)
    return site.url.rstrip("/") + quote(path, safe="/%:") if path else ""


def _build_jekyll_path(
    fields: Mapping[str, Any], source_id: str, created_at: datetime | None, site: Site
) -> str:
    *folders, name = source_id.split("/")
    match = _NAME.fullmatch(name)
    if created_at is None or match is None or "_posts" not in folders:
        return ""
    local_time = created_at.astimezone(site.zone or UTC)
    parent_folders = folders[: folders.index("_posts")]
    # `category` may contain spaces; `categories` are words.
    category = front_matter.get_text_field(fields, "category")
    raw_categories = [
        *parent_folders,
        *([category] if category else []),
        *front_matter.get_list_field(fields, "categories"),
    ]
    categories = list(dict.fromkeys(part.lower().replace(" ", "-") for part in raw_categories))
    slug = front_matter.get_text_field(fields, "slug") or match[1]
    values = {name: local_time.strftime(code) for name, code in _TIME_CODES.items()} | {
        "categories": "/".join(categories),
        "i_month": str(local_time.month),
        "i_day": str(local_time.day),
        "title": slug,
        "slug": slug.lower(),
        "output_ext": ".html",
    }
    template = front_matter.get_text_field(fields, "permalink") or site.permalink or "date"
    template = _STYLES.get(template, template)
    if not template.startswith("/"):
        return ""
    names = sorted(values, key=len, reverse=True)
    path = re.sub(
        rf":({'|'.join(names)})(?![a-z_])", lambda placeholder: values[placeholder[1]], template
    )
    return "" if re.search(r":[a-z]", path) else re.sub(r"/{2,}", "/", path)


def _build_hugo_path(fields: Mapping[str, Any], source_id: str, site: Site) -> str:
    if site.permalink:
        return ""  # the site defines its own rules
    path = site.path_without_language(source_id)
    folder = next((candidate for candidate in site.folders if path.startswith(f"{candidate}/")), "")
    if not folder:
        return ""
    parts = path.removeprefix(f"{folder}/").rsplit(".", 1)[0].split("/")
    if parts[-1].lower() == "index":
        parts = parts[:-1]
    if not parts:
        return "/"
    if slug := front_matter.get_text_field(fields, "slug"):
        parts[-1] = slug
    language = site.find_language(source_id)
    prefix = f"/{language}" if language in site.languages and language != site.language else ""
    url_path = "/".join(re.sub(r"\s+", "-", part.strip().lower()) for part in parts)
    return f"{prefix}/{url_path}/"
