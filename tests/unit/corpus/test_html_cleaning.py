"""Test cleaning HTML posts: whole pages and fragments."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.language import detect_language
from twin_assets.corpus.markdown_cleaning import clean_markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<p>a\n  b&nbsp;c<!-- no --> d</p>", "a b c d"),
        ("<p>a<br>b<br/><br/>c</p>", "a\nb\nc"),
        ("<p>a<script>x</script> b<img src='i'> c</p>", "a b c"),
        ("x<p>a</p>y<div>b<p>c</p>d</div>z", "x\n\na\n\ny\n\nb\n\nc\n\nd\n\nz"),
        ("<h2>a <em>b</em><br>c</h2>", "## a *b* c"),
        ("<h3> </h3><p>a</p>", "a"),
        # inline marks adjoin the words regardless of spaces
        ("<p>a<b> b </b>c <i></i><em>d</em>e <s>f</s></p>", "a **b** c *d*e ~~f~~"),
        ("<p><b>a</b><b>b</b> <i>c</i> <i>d</i></p>", "**ab** *c* *d*"),
        ("<del>a<p>b</p></del>c", "~~a~~\n\n~~b~~\n\nc"),
        ("<p><b><i>a</i></b> <q>b <q>c</q></q></p>", '***a*** "b "c""'),
        ("<p><u>a</u> <kbd>b</kbd> <bogus>c</bogus> <a href='/'>d</a></p>", "a b c d"),
        # code
        (
            "<p><code> a  b </code>c <code>`d`</code> <code>e``f</code></p>",
            "`a b` c `` `d` `` ```e``f```",
        ),
        ("<p><code>a<b>b</b></code><code>c</code></p>", "`abc`"),
        ("<p>a</p><code>b<br>c</code><p>d</p>", "a\n\n```\nb\nc\n```\n\nd"),
        (
            "<pre class='language-c'>\n  <b>int</b> x<br>y<!-- c -->;\n</pre>",
            "```c\n  int x\ny;\n```",
        ),
        ("<div class='highlight language-py'><pre>a</pre></div>", "```py\na\n```"),
        (
            "{% highlight cl %}\n(if (< a 1) #'b)\n{% endhighlight %}",
            "```cl\n(if (< a 1) #'b)\n```",
        ),
        ("<pre> \n </pre>", ""),
        # template tags are removed except in code
        ("<p>a {% b %}[^1]c <code>{% d %}</code></p>", "a c `{% d %}`"),
        ('<p>a {{image "b.png"}} {{ c.d }}{{e}}</p>', "a {{e}}"),
        ("a {{<b c='d'>}} e{% f g=\"<p>h</p>\" %}", "a e"),
        # what no reader sees is left out, but not all of a page that a script shows
        (
            "<p>abcdefg<span hidden>h</span>i<b style='color: red; DISPLAY:none'>j</b>k</p>",
            "abcdefgik",
        ),
        ("<div style='display: none'><p>a</p></div><p hidden>b</p>", "a\n\nb"),
        ("<p>abcdefg<i aria-hidden='true'>h</i><i hidden='until-found'>i</i></p>", "abcdefg*hi*"),
        ("<p>abcdefg<i style='display:none'><math alttext='x_1'></math></i></p>", "abcdefg*$x_1$*"),
        # numbers, notes, formulas
        ("<p>a<sup>2</sup> b<sub>n</sub> c<sup>th</sup></p>", "a² bn cth"),
        ("<sup>2<p>a</p></sup><b><hr></b>b<td>c<ul><li>d</ul></td>", "2\n\na\n\nb\n\nc\n\n- d"),
        ("<p>a<sup id='fnref1'><a href='#fn1'>[1]</a></sup> b</p>", "a b"),
        ("<p>a <a href='#fnref1'>↩</a><a href='#note'>b</a></p>", "a b"),
        ("<p>a <script type='math/tex; mode=display'>x_1</script></p>", "a $$x_1$$"),
        ("<p>a <math alttext='x_1'><mi>x</mi></math></p>", "a $x_1$"),
        ("<p>&lt;div&gt; &amp;lt; 1 &lt; 2</p>", "\\<div> \\&lt; 1 < 2"),
        ("<p>字\n字 a\nb</p>", "字字 a b"),
        # lists; items are paragraphs where the page has paragraphs in them
        ("<ul><li>a</li><li><p>b</p></li></ul>", "- a\n\n- b"),
        ("<ol start='9'><li>a<li>b</ol>", "9. a\n10. b"),
        ("<ol start='99999999999999999999'><li>a</ol>", "1. a"),
        ("<ul><li>a<ol><li>b</li></ol></li><li>c</li></ul>", "- a\n  1. b\n- c"),
        ("<ul><li>a</li><ul><li>b</li></ul><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\n\n  b\n\n- c"),
        ("<ul><li>a<pre>b\n\nc</pre></li></ul>", "- a\n\n  ```\n  b\n\n  c\n  ```"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "- a\n- b"),
        ("<ul> <li> </li> </ul>", ""),
        ("<blockquote>a<p>b</p><ul><li>c</li></ul></blockquote>", "> a\n>\n> b\n>\n> - c"),
        # tables
        (
            "<table><caption>t</caption><tr><th>a</th><th>b</th></tr><tr><td><p>c</p><p>d</p></td>"
            "</tr></table>",
            "t\n\n| a | b |\n| --- | --- |\n| c d |  |",
        ),
        ("<table><tr><td>a|b</td><td>c</td></tr></table>", "| a\\|b | c |"),
        ("<table><tr><td>1</td><td><pre>a</pre></td></tr></table>", "1\n\n```\na\n```"),
        ("<table><tr><td>a</td></tr><tr><td>b</td></tr></table>", "a\n\nb"),
        ("<figure><img><figcaption>a</figcaption></figure><hr>b", "a\n\nb"),
        # nothing to show
        ("", ""),
        ("<!-- only a comment -->", ""),
        ("<html></html>", ""),
    ],
)
def test_html_becomes_markdown(html: str, markdown: str) -> None:
    assert clean_html(html) == markdown


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


def test_a_page_goes_on_after_an_early_end() -> None:
    page = f"<html><head><title>T</title></head></html><body><p>{WORDS}.</p></body></html>"
    assert clean_html(page, title="T") == f"{WORDS}."


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
        (
            f"{OPEN_FIGURE}<figcaption>{WORDS}. It says <em>so</em> itself.</figcaption></figure>",
            f"{WORDS}. It says *so* itself.",
            "",
        ),
        (f"<figure><blockquote>{WORDS} of hers.</blockquote></figure>", "", "hers"),
        (f"<p style='display:none'>Hidden {WORDS}.</p><p>It ends.</p>", "It ends", "Hidden"),
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


LISTING = "<div class='listingblock'><div class='content'><pre>tick({0})</pre></div></div>"
SECTION = (
    "<div class='sect1'><h2>Part {0}</h2><div class='sectionbody'><div class='paragraph'>"
    f"<p>{WORDS} {{0}}.</p></div>{LISTING}<div class='paragraph'><p>It ends here {{0}}.</p></div>"
    "</div></div>"
)


@pytest.mark.parametrize(
    "page",
    [
        "<body class='article'><div id='header'><h1>T</h1></div><div id='content'>{}</div></body>",
        "<body><div class='wrap'><div id='inner'>{}</div></div><div>A footer of the site</div>",
        "<body>{}<div id='footer'><p>Last updated in May</p></div></body>",
    ],
)
def test_a_page_without_an_article_keeps_its_headings_and_the_place_of_its_code(page: str) -> None:
    cleaned = clean_html(f"<html>{page.format(''.join(map(SECTION.format, 'abc')))}", title="T")
    assert cleaned.split("\n\n") == [
        block
        for part in "abc"
        for block in (
            f"## Part {part}",
            f"{WORDS} {part}.",
            f"```\ntick({part})\n```",
            f"It ends here {part}.",
        )
    ]


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


@pytest.mark.parametrize("depth", [100, 300, 3000])
@pytest.mark.parametrize("tag", ["div", "b", "ul><li", "blockquote><p"])
def test_deeply_nested_posts_keep_their_words(depth: int, tag: str) -> None:
    """libxml2 stops at 256 levels of elements, without what comes after them."""
    name = tag.partition(">")[0]
    deep = f"<{tag}>" * depth + "words enough to be a sentence" + f"</{name}>" * depth
    post = f"{deep}<p>And this stands after them.</p>"
    for text in (clean_html(post), clean_html(f"<html><body>{post}"), clean_markdown(post)):
        assert "words enough to be a sentence" in text
        assert "And this stands after them." in text


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "mark",
    [
        *("[", "![", "*a", "[^", "{%", "{{<", "<", "<p>", "`", "~", "- a\n", "$a", "\\("),
        *(
            ":::a[",
            ":a[",
            ":::",
            "{{a.b",
            '{{a "',
            "\\begin{a}",
            "[^a]: ",
            "$$\n",
            "<pre\n\n",
            "<div>\n<pre>\n\n",
            "<a b\n\n",
            "<b>",
        ),
        *("> [!a]\n\n", "{:", "{", "{a", "<a b={", "<a b='"),
    ],
)
def test_time_is_linear_in_the_length(mark: str) -> None:
    """Linear time takes 0.2 s for 20 KB of unclosed marks; quadratic time would take minutes."""
    text = mark * (20_000 // len(mark))
    assert isinstance(clean_html(text), str)
    assert isinstance(clean_markdown(text), str)
    assert isinstance(clean_markdown(text, is_mdx=True), str)
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
