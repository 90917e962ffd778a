"""Exports of blog platforms: WordPress, Ghost, Medium and Substack.

WordPress: WXR, an RSS feed with `wp:` elements
(https://developer.wordpress.org/reference/functions/export_wp/). Comments, which other people
wrote, are counted but not read. The parser neither expands entities nor accesses other files or the
network (https://lxml.de/FAQ.html#how-do-i-use-lxml-safely-as-a-web-service-endpoint).

Ghost: its database tables in JSON (https://docs.ghost.org/migration/custom): a list `db` with one
`{meta, data}`, or only that object. Ghost stores each post's HTML beside its editor's document.
Of the settings only the site's time zone is read; members, sessions and addresses never are.

Medium: `posts/<date>_<title>-<id>.html` and `posts/draft_<title>-<id>.html`
(https://help.medium.com/hc/en-us/articles/115004745787), each an `h-entry`
(https://microformats.org/wiki/h-entry). Claps, highlights, bookmarks, sessions and IP addresses are
in other folders, which are never read.

Substack: `posts.csv` and `posts/<id>.<slug>.html`
(https://support.substack.com/hc/en-us/articles/360037466012). `email_list.*.csv` and the lists of
deliveries and opens, which contain the readers' addresses, are never read. Widgets are recognized
by the editor's marks (`class`, `data-component-name`).
"""
# pyright: strict

from __future__ import annotations

import csv
import html
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import (
    find_text,
    remove_elements,
    serialize_inner_html,
    strip_tags,
)
from twin_assets.corpus.importers.front_matter import parse_local_datetime
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import ExportFiles, Importer, RejectedExport, add_text
from twin_assets.corpus.importers.json_rows import get_member, get_objects, get_string, get_time
from twin_assets.corpus.importers.post_dates import find_zone
from twin_assets.corpus.importers.post_head import UnreadablePostError, decode
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES
from twin_assets.corpus.importers.wordpress_text import convert_to_html

MERGED_ITEM = re.compile(r"</(item|entry)\s*>\s*<\1[\s>]")
"""Pattern of text that runs into the next item because a CDATA section lost its end."""

_WP = "{*}"  # each export version has a different namespace
_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"
# WordPress writes these bytes, but XML forbids them.
_CONTROL_BYTES = bytes({*range(32)} - {9, 10, 13})
_WORDPRESS_STATUSES = {"publish": "public", "private": "private", "trash": "trash"}


