"""Read the title, date, byline, tags and body of one post file, or reject it with a reason.

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
from itertools import islice
from typing import Any

from twin_assets.corpus.code_blocks import iter_prose_lines
from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.byline_fields import read_byline
from twin_assets.corpus.importers.document_fields import CREATOR_FIELD, FormatError
from twin_assets.corpus.importers.generators import Site, inherit_fields
from twin_assets.corpus.importers.html_head import HtmlHead, read_head
from twin_assets.corpus.importers.post_address import build_post_address
from twin_assets.corpus.importers.post_dates import (
    CREATED_FIELDS,
    FILE_CREATED_FIELD,
    UPDATED_FIELDS,
    PostDate,
    find_address_day,
    find_field_date,
    parse_date,
    split_date_and_title,
)
from twin_assets.corpus.importers.post_head import PostHead, UnreadablePostError, read_post_head
from twin_assets.corpus.importers.source_words import (
    SourceWords,
    read_asciidoc_words,
    read_org_words,
)
from twin_assets.corpus.importers.suffixes import PANDOC_FORMATS
from twin_assets.corpus.importers.template_tags import (
    is_template,
    remove_obsidian_comments,
    remove_template_tags,
)
from twin_assets.corpus.importers.text_encoding import UTF_8
from twin_assets.corpus.importers.text_formats import convert_to_markdown
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason

NOT_YET_PUBLISHED = "not_yet_published"
"""The only reason that can cease to apply without an edit; the post is read again each day."""

_PUBLISH_DATE_FIELDS = ("publishdate", "embargo", "embargountil", "publishafter", "visiblefrom")
_EXPIRY_DATE_FIELDS = ("expirydate", "expires", "expireson", "unpublishdate", "unpublish")
_ATX_HEADING = re.compile(r"^ {0,3}#[ \t]+(.+?)[ \t]*#*[ \t]*$")
_DATELINE_LINES = 3
# Without its semicolon, an entity may be part of an address (`?a=1&copy=2`).
_CODE_OR_ENTITY = r"(?P<code>`[^`]*`)|(?P<entity>&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]\w{1,31});)"
_TITLE_HTML = re.compile(
    rf"{_CODE_OR_ENTITY}|\s*<br\s*/?>\s*"
    r"|<(?P<tag>i|em|b|strong|code|span|su[bp]|small|tt|u|q|cite)"
    r"(?: [^<>]*)?>(?P<words>[^<>]*)</(?P=tag)>",
    re.IGNORECASE,
)
_HEADING_HTML = re.compile(rf"{_CODE_OR_ENTITY}|<[^>]+>", re.IGNORECASE)
_DATELINE = re.compile(
    r"(?:(?:published|posted|written|date)(?: on)?:? )?(?=.*\d{4})([^\n#]{8,40})", re.IGNORECASE
)
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_HIDDEN_FOLDERS: Mapping[str, str] = {
    **dict.fromkeys(("_drafts", "drafts", "draft", "unpublished"), "draft"),
    **dict.fromkeys(("private", "_private"), "private"),
}
"""Reasons for withholding posts, by the name of their folder."""

_WORD_READERS: Mapping[str, Callable[[str], SourceWords]] = {
    "org": read_org_words,
    "asciidoc": read_asciidoc_words,
}
_RESTRICTED_VISIBILITIES = frozenset({"", "draft", "private", "followers", "paid"})


@dataclass(frozen=True)
class Post:
    """The fields of a `raw_posts` row that come from the file itself (`corpus_tables.RawPosts`).

    Attributes:
        head: the file's head, from which the other fields derive.
        local_time: `created_at` as the site shows it, without a zone: in the site's zone, or in the
            date's own; a post is cited by this day.
        visibility: `public`, or why the blog's readers do not see the post (`private`, `followers`,
            `paid`); a draft is private.
        encoding: the file's original encoding; "" for UTF-8.
        remark: what is unsure about the date: `ambiguous_date`, or for lack of another date
            `dated_by_git`, `came_in_one_piece` or `no_date_from_git: …`; or "".
    """

    head: PostHead = field(repr=False)
    title: str
    text: str
    markup: str
    kind: str
    url: str
    author: str
    created_at: datetime | None
    local_time: datetime | None
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
    added_at: Callable[[], tuple[datetime | None, str]] = lambda: (None, ""),
) -> Post:
    """Read one post.

    Args:
        body: the file's bytes.
        source_id: path in the source folder, with `/`; the name may contain a date and a title.
        site: the folder's configuration.
        now: the time by which a site's post must have been published; None means the current time.
        added_at: function that returns when the file was added to its repository, and a remark on
            that date; called only if the post has no other date.

    Raises:
        UnreadablePostError: as in `read_post_head`, or with the reason `broken_front_matter` (in
            its folder), `empty` (front matter or layout only), `template`, `not_its_format`,
            `words_changed` (Org and AsciiDoc, `source_words`) or `not_prose` (a .txt). Further
            reasons are `not_yet_published`, `expired`, and those of `visibility_rules` other than
            `draft`, `private`, `followers` and `paid`.
    """
    site, now = site or Site(), now or datetime.now(UTC)
    path = site.get_site_path(source_id)
    head = read_post_head(body, source_id=source_id)
    if not site.tags and not head.suffix and is_template(head.text, markup=head.markup):
        raise UnreadablePostError("template")
    try:
        fields = inherit_fields(head.fields, path, site)
    except ValueError as error:
        raise UnreadablePostError("broken_front_matter") from error
    folders = source_id.lower().split("/")[:-1]
    hidden_reason = head.find_hidden_reason(fields) or next(
        (_HIDDEN_FOLDERS[name] for name in folders if name in _HIDDEN_FOLDERS), ""
    )
    if hidden_reason not in _RESTRICTED_VISIBILITIES:
        raise UnreadablePostError(hidden_reason)
    content, fields = _read_content(head, fields, site=site, is_hidden=bool(hidden_reason))
    # The title may have contained template tags.
    is_changed_page = head.markup == "html" and content != head.body
    page = read_head(content) if is_changed_page else head.page
    language = front_matter.get_text_field(fields, "lang", "language", "locale") or page.language
    language = language or site.find_language(source_id.removeprefix(site.within))
    name_date, name_title = split_date_and_title(site.remove_language(path))

    def find_date(
        names: tuple[str, ...], *other_values: object, languages: Callable[[], str]
    ) -> PostDate | None:
        date = find_field_date(fields, names, zone=site.zone, language=languages)
        others = (
            parse_date(value, zone=site.zone, language=languages) for value in other_values if value
        )
        return date or next(filter(None, others), None)

    def detect_language() -> str:
        from twin_assets.corpus.language import UNDETERMINED, detect_language

        detected = language or detect_language(content)
        return "" if detected == UNDETERMINED else detected

    # Zola's and Hugo's names for the end of the address.
    paths = [front_matter.get_text_field(fields, name) for name in ("path", "slug")]
    created_date = find_date(
        CREATED_FIELDS,
        page.meta.get("article:published_time"),
        page.meta.get("date"),
        page.published,
        # A generator dates a post by its name, whatever its text says; a note has only its author.
        *([] if site.generator or head.markup == "html" else _list_datelines(content)),
        name_date,
        *map(find_address_day, [*_list_addresses(fields, page), *paths]),
        fields.get(FILE_CREATED_FIELD),
        languages=detect_language,
    )
    updated_date = find_date(
        UPDATED_FIELDS, page.meta.get("article:modified_time"), languages=detect_language
    )
    publish_date = find_date(_PUBLISH_DATE_FIELDS, languages=lambda: site.language) or created_date
    expiry_date = find_date(_EXPIRY_DATE_FIELDS, languages=lambda: site.language)
    if not hidden_reason:
        if expiry_date and expiry_date.utc_time <= now and not site.shows_expired:
            raise UnreadablePostError("expired")
        if publish_date and publish_date.utc_time > now and not site.shows_future:
            raise UnreadablePostError(NOT_YET_PUBLISHED)
    if created_date is not None:
        written_at = created_date.time
        remark = "ambiguous_date" if created_date.is_ambiguous else ""
    else:
        written_at, remark = added_at()
    created_at = written_at.astimezone(UTC) if written_at else None
    local_time = written_at.astimezone(site.zone) if written_at and site.zone else written_at
    named_author = read_byline(fields) or front_matter.get_text_field(fields, CREATOR_FIELD)
    meta_author = read_byline(page.meta)
    return Post(
        head=head,
        title=_strip_title_html(front_matter.get_text_field(fields, "title"))
        or (page.title if head.markup == "html" else "")
        or (_strip_heading_markup(find_first_heading(content)) if head.markup == "markdown" else "")
        or name_title,
        text=content,
        markup=head.markup,
        kind="draft" if hidden_reason == "draft" else "post" if created_at else "note",
        url=_find_address(fields, page, path, created_at, site),
        author=named_author or meta_author,
        created_at=created_at,
        local_time=local_time.replace(tzinfo=None) if local_time else None,
        updated_at=updated_date.utc_time if updated_date else None,
        tags=front_matter.get_list_field(fields, "tags", "categories", "category", "keywords"),
        byline="front matter" if named_author else "meta author" if meta_author else "",
        language=language,
        licence=front_matter.get_text_field(fields, "license", "licence", "rights"),
        encoding="" if head.encoding == UTF_8 else head.encoding,
        visibility="private" if hidden_reason == "draft" else hidden_reason or "public",
        remark=remark,
    )


def _read_content(
    head: PostHead, fields: dict[str, Any], *, site: Site, is_hidden: bool
) -> tuple[str, dict[str, Any]]:
    """Return the body without the generator's layout, and the fields, including a converter's."""
    content, converter_fields = head.body, dict[str, Any]()
    if head.suffix and head.suffix != "txt":
        try:
            content, converter_fields = convert_to_markdown(head)
        except FormatError as error:
            raise UnreadablePostError("not_its_format") from error
        read_words = _WORD_READERS.get(PANDOC_FORMATS.get(head.suffix, ""))
        if read_words and read_words(head.body).is_changed(content):
            raise UnreadablePostError("words_changed")
        if (reason := find_hidden_reason(converter_fields)) and not is_hidden:
            raise UnreadablePostError(reason)  # only the converter finds these fields
    if site.tags and fields.get("render_with_liquid") is not False:
        content = remove_template_tags(content, site.tags, markup=head.markup)
    elif not site.tags and head.markup == "markdown":
        content = remove_obsidian_comments(content)
    if not content.strip():
        raise UnreadablePostError("empty")
    if head.markup == "text" and not _is_prose(content):
        raise UnreadablePostError("not_prose")
    return content, {**converter_fields, **fields}


def _find_address(
    fields: dict[str, Any], page: HtmlHead, path: str, created_at: datetime | None, site: Site
) -> str:
    """Return the address in a post's fields, or else the one that its site would give it."""
    url = next(filter(None, _list_addresses(fields, page)), "")
    if re.match(r"https?://", url):
        return url
    if url.startswith("/") and not re.search("[:{]", url) and site.url:
        return site.url.rstrip("/") + url
    return build_post_address(fields, source_id=path, created_at=created_at, site=site)


