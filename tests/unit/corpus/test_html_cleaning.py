"""Test cleaning HTML posts: whole pages and fragments."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.html_markdown import html_to_markdown
from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.language import detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown

FRAGMENT = """
<!-- 16 April 2009 -->
<p>
<img src="/img/a.png" alt="" class="left"/>
It's a <a href="https://a.example/">link with
<code>code</code></a>, isn't it? Two &lt; three &amp; "four".
</p>
<pre class="language-c"><b>int</b> main(void)
{
    return a[0] &lt; 1;
}
</pre>
<h2>A heading</h2>
<ul><li>One thing</li><li>Another thing</li></ul>
<p>Short.</p>
"""


def test_a_fragment_keeps_words_and_code() -> None:
    assert clean_html(FRAGMENT) == (
        "It's a link with `code`, isn't it? Two < three & \"four\".\n\n"
        "```c\nint main(void)\n{\n    return a[0] < 1;\n}\n```\n\n"
        "## A heading\n\n- One thing\n- Another thing\n\nShort."
    )


def test_only_the_main_text_of_a_page_is_kept() -> None:
    article = "".join(
        f"<p>Paragraph {n} of the article, long enough to be taken for one, isn't it?</p>"
        for n in range(5)
    )
    page = (
        "<!DOCTYPE html><html><head><title>T</title><style>p {color: red}</style></head><body>"
        '<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About</a></li></ul></nav>'
        f"<main><article><h1>The title</h1>{article}</article></main>"
        "<footer><p>Copyright 2020, all rights reserved</p></footer></body></html>"
    )
    cleaned = clean_html(page, title="The title")
    assert cleaned.count("Paragraph") == 5
    assert "isn't it?" in cleaned
    for removed in ("Home", "Copyright", "color", "The title"):
        assert removed not in cleaned


OPEN_FIGURE = "<figure><img src='a.png'>"
WORDS = "These are words of a paragraph that its reader must not lose"


@pytest.mark.parametrize(
    ("end", "kept", "lost"),
    [
        (f"<figure><div><p>{WORDS}.</p></div></figure>", f"{WORDS}.", ""),
        (
            f"{OPEN_FIGURE}<p>{WORDS}.</p>{OPEN_FIGURE}<p>Its end is here at last.</p>",
            "Its end",
            "",
        ),
        (f"{OPEN_FIGURE}<figcaption>A photo</figcaption><p>{WORDS}.</p>", f"{WORDS}.", "A photo"),
        (f"<figcaption>{'A caption left open. ' * 9}<p>{'More of it. ' * 20}</p>", "More of", ""),
        (f"<aside>{''.join(f'<p>{n} {WORDS} {n}.</p>' for n in range(40))}", f"{WORDS} 39.", ""),
        ("<figure><pre><code>tick()</code></pre></figure>", "tick()", ""),
        (f"<div class='prompt'>\n{WORDS} of the {WORDS}.\n</div>", f"{WORDS}.", ""),
        (f"{OPEN_FIGURE}<p>A photo of the clock that I mended</p></figure>", "", "A photo"),
        (f"<figure><blockquote>{WORDS} of hers.</blockquote></figure>", "", "hers"),
        (f"<aside><p>Related: {WORDS}.</p></aside>", "", "Related"),
        (f"<div class='comment'>Bob: {WORDS} of the {WORDS}.</div>", "", "Bob"),
    ],
)
def test_running_text_is_kept_in_what_the_extractor_drops(end: str, kept: str, lost: str) -> None:
    paragraphs = "".join(
        f"<p>Paragraph {name} says something of its own about clocks, isn't it?</p>"
        for name in "abcdefghijklmnopqrstuvwxyz"
    )
    cleaned = clean_html(f"<html><body><article>{paragraphs}{end}</article></body></html>")
    assert "Paragraph z says" in cleaned
    assert kept in cleaned
    assert not lost or lost not in cleaned


def test_jekyll_highlights_in_html_are_code() -> None:
    code = "{% highlight cl %}\n(if (< a 1) #'b)\n{% endhighlight %}"
    cleaned = clean_html(f"<p>Before it all</p>\n{code}\n<p>After</p>")
    assert cleaned == "Before it all\n\n```cl\n(if (< a 1) #'b)\n```\n\nAfter"


def test_text_between_blocks_is_kept() -> None:
    cleaned = clean_html("Loose words first. <p>A paragraph.</p> Loose words last.")
    assert [line for line in cleaned.split("\n") if line] == [
        "Loose words first.",
        "A paragraph.",
        "Loose words last.",
    ]


@pytest.mark.parametrize("text", ["", "   ", "<!-- only a comment -->", "<html></html>"])
def test_empty_pages_stay_empty(text: str) -> None:
    assert clean_html(text) == ""


def test_shortcodes_in_html_are_removed_before_parsing() -> None:
    source = (
        "<p>a {{<figure src='b.png'>}} c</p>{% include d.html e=\"<p>f</p>\" %}<code>{% g %}</code>"
    )
    assert clean_html(source) == "a c\n\n`{% g %}`"


def test_formulas_are_kept_and_footnote_marks_removed() -> None:
    body = "".join(
        f"<p>Ten to the sixth, 10<sup>6</sup>, is<sup><a href='#fn1'>1</a></sup> what {pronoun} "
        "counted; <script type='math/tex'>x_1^2</script> is <span class='katex'><math>"
        "<annotation>y_2</annotation></math><span class='katex-html'>y2</span></span>, isn't "
        "it?</p>"
        for pronoun in ("I", "you", "they")
    )
    cleaned = clean_html(f"<html><body><article>{body}</article></body></html>")
    assert cleaned.split("\n\n") == [
        f"Ten to the sixth, 10⁶, is what {pronoun} counted; $x_1^2$ is $y_2$, isn't it?"
        for pronoun in ("I", "you", "they")
    ]


tags = st.sampled_from(["p", "div", "span", "a", "pre", "code", "ul", "li", "h1", "td", "b", "!--"])
pieces = st.one_of(
    tags.map("<{}>".format),
    tags.map("</{}>".format),
    st.text(max_size=20),
    st.just("&lt;&#0;&bogus;"),
)


@pytest.mark.long
@settings(deadline=None)
@given(st.lists(pieces, max_size=40).map("".join), st.booleans())
def test_any_tags_are_cleaned(text: str, is_page: bool) -> None:
    assert isinstance(clean_html(f"<html><body>{text}" if is_page else text), str)
    assert isinstance(html_to_markdown(text), str)


@pytest.mark.parametrize(("depth", "is_read"), [(100, True), (3000, False)])
def test_deeply_nested_pages_are_read_or_empty(depth: int, is_read: bool) -> None:
    """libxml2 stops at 256 levels, so a deeper post has no text."""
    deep = "<div>" * depth + "words enough to be a sentence of their own" + "</div>" * depth
    assert ("words enough" in clean_html(deep)) is is_read


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "mark",
    [
        *("[", "![", "*a", "[^", "{%", "{{<", "<", "<p>", "`", "~", "- a\n", "$a", "\\("),
        *("\\begin{a}", "[^a]: ", "$$\n", "<pre\n\n", "<div>\n<pre>\n\n", "<a b\n\n", "<b>"),
        *("> [!a]\n\n", "{:"),
    ],
)
def test_time_is_linear_in_the_length(mark: str) -> None:
    """Linear time takes 0.2 s for 20 KB of unclosed marks; quadratic time would take minutes."""
    text = mark * (20_000 // len(mark))
    assert isinstance(clean_html(text), str)
    assert isinstance(clean_markdown(text), str)
    assert isinstance(detect_language(text), str)


def test_no_word_of_the_shared_html_posts_is_lost(shared_posts: Path) -> None:
    """Compare with lxml's text; `nth` from `<i>n</i>th` counts as lost."""
    lost_words = posts = 0
    for file in scan_source(shared_posts / "skeeto").posts:
        if not file.source_id.endswith(".html"):
            continue
        post = read_post(file.read()[0], source_id=file.source_id)
        source = re.sub(r"{%.*?%}|<!--.*?-->|<video.*?</video>", "", post.text, flags=re.DOTALL)
        tree = parse_html(f"<div>{source}</div>")
        expected = Counter(re.findall(r"[^\W_]+", str(tree.text_content())))
        lost_words += sum(
            (expected - Counter(re.findall(r"[^\W_]+", clean_html(post.text)))).values()
        )
        posts += 1
    assert posts == 95
    assert lost_words <= 10
