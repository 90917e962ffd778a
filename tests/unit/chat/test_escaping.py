"""Test that untrusted text is shown as text, in HTML and in Markdown outside code."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from twin_resources.page.escaping import escape_html, escape_markdown, http_url_or_empty


def test_html_is_escaped_for_attributes_as_well() -> None:
    assert escape_html("<img src='x' onerror=\"y\">") == (
        "&lt;img src=&#x27;x&#x27; onerror=&quot;y&quot;&gt;"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Write to <author>.",
        "<img src=x onerror=alert(1)>",
        "a &lt; b & c",
        "A lone ` and <author>\n\nand another ` there",
        "``` <author>",
        "`<author>` and <author>",
        "``a ` b <x>`` <y>",
        "```c\n#include <stdio.h>\n```\n<author>",
        "~~~\n<b>\n~~~\n<author>",
        "```\nnever closed <author>",
        r"\`<author>\` and <author>",
    ],
)
def test_markdown_shows_tags_as_text(text: str) -> None:
    """A Markdown renderer that allows HTML shows the text and renders no tag."""
    html = MarkdownIt("commonmark", {"html": True}).render(escape_markdown(text))
    visible = html.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    for tag in ("<author>", "<img", "<x>", "<y>", "<b>", "<stdio.h>", "&lt;", "&"):
        assert visible.count(tag) >= text.count(tag), html
    for tag in ("<author", "<img", "<x>", "<y>", "<b>", "<stdio"):
        assert tag not in html


def test_text_escaped_by_the_gateway_stays_escaped() -> None:
    """Titles of quotations come with backslashes (`quotes/answer_text.py`)."""
    html = MarkdownIt("commonmark", {"html": True}).render(
        escape_markdown(r"— \<author\> \& \\<b>")
    )
    assert "— &lt;author&gt; &amp; \\&lt;b&gt;" in html


def test_code_is_not_escaped() -> None:
    assert "`a<b && c`" in escape_markdown("`a<b && c` <d>")
    assert escape_markdown("```c\n#include <stdio.h>\n```").count("<stdio.h>") == 1


@pytest.mark.parametrize(
    ("url", "is_link"),
    [
        ("https://x.example/a", True),
        ("http://x.example", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("", False),
    ],
)
def test_only_http_and_https_urls_are_links(url: str, is_link: bool) -> None:
    assert bool(http_url_or_empty(url)) == is_link
