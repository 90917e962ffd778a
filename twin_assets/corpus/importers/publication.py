"""Decide whether a post is published now, based on its dates.

Scope: posts with a future date, and expired posts.
Out of scope: other fields that hide a post (`visibility_rules`), and parsing dates (`post_dates`).

Rules: https://jekyllrb.com/docs/configuration/options/ (`future`),
https://gohugo.io/content-management/front-matter/ (`publishDate`, `expiryDate`). Astro and 11ty
leave this to each site. Most sites hide posts with future dates, so the import skips them.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twin_assets.corpus.importers.post_dates import find_field_date
from twin_assets.corpus.importers.site import Site

NOT_YET_PUBLISHED = "not_yet_published"
"""The only reason that can cease to apply without an edit; the post is read again each day."""

_PUBLISH_DATE_FIELDS = ("publishdate", "embargo", "embargountil", "publishafter", "visiblefrom")
_EXPIRY_DATE_FIELDS = ("expirydate", "expires", "expireson", "unpublishdate", "unpublish")


def find_unpublished_reason(
    fields: Mapping[str, Any], *, created_at: datetime | None, site: Site, now: datetime
) -> str:
    """Return `not_yet_published`, `expired`, or "".

    Args:
        fields: the front matter.
        created_at: the post's date from its own fields, not from another source.
        site: the folder's site, which may publish future and expired posts.
        now: the current time, with a time zone.
    """
    publishes_at = _find_field_time(fields, _PUBLISH_DATE_FIELDS, site) or created_at
    expires_at = _find_field_time(fields, _EXPIRY_DATE_FIELDS, site)
    if expires_at is not None and expires_at <= now and not site.shows_expired:
        return "expired"
    return (
        NOT_YET_PUBLISHED
        if publishes_at is not None and publishes_at > now and not site.shows_future
        else ""
    )


def _find_field_time(
    fields: Mapping[str, Any], names: tuple[str, ...], site: Site
) -> datetime | None:
    date = find_field_date(fields, names, zone=site.zone, language=lambda: site.language)
    return date.utc_time if date else None
