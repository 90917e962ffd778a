"""Markdown posts: words, punctuation and code stay; targets, images, tags and definitions go."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from twin_assets.corpus.importers.folders import scan
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.markdown_cleaning import clean_markdown


@pytest.mark.parametrize(
    ("source", "cleaned"),
    [
        # a paragraph is one line; punctuation and apostrophes are kept as they are
        ("It's “here” —\nisn't it?", "It's “here” — isn't it?"),
        ("one\n\n\n\ntwo", "one\n\ntwo"),
        ("hard  \nbreak", "hard\nbreak"),
        # links keep their words and lose their targets
        ('See [the *docs*](https://a.example/b?c=d "title").', "See the *docs*."),
        ("See [the docs][ref] or [ref].\n\n[ref]: https://a.example", "See the docs or ref."),
        ("[](https://a.example)nothing", "nothing"),
        ("<https://a.example>", "https://a.example"),
        # images, tags, comments
        ("An ![alt text](a.png) image", "An image"),
        ("[![badge](b.svg)](https://a.example)\n\nText", "Text"),
        ("a <b>bold</b> and<br>broken <!-- hidden --> word", "a bold and\nbroken word"),
        ("<div>\nIn a <i>block</i>.\n</div>\n\nAfter.", "In a block.\n\nAfter."),
        ("<!-- a comment\n\nover lines -->\n\nText", "Text"),
        ("<script>\nalert(1)\n</script>\n\nText", "Text"),
        ("<pre>\n  raw &lt;code&gt;\n</pre>", "```\n  raw <code>\n```"),
        # emphasis, code and escapes
        ("*a* **b** ~~c~~ `d`", "*a* **b** ~~c~~ `d`"),
        ("`` a ` b ``", "`` a ` b ``".replace("`` a ` b ``", "``a ` b``")),
        (r"\*not emphasis\* &amp; 2 \< 3", "*not emphasis* & 2 < 3"),
        # footnotes, template tags, kramdown attributes
        ("A claim.[^1]\n\n[^1]: The note itself.", "A claim.\n\nThe note itself."),
        ("{% include video.html id=1 %}\n\nText\n{: .lead}", "Text"),
        ('{{< figure src="a.png" >}}\n\nText', "Text"),
        # headings, lists, quotations, tables
        ("Title\n=====\n\n### Sub *head* ###", "# Title\n\n### Sub *head*"),
        ("* a\n* b\n  wrapped\n\n    deeper", "- a\n\n- b wrapped\n\n  deeper"),
        ("3. c\n4. d\n   - e", "3. c\n4. d\n   - e"),
        ("> quoted\n> words\n>\n> more", "> quoted words\n>\n> more"),
        ("|a|b|\n|-|-|\n|1|[2](x)|", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("before\n\n---\n\nafter", "before\n\nafter"),
        # CJK lines are joined without a space
        ("これは一つの\n文です。", "これは一つの文です。"),
        ("한국어 문장\n입니다.", "한국어 문장 입니다."),
    ],
)
def test_what_stays_and_what_goes(source: str, cleaned: str) -> None:
    assert clean_markdown(source) == cleaned


@pytest.mark.parametrize(
    "code",
    [
        "```python\ndef f(x):\n\n    return x['a']  # [not](a link) <b>\n```",
        "```\n{{ page.title }} {% raw %} ![no](image.png)\n```",
        "````\n```\ninner fence\n```\n````",
    ],
)
def test_code_blocks_stay_as_they_are(code: str) -> None:
    assert clean_markdown(f"Before\n\n{code}\n\nAfter") == f"Before\n\n{code}\n\nAfter"


def test_indented_and_highlighted_code_is_fenced() -> None:
    assert clean_markdown("Text\n\n    x = 1\n\n    y = 2\n") == "Text\n\n```\nx = 1\n\ny = 2\n```"
    jekyll = (
        "Text\n\n{% highlight c linenos %}\nint x[] = {1};\n\nint y;\n{% endhighlight %}\n\nMore"
    )
    assert clean_markdown(jekyll) == "Text\n\n```c\nint x[] = {1};\n\nint y;\n```\n\nMore"
    hugo = "{{< highlight go >}}\nx := <-c\n{{< /highlight >}}"
    assert clean_markdown(hugo) == "```go\nx := <-c\n```"


def test_a_heading_that_repeats_the_title_is_left_out() -> None:
    assert clean_markdown("# A *Post!*\n\nText", title="A post") == "Text"
    assert clean_markdown("# Another\n\nText", title="A post") == "# Another\n\nText"
    assert clean_markdown("Text\n\n# A post", title="A post") == "Text\n\n# A post"


def test_nothing_in_nothing_out() -> None:
    assert clean_markdown("") == ""
    assert clean_markdown("![only](an-image.png)\n\n[ref]: https://a.example") == ""


@given(st.text(max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    assert isinstance(clean_markdown(text), str)


words = st.text(alphabet="abcdefghij'é,.?!", min_size=1, max_size=12).filter(
    lambda word: any(letter.isalpha() for letter in word)
)


@given(st.lists(st.lists(words, min_size=1, max_size=12), min_size=1, max_size=6))
def test_plain_paragraphs_pass_unchanged(paragraphs: list[list[str]]) -> None:
    text = "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)
    assert clean_markdown(text) == text


def test_no_word_of_the_shared_posts_is_lost(shared_posts: Path) -> None:
    """Against the parser's own HTML, read by another library; `nth` from `*n*th` counts as lost."""
    lost = total = 0
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for file in scan(shared_posts / "jbranchaud-til").posts:
        post = read_post(file.path.read_bytes(), source_id=file.source_id)
        expected = words_of(str(parse_html(parser.render(post.text)).text_content()))
        kept = words_of(clean_markdown(post.text, title=post.title) + " " + post.title)
        lost += sum((expected - kept).values())
        total += sum(expected.values())
    assert total > 250_000
    assert lost <= 30


def words_of(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", text))
