"""Whether a post of a Jekyll or Hugo site is published at this moment, by its own dates.

Belongs here: future, expired and unprinted posts. Does not belong here: drafts (a kind of post,
which an author may opt in), parsing dates (`front_matter`).

Rules: https://jekyllrb.com/docs/configuration/options/ (`future`),
https://gohugo.io/content-management/front-matter/ (`publishDate`, `expiryDate`, `headless`),
https://gohugo.io/content-management/build-options/.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.site import Site

NOT_YET = "not_yet_published"
"""The only reason that passes by itself: such a post is read again each day."""


def why_not_published(
    fields: Mapping[str, Any], *, created: datetime | None, site: Site, now: datetime
) -> str:
    """`not_yet_published`, `expired`, `not_published` (it is never printed), or "".

    Args:
        fields: of the front matter.
        created: the post's date.
        site: of the folder; without a generator everything that lies there is published.
        now: aware.
    """
    if not site.generator:
        return ""
    begins = created
    if site.generator == "hugo":
        build = fields.get("build", fields.get("_build"))
        printed = cast("dict[str, Any]", build).get("render") if isinstance(build, dict) else None
        if fields.get("headless") is True or printed in ("never", False):
            return "not_published"
        begins = front_matter.moment(fields.get("publishdate"), site.zone) or created
        ends = front_matter.moment(fields.get("expirydate"), site.zone)
        if ends is not None and ends <= now and not site.shows_expired:
            return "expired"
    return NOT_YET if begins is not None and begins > now and not site.shows_future else ""
