"""Parts of a post's HTML that are not its author's: embedded posts, cards, buttons and quotes.

Marks: https://oembed.com (each provider's HTML), https://developer.wordpress.org/block-editor/
(`wp-block-…`), https://ghost.org/docs/themes/content/#editor-cards (`kg-…`).
"""
# pyright: strict

from __future__ import annotations

import html
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from twin_assets.corpus.importers.html_head import parse_html

_FOREIGN_CLASSES = frozenset(
    # a post by another person, embedded in this one
    {"twitter-tweet", "twitter-video", "instagram-media", "tiktok-embed", "bluesky-embed"}
    | {"reddit-embed-bq", "reddit-card", "mastodon-embed", "fb-post", "wp-embedded-content"}
    | {"wp-block-embed", "kg-embed-card", "kg-bookmark-card", "quote-inline", "threads-embed"}
    # calls to action
    | {"wp-block-button", "wp-block-buttons", "sharedaddy", "jp-relatedposts", "kg-button-card"}
    | {"kg-signup-card", "kg-cta-card", "kg-product-card", "kg-file-card", "kg-header-card"}
    | {"wp-block-latest-posts", "wp-block-latest-comments", "wp-block-rss", "wp-block-file"}
    | {"kg-audio-card", "kg-video-card", "kg-gallery-card", "wp-block-jetpack-subscriptions"}
)
_FOREIGN_CLASS = re.compile("|".join(sorted(map(re.escape, _FOREIGN_CLASSES))))
_TAG = re.compile(r"<[^<>]*>")


def remove_foreign_parts(fragment: str) -> str:
    """Remove embedded posts, link cards and buttons; leave everything else unchanged."""
    if not _FOREIGN_CLASS.search(fragment):
        return fragment
    tree = parse_html(f"<div>{fragment}</div>")
    if tree is None:
        return fragment
    remove_elements(tree, lambda element: bool(_FOREIGN_CLASSES & set(element.classes)))
    return serialize_inner_html(tree)


def remove_elements(tree: Any, is_removed: Callable[[Any], bool]) -> None:
    """Remove the elements below a tree's root for which `is_removed` is true."""
    for element in list(tree.iter()):
        is_element = isinstance(element.tag, str) and element.getparent() is not None
        if is_element and is_removed(element):
            element.drop_tree()


def find_text(tree: Any, css_class: str) -> tuple[Any, str]:
    """Return the first element with a class and its text on one line, or None and ""."""
    element = next(iter(tree.find_class(css_class)), None)
    return element, "" if element is None else " ".join(str(element.text_content()).split())


def serialize_inner_html(tree: Any) -> str:
    """Return the current fragment in a tree from `parse_html(f"<div>{fragment}</div>")`."""
    lxml_html: Any = import_module("lxml.html")
    body = tree.find("body")
    root = body if body is not None else tree
    if len(root) == 1 and root[0].tag == "div" and not (root[0].tail or "").strip():
        root = root[0]
    parts = [html.escape(root.text or "", quote=False)]
    parts += [str(lxml_html.tostring(child, encoding="unicode")) for child in root]
    return "".join(parts)


def strip_tags(text: str) -> str:
    """Return text on one line, without tags and with decoded entities."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())
