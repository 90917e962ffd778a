"""Read the title, date, byline, tags and body of one post file, or reject it with a reason.

Scope: a post's fields from its head, its site, its file name and its first heading.
Out of scope: the file's head (`post_head`), which files are posts (`folders`), which fields date a
post (`post_dates`), cleaning the body (`cleaning`).

Most sites hide posts with future dates, so the import skips them unless the site shows them:
https://jekyllrb.com/docs/configuration/options/ (`future`),
https://gohugo.io/content-management/front-matter/ (`publishDate`, `expiryDate`). Astro and 11ty
leave this to each site.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from twin_assets.corpus.code_blocks import iter_prose_lines
from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.byline_fields import read_byline
from twin_assets.corpus.importers.document_fields import CREATOR_FIELD, FormatError
from twin_assets.corpus.importers.html_head import HtmlHead, read_head
from twin_assets.corpus.importers.hugo_shortcodes import remove_shortcodes
from twin_assets.corpus.importers.inherited_fields import merge_inherited
from twin_assets.corpus.importers.jekyll_liquid import remove_liquid
from twin_assets.corpus.importers.obsidian_comments import remove_obsidian_comments
from twin_assets.corpus.importers.post_address import build_post_address
from twin_assets.corpus.importers.post_dates import (
    CREATED_FIELDS,
    UPDATED_FIELDS,
    PostDate,
    find_field_date,
    parse_date,
    split_date_and_title,
)
from twin_assets.corpus.importers.post_head import PostHead, UnreadablePostError, read_post_head
from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.template_pages import is_template
from twin_assets.corpus.importers.text_encoding import UTF_8
from twin_assets.corpus.importers.text_formats import convert_to_markdown
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason

NOT_YET_PUBLISHED = "not_yet_published"
"""The only reason that can cease to apply without an edit; the post is read again each day."""

_PUBLISH_DATE_FIELDS = ("publishdate", "embargo", "embargountil", "publishafter", "visiblefrom")
_EXPIRY_DATE_FIELDS = ("expirydate", "expires", "expireson", "unpublishdate", "unpublish")
_ATX_HEADING = re.compile(r"^ {0,3}#[ \t]+(.+?)[ \t]*#*[ \t]*$")
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_TAG = re.compile(r"<[^>]+>")
_HIDDEN_FOLDERS: Mapping[str, str] = {
    **dict.fromkeys(("_drafts", "drafts", "draft", "unpublished"), "draft"),
    **dict.fromkeys(("private", "_private"), "private"),
}
"""Reasons for withholding posts, by the name of their folder."""

_RESTRICTED_VISIBILITIES = frozenset({"private", "followers", "paid"})


@dataclass(frozen=True)
class Post:
    """The fields of a `raw_posts` row that come from the file itself (`corpus_tables.RawPosts`).

    Attributes:
        head: the file's head, from which the other fields derive.
        visibility: `public`, or why the blog's readers do not see the post (`private`, `followers`,
            `paid`); a draft is private.
        encoding: the file's original encoding; "" for UTF-8.
        remark: `ambiguous_date` if the date is uncertain, or "".
    """

    head: PostHead = field(repr=False)
    title: str
    text: str
    markup: str
    kind: str
    url: str
    author: str
    created_at: datetime | None
    updated_at: datetime | None
    tags: list[str]
    byline: str = ""
    language: str = ""
    licence: str = ""
    encoding: str = ""
    visibility: str = "public"
    remark: str = ""


def read_post(
    body: bytes,
    *,
    source_id: str,
    site: Site | None = None,
    now: datetime | None = None,
    added_at: Callable[[], datetime | None] = lambda: None,
) -> Post:
    """Read one post.

    Args:
        body: the file's bytes.
        source_id: path in the source folder, with `/`; the name may contain a date and a title.
        site: the folder's configuration.
        now: the time by which a site's post must have been published; None means the current time.
        added_at: function that returns when the file was added to its repository; called only if
            the post has no other date.

    Raises:
        UnreadablePostError: as in `read_post_head`, or with the reason `broken_front_matter` (in
            its folder), `empty` (front matter or layout only), `template`, `not_its_format` or
            `not_prose` (a .txt). Further reasons are `not_yet_published`, `expired`, and those of
            `visibility_rules` other than `draft`, `private`, `followers` and `paid`.
    """
    site = site or Site()
    head = read_post_head(body, source_id=source_id)
    if not site.generator and not head.suffix and is_template(head.text, markup=head.markup):
        raise UnreadablePostError("template")
    path = site.get_site_path(source_id)
    fields, hidden_reason = _read_fields(head, site, source_id=source_id)
    content, fields = _read_content(head, fields, hidden_reason=hidden_reason, site=site)
    page = head.page
    if head.markup == "html" and content != head.body:
        page = read_head(content)  # the title may have contained template tags
    language = front_matter.get_text_field(fields, "lang", "language", "locale") or page.language
    language = language or site.find_language(source_id.removeprefix(site.within))
    name_date, name_title = split_date_and_title(site.path_without_language(path))
    created_date, updated_date = _find_dates(
        fields,
        page,
        name_date,
        zone=site.zone,
        language=lambda: language or _detect_language(content),
    )
    created_at = created_date.utc_time if created_date else None
    unpublished_reason = _find_unpublished_reason(
        fields, created_at=created_at, site=site, now=now or datetime.now(UTC)
    )
    if unpublished_reason and not hidden_reason:
        raise UnreadablePostError(unpublished_reason)
    created_at = created_at or added_at()
    named_author = read_byline(fields) or front_matter.get_text_field(fields, CREATOR_FIELD)
    meta_author = read_byline(page.meta)
    return Post(
        head=head,
        title=front_matter.get_text_field(fields, "title")
        or (page.title if head.markup == "html" else "")
        or (_strip_heading_markup(find_first_heading(content)) if head.markup == "markdown" else "")
        or name_title,
        text=content,
        markup=head.markup,
        kind="draft" if hidden_reason == "draft" else "post" if created_at else "note",
        url=_find_public_address(fields, page, site, path=path, created_at=created_at),
        author=named_author or meta_author,
        created_at=created_at,
        updated_at=updated_date.utc_time if updated_date else None,
        tags=front_matter.get_list_field(fields, "tags", "categories", "category", "keywords"),
        byline="front matter" if named_author else "meta author" if meta_author else "",
        language=language,
        licence=front_matter.get_text_field(fields, "license", "licence", "rights"),
        encoding="" if head.encoding == UTF_8 else head.encoding,
        visibility="private" if hidden_reason == "draft" else hidden_reason or "public",
        remark="ambiguous_date" if created_date and created_date.is_ambiguous else "",
    )


def _find_unpublished_reason(
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


def _read_fields(head: PostHead, site: Site, *, source_id: str) -> tuple[dict[str, Any], str]:
    """Return the fields, including the folder's, and why the post is a draft or restricted."""
    try:
        fields = merge_inherited(head.fields, site.get_site_path(source_id), site)
    except ValueError as error:
        raise UnreadablePostError("broken_front_matter") from error
    hidden_reason = head.find_hidden_reason(fields) or _find_hidden_folder_reason(source_id)
    if hidden_reason and hidden_reason != "draft" and hidden_reason not in _RESTRICTED_VISIBILITIES:
        raise UnreadablePostError(hidden_reason)
    return fields, hidden_reason


