"""Test that untrusted text is shown as text, in HTML and in Markdown outside code."""

from __future__ import annotations

import re

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


# The Markdown of an answer, and the code and text that a reader sees.
CODE: dict[str, tuple[str, str]] = {
    "a span": ("`a<b && c*d*`", "<code>a&lt;b &amp;&amp; c*d*</code>"),
    "a span without signs": ("`a_b_c`", "<code>a_b_c</code>"),
    "a fence": ("```c\n#include <stdio.h>\n```", '<code class="language-c">#include &lt;stdio.h'),
    "a fence in a quotation": (
        "> a\n>\n> ```c\n> x<y>\n> ```",
        "<blockquote>\n<p>a</p>\n<pre><code",
    ),
    "an indented block": ("a\n\n    x <y>\n\nb", "<pre><code>x &lt;y&gt;\n</code></pre>"),
    "backticks in a fence": ("~~~~\n```\nx\n```\n~~~~", "<pre><code>```\nx\n```\n</code></pre>"),
    "a list goes on": ("1. a\n\n   ```\n   x\n   ```\n2. b", '<ol start="2">\n<li>b</li>'),
    "blank lines in code": ("```\na\n\n\nb\n```", "<pre><code>a\n\n\nb\n</code></pre>"),
    "mathematics": ("$$x$$\n\n```\na <b>\n```", "<pre><code>a &lt;b&gt;\n</code></pre>"),
}


@pytest.mark.parametrize("name", CODE)
def test_code_looks_like_code(name: str) -> None:
    text, html = CODE[name]
    assert html in MarkdownIt("commonmark", {"html": True}).render(escape_markdown(text))


FORM = "<form action=https://evil.example><input></form>"
HOSTILE = {
    "a fence in a list": f"- ```\n{FORM}",
    "a fence in a list, closed": f"- ```\n  x\n  ```\n{FORM}",
    "a fence in a list, too little indented": f"1. a\n   ```\n{FORM}\n   ```",
    "a backtick in the info": f"```a`b\n{FORM}\n```",
    "a backtick in the info, at the end": f"``` ```\n{FORM}\n```",
    "a fence in a nested list": f"- - ```\n{FORM}\n- ```\n{FORM}",
    "a fence in a quotation that ends": f"> ```\n{FORM}\n",
    "a span over two blocks": f"`a\n- b {FORM} `",
    "a span over a heading": f"`a\n# {FORM} `",
    "a span over a rule": f"``a\n***\n{FORM} ``",
    "a span over a table": f"a|`b\n-|-\n{FORM}|`",
    "a longer closing fence": f"````\nx\n`````\n{FORM}\n````",
    "tildes closed by backticks": f"~~~\nx\n```\n~~~\n{FORM}",
    "an indented paragraph": f"a\n    {FORM}",
    "mathematics around a fence": f"$$\n```\n{FORM}\n```\n$$",
    "an HTML block": f"<pre>\n```\n</pre>{FORM}\n```",
    "a comment": f"<!--\n```\n-->{FORM}\n```",
    "CDATA": f"<![CDATA[\n```\n]]>{FORM}\n```",
    "other line ends": f"```\r{FORM}\r```\r\n{FORM}",
    "tabs": f"-\t```\n\t{FORM}\n{FORM}",
    "a fence indented by four": f"    ```\n{FORM}\n    ```",
    "NUL": f"`\0` ```\n{FORM}",
    "a definition": f"[a]: <`\n{FORM} `>",
}


@pytest.mark.parametrize("options", ["commonmark", "js-default"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_markup_reaches_the_document(name: str, options: str) -> None:
    escaped = escape_markdown(HOSTILE[name])
    html = MarkdownIt(options, {"html": True}).render(escaped)
    assert "<form" not in html
    assert "<input" not in html
    # What no parser can take for code has no tag at all: a closed fence at the start of a line.
    outside = re.sub(r"(?ms)^((?:> )*)(`{3,})[\w.+#-]*\n.*?^\1\2$", "", escaped)
    assert "<form" not in outside
    if "$$" in HOSTILE[name]:
        assert "<form" not in escaped


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
