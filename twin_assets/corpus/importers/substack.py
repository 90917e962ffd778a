"""Import Substack's export: `posts.csv` and `posts/<id>.<slug>.html`.

Scope: which posts are public, and which parts of a page are not the author's text.
Out of scope: converting HTML to Markdown (`html_cleaning`). `email_list.*.csv` and the lists of
deliveries and opens, which contain the readers' addresses, are never read.

Format: https://support.substack.com/hc/en-us/articles/360037466012; widgets are recognized by the
editor's marks (`class`, `data-component-name`).
"""
# pyright: strict

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, serialize_inner_html
from twin_assets.corpus.importers.front_matter import parse_datetime
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.members import Archive, MemberError
from twin_assets.corpus.importers.post_head import UnreadablePostError, decode
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

NAME = "substack"

_POST_LIST = r"posts\.csv"
_LIST_HEAD = re.compile(rb"\A\W*post_id\W+post_date\W+is_published", re.IGNORECASE)
_MAX_LIST_BYTES = 64 << 20
_PAGE = re.compile(r"(?:.*/)?posts/((\d+)(?:\.[^/]*)?)\.html", re.IGNORECASE)
_VISIBILITY = {
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


def recognizes(archive: Archive) -> bool:
    """Return whether there is a `posts.csv` with Substack's columns."""
    return any(_LIST_HEAD.search(archive.head(name)) for name in archive.candidates(_POST_LIST))


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield a record or a skipped item for each row of `posts.csv` and each unlisted page."""
    pages = {match[2]: name for name in archive.names() if (match := _PAGE.fullmatch(name))}
    listed_ids: set[str] = set()

    def read_list(name: str) -> Iterator[ExportItem]:
        body = archive.read(name, max_bytes=_MAX_LIST_BYTES)
        # Each invalid byte is replaced, which damages at most a title.
        text = body.decode("utf-8-sig", "replace").replace("\0", "")
        for number, row in _read_rows(text):
            identifier = (row.get("post_id") or "").partition(".")[0] if row else ""
            if row is None or not identifier.isdigit():
                yield SkippedItem(f"{name}:{number}", "malformed_row")
                continue
            listed_ids.add(identifier)
            yield _build_post_record(
                row, identifier, archive, pages.get(identifier, ""), include=include
            )

    yield from read_files(archive.candidates(_POST_LIST), read_list)
    for identifier in sorted(pages.keys() - listed_ids):
        yield SkippedItem(pages[identifier], "not_in_posts_csv")  # no evidence of publication


def _read_rows(text: str) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    """Yield the line number and the row, or None for a row without the header's columns.

    If damage removed a closing quotation mark, all later rows become one such row.
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        columns = [name.strip() for name in next(rows, list[str]())]
        for row in filter(None, rows):
            is_complete = len(row) == len(columns)
            yield rows.line_num, dict(zip(columns, row, strict=True)) if is_complete else None
    except csv.Error:
        yield rows.line_num, None


def _build_post_record(
    row: Mapping[str, str], identifier: str, archive: Archive, page: str, *, include: frozenset[str]
) -> ExportItem:
    is_draft = (row.get("is_published") or "").strip().lower() != "true"
    # Without the column, there is no evidence that the post was for everyone.
    audience = (row.get("audience", "?") or "everyone").strip().lower()
    visibility = _VISIBILITY.get(audience, "private")
    if is_draft and "drafts" not in include:
        return SkippedItem(identifier, "draft")
    if not is_draft and visibility != "public" and visibility not in include:
        return SkippedItem(identifier, visibility)
    if not page:
        return SkippedItem(identifier, "no_text")
    try:
        text = decode(archive.read(page, max_bytes=MAX_POST_BYTES), markup="html")
    except (MemberError, UnreadablePostError) as error:
        return SkippedItem(identifier, error.reason)
    own_html = _extract_own_html(text, include_paid="paid" in include)
    if not own_html:
        return SkippedItem(identifier, "no_text")
    subtitle = " ".join((row.get("subtitle") or "").split())
    return ExportRecord(
        source=NAME,
        source_id=identifier,
        kind="draft" if is_draft else "post" if row.get("type") == "thread" else "article",
        title=" ".join((row.get("title") or "").split()),
        text=f"<p>{html.escape(subtitle, quote=False)}</p>\n{own_html}" if subtitle else own_html,
        markup="html",
        created_at=parse_datetime(row.get("post_date") or ""),
        visibility="private" if is_draft else visibility,
    )


def _extract_own_html(page: str, *, include_paid: bool) -> str:
    """Return the fragment without widgets, embeds and, by default, paywalled parts."""
    tree = parse_html(f"<div>{page}</div>")
    if tree is None:
        return ""
    paywall = next(
        (element for element in tree.find_class("paywall-jump") if element.tag == "div"), None
    )
    if paywall is not None and not include_paid:
        _remove_following_elements(paywall)
    for element in list(tree.iter()):
        if not isinstance(element.tag, str) or element.getparent() is None:
            continue
        component = str(element.get("data-component-name") or "")
        is_embedded = component.endswith("ToDOM") and component not in _OWN_COMPONENTS
        if (
            is_embedded
            or set(element.classes) & _WIDGETS
            or (not include_paid and _is_paid_only(element))
        ):
            element.drop_tree()
    if paywall is not None and paywall.getparent() is not None:
        paywall.drop_tree()
    if not str(tree.text_content()).strip():
        return ""
    return remove_foreign_parts(serialize_inner_html(tree))


def _remove_following_elements(element: Any) -> None:
    while element is not None and element.getparent() is not None:
        element.tail = None
        for sibling in list(element.itersiblings()):
            sibling.getparent().remove(sibling)
        element = element.getparent()


def _is_paid_only(element: Any) -> bool:
    """Return whether only paying readers see a block (`data-dynamic-audiences`)."""
    audiences = str(element.get("data-dynamic-audiences") or "").replace(" ", "").split(",")
    return all(audience.startswith(("paid", "founding")) for audience in audiences)


_EXPORT_FILES = (
    (_POST_LIST, r"posts/.*\.html"),
    (r"email_list\..*\.csv",),
    (r"posts/\d+\..*\.delivers\.csv",),
)
_PARTIAL_EXPORT = RejectedExport(_EXPORT_FILES, r"\A\W*post_id,post_date,is_published")
IMPORTER = Importer(NAME, "Substack export", recognizes, read, (_PARTIAL_EXPORT,))
