"""Whether a post is published at this moment, by its own dates.

Scope: posts whose day has not come, and those whose time is over. Out of scope: what
else holds a post back (`held_back`), parsing dates (`post_dates`).

Rules: https://jekyllrb.com/docs/configuration/options/ (`future`),
https://gohugo.io/content-management/front-matter/ (`publishDate`, `expiryDate`). Astro and 11ty
leave it to each site: most hide what is dated ahead, and who waits for the day harms nobody.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twin_assets.corpus.importers.post_dates import field_date
from twin_assets.corpus.importers.site import Site

NOT_YET = "not_yet_published"
"""The only reason that passes by itself: such a post is read again each day."""

_BEGINS = ("publishdate", "embargo", "embargountil", "publishafter", "visiblefrom")
_ENDS = ("expirydate", "expires", "expireson", "unpublishdate", "unpublish")


def why_not_published(
    fields: Mapping[str, Any], *, created: datetime | None, site: Site, now: datetime
) -> str:
    """`not_yet_published`, `expired`, or "".

    Args:
        fields: of the front matter.
        created: the post's date, as it says it; no date that something else gives.
        site: of the folder; may print what is to come, and what is over.
        now: aware.
    """
    begins, ends = _moment(fields, _BEGINS, site) or created, _moment(fields, _ENDS, site)
    if ends is not None and ends <= now and not site.shows_expired:
        return "expired"
    return NOT_YET if begins is not None and begins > now and not site.shows_future else ""


def _moment(fields: Mapping[str, Any], names: tuple[str, ...], site: Site) -> datetime | None:
    date = field_date(fields, names, zone=site.zone, language=lambda: site.language)
    return date.at if date else None