def _find_dates(
    fields: dict[str, Any],
    page: HtmlHead,
    name_date: object,
    *,
    zone: ZoneInfo | None,
    language: Callable[[], str],
) -> tuple[PostDate | None, PostDate | None]:
    """Return the dates of writing and last editing from the fields, the page or the file name."""

    def find_date(names: tuple[str, ...], *other_values: object) -> PostDate | None:
        date = find_field_date(fields, names, zone=zone, language=language)
        other_dates = (
            parse_date(value, zone=zone, language=language) for value in other_values if value
        )
        return date or next(filter(None, other_dates), None)

    meta = page.meta
    return (
        find_date(CREATED_FIELDS, meta.get("article:published_time"), meta.get("date"), name_date),
        find_date(UPDATED_FIELDS, meta.get("article:modified_time")),
    )


def _read_content(
    head: PostHead, fields: dict[str, Any], *, hidden_reason: str, site: Site
) -> tuple[str, dict[str, Any]]:
    """Return the body without the generator's layout, and the fields, including a converter's."""
    content, converter_fields = _convert_body(head)
    if find_hidden_reason(converter_fields) and not hidden_reason:
        # Only the converter finds these fields.
        raise UnreadablePostError(find_hidden_reason(converter_fields))
    content = _remove_templates(content, fields, markup=head.markup, site=site)
    if not content.strip():
        raise UnreadablePostError("empty")
    if head.markup == "text" and not _is_prose(content):
        raise UnreadablePostError("not_prose")
    return content, {**converter_fields, **fields}