def read_wordpress(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield published posts; `include` may add `drafts` and `private` (with password-protected)."""
    head = archive.head(name).decode("utf-8", "replace")
    cdata = r"\s*(?:<!\[CDATA\[)?\s*"
    addresses = [
        re.search(rf"<{tag}>{cdata}https?://([^\s<\]]+)", head)
        for tag in ("wp:base_blog_url", "wp:base_site_url", "link")
    ]
    host = next((f"{address[1].rstrip('/')}/" for address in addresses if address), "")
    language = re.search(rf"<language>{cdata}([A-Za-z]{{2,3}}(?:-\w+)*)", head)
    names_by_login: dict[str, str] = {}
    for number, element in enumerate(iter_elements(archive, name, f"{_WP}author", "item")):
        if element.tag != "item":
            login = _read_text(element, f"{_WP}author_login")
            names_by_login[login] = _read_text(element, f"{_WP}author_display_name") or login
            continue
        post_id, kind = (_read_text(element, f"{_WP}{tag}") for tag in ("post_id", "post_type"))
        if not post_id or not kind or any(map(MERGED_ITEM.search, element.itertext())):
            yield SkippedItem(f"{name}#{number}", "malformed_row")
            continue
        for comment in element.iter(f"{_WP}comment"):
            comment_id = _read_text(comment, f"{_WP}comment_id")
            yield SkippedItem(f"{host}{post_id}#{comment_id}", "comment")
        item = _build_wordpress_item(element, f"{host}{post_id}", names_by_login, include)
        is_record = isinstance(item, ExportRecord)
        yield replace(item, language=language[1]) if language and is_record else item


def _build_wordpress_item(
    element: Any,
    source_id: str,
    names_by_login: Mapping[str, str],
    include: frozenset[str],
) -> ExportItem:
    kind = _read_text(element, f"{_WP}post_type")
    if kind != "post":
        return SkippedItem(source_id, "page" if kind == "page" else "not_a_post")
    status = _WORDPRESS_STATUSES.get(_read_text(element, f"{_WP}status"), "draft")
    if status == "public" and _read_text(element, f"{_WP}post_password"):
        status = "private"
    tags = [
        (str(tag.get("domain")), str(tag.get("nicename")), tag) for tag in element.iter("category")
    ]
    # A post with the format "quote" contains another person's words.
    is_quotation = any(tag[:2] == ("post_format", "post-format-quote") for tag in tags)
    if status == "trash" or is_quotation:
        return SkippedItem(source_id, "trash" if status == "trash" else "quote")
    login = _read_text(element, f"{_WP}creator")
    link = _read_text(element, "link") or _read_text(element, "guid")
    record = ExportRecord(
        source="wordpress",
        source_id=source_id,
        kind="draft" if status == "draft" else "post",
        title=strip_tags(_read_text(element, "title")),
        url="" if "?p=" in link else link,
        author=names_by_login.get(login, login),
        byline="dc:creator",
        markup="html",
        created_at=_read_first_time(element, f"{_WP}post_date_gmt", "pubDate", f"{_WP}post_date"),
        updated_at=_read_first_time(element, f"{_WP}post_modified_gmt", f"{_WP}post_modified"),
        local_time=_read_first_time(element, f"{_WP}post_date"),  # in the site's zone
        visibility="public" if status == "public" else "private",
        tags=tuple(
            strip_tags(tag.text or "")
            for domain, _, tag in tags
            if domain in {"post_tag", "tag", "category"}
        ),
    )
    return add_text(record, lambda: convert_to_html(_read_text(element, _CONTENT)), include)


def _read_text(element: Any, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _read_first_time(element: Any, *names: str) -> datetime | None:
    """Return the first time that is set; a time without a zone counts as UTC."""
    texts = (_read_text(element, name) for name in names)
    times = (parse_local_datetime(text) for text in texts if not text.startswith("0000"))
    return next(filter(None, times), None)


def iter_elements(archive: Archive, name: str, *tags: str) -> Iterator[Any]:
    """Yield the elements with these names in the order of their end tags, then clear each one.

    Raises:
        MemberError: as in `Archive.pieces`, or `torn` if the document is damaged or truncated.
    """
    etree: Any = import_module("lxml.etree")
    parser = etree.XMLPullParser(
        events=("end",), tag=tags, resolve_entities=False, no_network=True, load_dtd=False
    )

    def read_and_clear() -> Iterator[Any]:
        for _, element in parser.read_events():
            yield element
            element.clear(keep_tail=False)

    error: Exception | None = None
    try:
        for piece in archive.pieces(name):
            parser.feed(piece.translate(None, _CONTROL_BYTES))
            yield from read_and_clear()
        parser.close()
    except etree.XMLSyntaxError as syntax_error:
        error = syntax_error
    yield from read_and_clear()
    if error is not None:
        raise MemberError(name, "torn") from error


WORDPRESS = Importer(
    "wordpress",
    "WordPress export (WXR)",
    ExportFiles(
        r"[^/]+\.(?:xml|wxr)",
        # One mark is enough; a damaged export that was read as a feed would show drafts as posts.
        rb"\A(?=.{0,200}<).*?(?:xmlns:wp=|wordpress\.org/export/|<wp:wxr_version>"
        rb"|WordPress eXtended RSS|<wp:post_type>)",
        is_every_name_read=False,
    ).find,
    read_wordpress,
    (RejectedExport(content=r"\A.{0,4000}xmlns:wp=\"https?://wordpress\.org/export/"),),
)

_GHOST_VISIBILITIES = {"public": "public", "": "public", "members": "followers", "paid": "paid"}
_GHOST_BODIES = (("html", "html"), ("markdown", "markdown"), ("plaintext", "text"))
"""The columns of a body, the best first: `markdown` is from Ghost before 1.0."""
_GATED_START = re.compile(r"<!--\s*kg-gated-block:begin\b([^>]*)-->")
_GATED_END = "<!--kg-gated-block:end-->"
_MEMBERS_ONLY = re.compile(r"<!--\s*members-only\s*-->")


def read_ghost(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield published posts; `include` may add `drafts`, `followers` (members) and `paid`."""
    document = json_rows.load_document(archive, name)
    tables = get_member(next(iter(get_objects(document, "db")), document), "data")
    authors = _read_names(tables, "users", "posts_authors", "author_id")
    tags = _read_names(tables, "tags", "posts_tags", "tag_id")
    zones = [
        find_zone(get_string(row, "value"))
        for row in get_objects(tables, "settings")
        if get_string(row, "key") in {"timezone", "active_timezone", "activeTimezone"}
    ]
    zone = next(filter(None, zones), None)
    return json_rows.map_rows(
        name,
        get_member(tables, "posts"),
        lambda row, location: _build_ghost_item(row, location, authors, tags, zone, include),
    )


def _read_names(tables: object, table: str, join_table: str, key: str) -> Mapping[str, list[str]]:
    """Return the names in a table by post (from `join_table`), and all of them under `*`."""
    names = {get_string(row, "id"): get_string(row, "name") for row in get_objects(tables, table)}
    names_by_post: dict[str, list[str]] = defaultdict(list)
    names_by_post["*"] = [name for name in names.values() if name]
    for row in get_objects(tables, join_table):
        if name := names.get(get_string(row, key)):
            names_by_post[get_string(row, "post_id")].append(name)
    return dict(names_by_post)


def _build_ghost_item(
    row: dict[str, Any],
    location: str,
    authors: Mapping[str, list[str]],
    tags: Mapping[str, list[str]],
    zone: ZoneInfo | None,
    include: frozenset[str],
) -> ExportItem:
    post_id = get_string(row, "id")
    source_id = get_string(row, "uuid") or post_id
    if not source_id or "title" not in row:
        return SkippedItem(source_id or location, json_rows.MALFORMED)
    if get_string(row, "type") == "page" or get_member(row, "page") in (1, True):
        return SkippedItem(source_id, "page")
    status = get_string(row, "status")
    is_draft = status not in {"published", "sent"}
    # Other values of `visibility` are tiers or filters.
    visibility = _GHOST_VISIBILITIES.get(get_string(row, "visibility"), "paid")
    if status == "sent" and visibility == "public":
        visibility = "followers"  # sent by mail but not published on a page
    if visibility not in {"public", *include} and not (is_draft and "drafts" not in include):
        return SkippedItem(source_id, visibility)  # a draft for members needs both opt-ins
    bodies = [(get_string(row, name), markup) for name, markup in _GHOST_BODIES]
    text, markup = next((body for body in bodies if body[0]), ("", "text"))
    signers = authors.get(post_id, [])
    names = signers or (authors["*"] if len(authors["*"]) == 1 else [])
    record = ExportRecord(
        source="ghost",
        source_id=source_id,
        kind="draft" if is_draft else "post",
        title=strip_tags(get_string(row, "title")),
        url=get_string(row, "canonical_url"),
        author=", ".join(dict.fromkeys(names)),
        byline="posts_authors" if signers else "users",
        markup=markup,
        language=get_string(row, "locale"),
        created_at=get_time(row, "published_at", zone=zone)
        or get_time(row, "created_at", zone=zone),
        updated_at=get_time(row, "updated_at"),
        visibility=visibility,
        # Names that begin with `#` are internal tags.
        tags=tuple(tag for tag in tags.get(post_id, ()) if tag[0] != "#"),
    )
    return add_text(record, lambda: remove_gated_parts(text) if markup == "html" else text, include)


def remove_gated_parts(page: str) -> str:
    """Return a page's HTML as shown without an account: no gated blocks or text below the paywall.

    Ghost's renderer marks both with comments.
    """
    paywall = _MEMBERS_ONLY.search(page)
    page = page[: paywall.start()] if paywall else page
    parts: list[str] = []
    position = 0
    for gated_start in _GATED_START.finditer(page):
        if gated_start.start() < position or "nonMember:true" in gated_start[1]:
            continue
        parts.append(page[position : gated_start.start()])
        end = page.find(_GATED_END, gated_start.end())
        position = len(page) if end < 0 else end + len(_GATED_END)
    return "".join([*parts, page[position:]])


GHOST = Importer(
    "ghost",
    "Ghost export",
    ExportFiles(
        r"[^/]+\.json",
        rb'\A(?=.*?(?:"exported_on"\s*:\s*"?\d|"data"\s*:\s*\{))\W*\{\s*"'
        rb'(?:db"\s*:\s*\[\s*\{\s*"(?:meta|data)|meta"\s*:\s*\{|data"\s*:\s*\{\s*"posts")',
        is_every_name_read=False,
    ).find,
    read_ghost,
    (
        RejectedExport(
            ((r".*\.ghost\.\d{4}-.*\.json",),),
            r"\A\s*\{\s*\"(?:db\"\s*:\s*\[\s*\{\s*\"meta|meta\"\s*:\s*\{\s*\"exported_on)",
        ),
    ),
)

_MEDIUM_IDENTIFIER = re.compile(r"-([0-9a-f]{8,14})(?:\.html)?$")
_MEDIUM_CARDS = frozenset(
    # the repeated title, and cards and frames that show other people's pages
    {"graf--title", "graf--mixtapeEmbed", "graf--iframe", "section-divider", "js-mixtapeImage"}
)
_MAX_RESPONSE_WORDS = 300
"""Maximum number of words in a response; responses have neither a title nor a subtitle."""


def read_medium(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield the item of one page."""
    page = decode(archive.read(name, max_bytes=MAX_POST_BYTES), markup="html")
    yield _build_story(page, name, include)


def _build_story(page: str, name: str, include: frozenset[str]) -> ExportItem:
    tree = parse_html(page)
    if tree is None or (body := find_text(tree, "e-content")[0]) is None:
        return SkippedItem(name, "not_a_post")
    title, author = find_text(tree, "p-name")[1], find_text(tree, "p-author")[1]
    date, link = find_text(tree, "dt-published")[0], find_text(tree, "p-canonical")[0]
    url = "" if link is None else str(link.get("href") or "")
    file_name = name.rsplit("/", 1)[-1]
    is_draft = date is None or file_name.startswith("draft_")
    is_response = not is_draft and _is_response(tree, body, title)
    identifier = _MEDIUM_IDENTIFIER.search(file_name) or _MEDIUM_IDENTIFIER.search(url)
    record = ExportRecord(
        source="medium",
        source_id=identifier[1] if identifier else file_name.removesuffix(".html"),
        url=url,
        author=author,
        byline="p-author",
        kind="draft" if is_draft else "reply" if is_response else "article",
        title="" if is_response else title,
        markup="html",
        created_at=None if date is None else parse_local_datetime(str(date.get("datetime") or "")),
    )

    def read_own_html() -> str:
        remove_elements(body, lambda element: bool(_MEDIUM_CARDS & set(element.classes)))
        return serialize_inner_html(body)

    return add_text(record, read_own_html, include)


def _is_response(tree: Any, body: Any, title: str) -> bool:
    """Return whether a page is a comment on a story: short, without a title or subtitle."""
    if find_text(tree, "p-summary")[0] is not None or any(body.iter("h1", "h2", "h3", "h4")):
        return False
    text = " ".join(str(body.text_content()).split())
    is_excerpt = text.startswith(title.rstrip("…. ")[:40])
    has_title = bool(body.find_class("graf--title"))
    return is_excerpt and not has_title and len(text.split()) <= _MAX_RESPONSE_WORDS


MEDIUM = Importer(
    "medium",
    "Medium export",
    ExportFiles(
        r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{8,14}\.html|posts/[^/]*\.html",
        rb"\A(?=.*class=\"h-entry\")(?=.*class=\"p-name\")(?=.*data-field=\"body\")",
        max_heads=5,
    ).find,
    read_medium,
    (
        RejectedExport(
            (
                (r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{10,12}\.html",),
                (r"posts/.*-[0-9a-f]{10,12}\.html", r"profile/profile\.html"),
                (r"claps/claps-\d+\.html",),
            ),
            r"Exported from <a href=\"https://medium\.com|class=\"[^\"]*graf graf--p[ \"]",
        ),
    ),
)

_MAX_LIST_BYTES = 64 << 20
_SUBSTACK_AUDIENCES = {
    "everyone": "public",
    "only_free": "followers",
    "only_paid": "paid",
    "founding": "paid",
}
_WIDGETS = frozenset(
    {"button-wrapper", "captioned-button-wrap", "subscription-widget-wrap", "subscribe-widget"}
    | {"subscription-widget-wrap-editor", "subscription-widget", "install-substack-app-embed"}
    | {"community-chat", "directMessage", "poll-embed", "sponsorship-campaign-embed", "hide-text"}
    | {"embedded-post-wrap", "embedded-publication-wrap", "digest-post-embed", "comment"}
    | {"tweet", "twitter-embed", "instagram", "instagram-embed-wrap", "tiktok-wrap"}
    | {"image-link-expand"}
    | {"youtube-wrap", "vimeo-wrap", "spotify-wrap", "soundcloud-wrap", "bandcamp-wrap"}
    | {"apple-podcast-container", "github-gist", "native-audio-embed", "native-video-embed"}
    | {"file-embed-wrapper", "datawrapper-wrap", "prediction-market-wrap", "cashtag-wrap"}
)
# Components of the editor that contain the author's own text.
_OWN_COMPONENTS = frozenset(
    {"Image2ToDOM", "FootnoteToDOM", "FootnoteAnchorToDOM", "LatexBlockToDOM", "PullquoteToDOM"}
    | {"PreformattedTextBlockToDOM", "CalloutToDOM", "MentionToDOM", "MentionUser", "PaywallToDOM"}
)


def read_substack(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield an item for each row of `posts.csv`.

    If damage removed a closing quotation mark, all later rows become one row with wrong columns.
    """
    pages = _list_substack_pages(archive)
    # Each invalid byte is replaced, which damages at most a title.
    text = archive.read(name, max_bytes=_MAX_LIST_BYTES).decode("utf-8-sig", "replace")
    rows = csv.DictReader(io.StringIO(text.replace("\0", ""), newline=""))
    try:
        for row in rows:
            identifier = (row.get("post_id") or "").partition(".")[0]
            # `None` is the column of surplus cells, and the value of missing ones.
            if not identifier.isdigit() or None in row or None in row.values():
                yield SkippedItem(f"{name}:{rows.line_num}", "malformed_row")
                continue
            try:
                page = pages.get(identifier, "")
                yield _build_substack_item(row, identifier, archive, page, include)
            except (MemberError, UnreadablePostError) as error:
                yield SkippedItem(identifier, error.reason)
    except csv.Error:
        yield SkippedItem(f"{name}:{rows.line_num}", "malformed_row")


def _list_substack_pages(archive: Archive) -> dict[str, str]:
    """Return the names of the posts' pages by identifier."""
    pattern = re.compile(r"(?:.*/)?posts/(\d+)(?:\.[^/]*)?\.html", re.IGNORECASE)
    return {match[1]: name for name in archive.names() if (match := pattern.fullmatch(name))}


def _skip_unlisted_pages(
    archive: Archive, items: Iterator[ExportItem], _include: frozenset[str]
) -> Iterator[ExportItem]:
    """Yield the items, and each page that no list names, so that nothing says it was published."""
    listed_ids: set[str] = set()
    for item in items:
        listed_ids.add(item.source_id if isinstance(item, ExportRecord) else item.location)
        yield item
    for identifier, page in _list_substack_pages(archive).items():
        if identifier not in listed_ids:
            yield SkippedItem(page, "not_in_posts_csv")


def _build_substack_item(
    row: Mapping[str, str], identifier: str, archive: Archive, page: str, include: frozenset[str]
) -> ExportItem:
    is_draft = row.get("is_published", "").strip().lower() != "true"
    # Without the column, there is no evidence that the post was for everyone.
    audience = (row.get("audience", "?") or "everyone").strip().lower()
    record = ExportRecord(
        source="substack",
        source_id=identifier,
        kind="draft" if is_draft else "post" if row.get("type") == "thread" else "article",
        title=row.get("title", ""),
        markup="html",
        created_at=parse_local_datetime(row.get("post_date", "")),
        visibility=_SUBSTACK_AUDIENCES.get(audience, "private"),
    )

    def read_own_html() -> str:
        if not page:
            return ""
        body = decode(archive.read(page, max_bytes=MAX_POST_BYTES), markup="html")
        own_html = _extract_own_html(body, include_paid="paid" in include)
        subtitle = html.escape(" ".join(row.get("subtitle", "").split()), quote=False)
        return f"<p>{subtitle}</p>\n{own_html}" if subtitle and own_html else own_html

    return add_text(record, read_own_html, include)


def _extract_own_html(page: str, *, include_paid: bool) -> str:
    """Return the fragment without widgets, embeds and, by default, paywalled parts."""
    tree = parse_html(f"<div>{page}</div>")
    if tree is None:
        return ""
    paywall = next((wall for wall in tree.find_class("paywall-jump") if wall.tag == "div"), None)
    element = None if include_paid else paywall
    while element is not None and element.getparent() is not None:
        element.tail = None
        for sibling in list(element.itersiblings()):
            sibling.getparent().remove(sibling)
        element = element.getparent()

    def is_removed(element: Any) -> bool:
        component = str(element.get("data-component-name") or "")
        is_embedded = component.endswith("ToDOM") and component not in _OWN_COMPONENTS
        # A block with `data-dynamic-audiences` is shown to these readers alone.
        audiences = str(element.get("data-dynamic-audiences") or "").replace(" ", "").split(",")
        is_paid = all(audience.startswith(("paid", "founding")) for audience in audiences)
        is_widget = bool(_WIDGETS & set(element.classes))
        return is_embedded or is_widget or element is paywall or (is_paid and not include_paid)

    remove_elements(tree, is_removed)
    return serialize_inner_html(tree) if str(tree.text_content()).strip() else ""


SUBSTACK = Importer(
    "substack",
    "Substack export",
    ExportFiles(r"posts\.csv", rb"\A\W*post_id\W+post_date\W+is_published").find,
    read_substack,
    (
        RejectedExport(
            (
                (r"posts\.csv", r"posts/.*\.html"),
                (r"email_list\..*\.csv",),
                (r"posts/\d+\..*\.delivers\.csv",),
            ),
            r"\A\W*post_id,post_date,is_published",
        ),
    ),
    finish=_skip_unlisted_pages,
)
