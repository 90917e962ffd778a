"""Build the public address of a Jekyll or Hugo post from its name and date, as its generator does.

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
from twin_assets.corpus.importers.generators import Site

_STYLES = {
    "date": "/:categories/:year/:month/:day/:title:output_ext",
    "pretty": "/:categories/:year/:month/:day/:title/",
    "ordinal": "/:categories/:year/:y_day/:title:output_ext",
    "none": "/:categories/:title:output_ext",
}
_TIME_CODES = {
    **{"year": "%Y", "month": "%m", "day": "%d", "short_year": "%y", "y_day": "%j"},
    **{"hour": "%H", "minute": "%M", "second": "%S", "i_month": "%-m", "i_day": "%-d"},
}
_PLACEHOLDER = re.compile(r":([a-z]+(?:_[a-z]+)*)")
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
    *folders, name = site.remove_language(source_id).split("/")
    slug = front_matter.get_text_field(fields, "slug")
    path = ""
    if site.generator == "jekyll" and "_posts" in folders and created_at is not None:
        match = _NAME.fullmatch(name)
        title = slug or (match[1] if match else "")
        # `category` may contain spaces; `categories` are words.
        category = front_matter.get_text_field(fields, "category")
        categories = [
            *folders[: folders.index("_posts")],
            *([category] if category else []),
            *front_matter.get_list_field(fields, "categories"),
        ]
        local_time = created_at.astimezone(site.zone or UTC)
        values = {name: local_time.strftime(code) for name, code in _TIME_CODES.items()} | {
            "categories": "/".join(dict.fromkeys(c.lower().replace(" ", "-") for c in categories)),
            "title": title,
            "slug": title.lower(),
            "output_ext": ".html",
        }
        template = front_matter.get_text_field(fields, "permalink") or site.permalink or "date"
        template = _STYLES.get(template, template)
        if template.startswith("/") and values.keys() >= set(_PLACEHOLDER.findall(template)):
            path = _PLACEHOLDER.sub(lambda placeholder: values[placeholder[1]], template)
            path = re.sub(r"/{2,}", "/", path)
    elif site.generator == "hugo" and not site.permalink:
        source_path = "/".join([*folders, name.rsplit(".", 1)[0]])
        root = next((root for root in site.folders if source_path.startswith(f"{root}/")), "")
        parts = source_path.removeprefix(f"{root}/").split("/") if root else []
        if parts and parts[-1].lower() == "index":
            parts.pop()
        if parts and slug:
            parts[-1] = slug
        language = site.find_language(source_id)
        is_other_language = language in site.languages and language != site.language
        parts = [re.sub(r"\s+", "-", part.strip().lower()) for part in parts]
        path = "/".join(["", *([language] if is_other_language and parts else []), *parts, ""])
        path = path if root else ""
    return site.url.rstrip("/") + quote(path, safe="/%:") if path and site.url else ""