def _convert_body(head: PostHead) -> tuple[str, dict[str, Any]]:
    """Return the text in its markup, and the fields that a converter found."""
    if not head.suffix or head.suffix == "txt":
        return head.body, {}
    try:
        return convert_to_markdown(head)
    except FormatError as error:
        raise UnreadablePostError("not_its_format") from error


def _is_prose(text: str) -> bool:
    """Return whether a text is prose, unlike lists, logs and tables of numbers.

    At least half of its words are in lines of four or more words, or it is in a script without
    spaces.
    """
    lines = [line.split() for line in text.splitlines()]
    word_count = sum(map(len, lines))
    prose_word_count = sum(len(line) for line in lines if len(line) >= 4 and _is_mostly_words(line))
    is_ideographic = len(_IDEOGRAPH.findall(text)) * 2 >= len("".join(text.split()))
    return prose_word_count * 2 >= word_count or is_ideographic


def _is_mostly_words(line: list[str]) -> bool:
    return sum(word.strip(".,;:!?()\"'»«„“”").isalpha() for word in line) * 2 >= len(line)


def _detect_language(content: str) -> str:
    """Return the language detected in the text, or "" if it is undetermined."""
    from twin_assets.corpus.language import UNDETERMINED, detect_language

    language = detect_language(content)
    return "" if language == UNDETERMINED else language


def _find_hidden_folder_reason(source_id: str) -> str:
    """Return the reason from the name of a folder that contains the file, or ""."""
    folders = source_id.lower().split("/")[:-1]
    return next((_HIDDEN_FOLDERS[folder] for folder in folders if folder in _HIDDEN_FOLDERS), "")


def _remove_templates(content: str, fields: dict[str, Any], *, markup: str, site: Site) -> str:
    """Return the body without its generator's layout; a note has none, but may quote one."""
    if site.generator == "hugo":
        return remove_shortcodes(content, markup=markup)
    if site.generator == "jekyll" and fields.get("render_with_liquid") is not False:
        return remove_liquid(content, markup=markup)
    return (
        remove_obsidian_comments(content)
        if markup == "markdown" and not site.generator
        else content
    )


def find_first_heading(markdown: str) -> str:
    """Return the first level-one ATX heading outside fenced code, without its marks, or ""."""
    headings = (_ATX_HEADING.match(line) for _, line in iter_prose_lines(markdown))
    return next((heading[1].strip() for heading in headings if heading), "")


def hash_content(text: str) -> str:
    """Return the SHA-256 of a body in NFC with collapsed white space."""
    normalized_text = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(normalized_text.encode("utf-8", "surrogatepass")).hexdigest()


def _strip_heading_markup(inline: str) -> str:
    """Return a heading without tags, entities and link targets; code and emphasis marks stay."""
    without_links = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", _TAG.sub("", inline))
    return " ".join(html.unescape(without_links).split())


def _find_public_address(
    fields: dict[str, Any], page: HtmlHead, site: Site, *, path: str, created_at: datetime | None
) -> str:
    """Return the post's public address.

    It is the address in the post's fields (a path needs the site's host), or else the address that
    its site would assign.
    """
    own_address = front_matter.get_text_field(
        fields, "canonical_url", "canonical", "permalink", "url"
    )
    own_address = own_address or page.canonical or page.meta.get("og:url", "")
    if re.match(r"https?://", own_address):
        return own_address
    if own_address.startswith("/") and ":" not in own_address and site.url:
        return site.url.rstrip("/") + own_address
    return build_post_address(fields, source_id=path, created_at=created_at, site=site)