def _list_addresses(fields: Mapping[str, Any], page: HtmlHead) -> list[str]:
    """Return the addresses that a post names as its own, whole or without its site."""
    names = ("canonical_url", "canonical", "permalink", "url")
    named = [front_matter.get_text_field(fields, name) for name in names]
    return [*named, page.canonical, page.meta.get("og:url", "")]


def _strip_title_html(title: str) -> str:
    """Return a title without HTML that sets its type; what is in backticks is what it is about."""
    return _TITLE_HTML.sub(
        lambda match: match["code"] or html.unescape(match["words"] or match["entity"] or " "),
        title,
    ).strip()


def _list_datelines(text: str) -> list[str]:
    """Return the short lines at the top of a text that may be nothing but its date."""
    lines = (line.strip(" \t*_>") for _, line in iter_prose_lines(text) if line.strip())
    dates = (_DATELINE.fullmatch(line) for line in islice(lines, _DATELINE_LINES))
    return [date[1] for date in dates if date]


def _is_prose(text: str) -> bool:
    """Return whether a text is prose, unlike lists, logs and tables of numbers.

    At least half of its words are in lines of four or more words, or it is in a script without
    spaces.
    """
    lines = [line.split() for line in text.splitlines()]
    prose_word_count = 0
    for line in lines:
        word_count = sum(word.strip(".,;:!?()\"'»«„“”").isalpha() for word in line)
        prose_word_count += len(line) if len(line) >= 4 and word_count * 2 >= len(line) else 0
    is_ideographic = len(_IDEOGRAPH.findall(text)) * 2 >= len("".join(text.split()))
    return prose_word_count * 2 >= sum(map(len, lines)) or is_ideographic


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
    without_html = _HEADING_HTML.sub(
        lambda match: match["code"] or html.unescape(match["entity"] or ""), inline
    )
    return " ".join(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", without_html).split())
