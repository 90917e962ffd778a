"""Test that Markdown posts keep words and code, and lose link targets, images and tags."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.markdown_cleaning import clean_markdown


@pytest.mark.parametrize(
    ("source", "cleaned"),
    [
        # a paragraph is one line; punctuation is kept
        ("It's “here” —\nisn't it?", "It's “here” — isn't it?"),
        ("one\n\n\n\ntwo", "one\n\ntwo"),
        ("hard  \nbreak", "hard\nbreak"),
        # links keep their words without the targets
        ('See [the *docs*](https://a.example/b?c=d "title").', "See the *docs*."),
        ("See [the docs][ref] or [ref].\n\n[ref]: https://a.example", "See the docs or ref."),
        ("[](https://a.example)nothing", "nothing"),
        ("<https://a.example>", "https://a.example"),
        # images, tags, comments
        ("An ![alt text](a.png) image", "An image"),
        ("75_vanity.png\n\nText", "Text"),
        ("jobs@2x.webp\nHow many?\n\n- a.png", "How many?\n\n- a.png"),
        ("a.png\n\nIn `b.png`\nand [c.png](c.png)", "In `b.png` and c.png"),
        ("[![badge](b.svg)](https://a.example)\n\nText", "Text"),
        ("a <b>bold</b> and<br>broken <!-- hidden --> word", "a **bold** and\nbroken word"),
        ("<div>\nIn a <i>block</i>.\n</div>\n\nAfter.", "In a *block*.\n\nAfter."),
        ("<!-- a comment\n\nover lines -->\n\nText", "Text"),
        ("<script>\nalert(1)\n</script>\n\nText", "Text"),
        ("<pre>\n  raw &lt;code&gt;\n</pre>", "```\n  raw <code>\n```"),
        # emphasis, code and escapes
        ("*a* **b** ~~c~~ `d`", "*a* **b** ~~c~~ `d`"),
        ("`` a ` b ``", "``a ` b``"),
        ("`a `b **c**[**d**](e)", "`a `b **cd**"),
        (r"\*not emphasis\* &amp; 2 \< 3", r"\*not emphasis\* & 2 < 3"),
        (r"snake\_case, e.g\. 1\. a \[b] \# \(c\)", "snake_case, e.g. 1. a [b] # (c)"),
        (r"1\. May", r"1\. May"),
        (r"- \- a", r"- \- a"),
        (r"\[a](b) \`c\`", r"\[a](b) \`c\`"),
        ("&lt;div&gt; &amp;lt; &lt; 3", r"\<div> \&lt; < 3"),
        # footnotes, template tags, kramdown attributes
        ("A claim.[^1]\n\n[^1]: The note itself.", "A claim.\n\nThe note itself."),
        ("{% include video.html id=1 %}\n\nText\n{: .lead}", "Text"),
        ('{{< figure src="a.png" >}}\n\nText', "Text"),
        # headings, lists, quotations, tables
        ("Title\n=====\n\n### Sub *head* ###", "# Title\n\n### Sub *head*"),
        ("* a\n* b\n* c", "- a\n- b\n- c"),
        ("* a\n* b\n  wrapped\n\n    deeper", "- a\n\n- b wrapped\n\n  deeper"),
        ("3. c\n4. d\n   - e", "3. c\n4. d\n   - e"),
        ("> quoted\n> words\n>\n> more", "> quoted words\n>\n> more"),
        ("|a|b|\n|-|-|\n|1|[2](x)|", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("|a|\n|-|\n|b|", "a\n\nb"),
        (f"{'- ' * 18}a\n\nb", f"{'- ' * 18}a\n\nb"),
        ("before\n\n---\n\nafter", "before\n\nafter"),
        # CJK lines are joined without a space
        ("これは一つの\n文です。", "これは一つの文です。"),
        ("한국어 문장\n입니다.", "한국어 문장 입니다."),
        # raw HTML: elements over several blocks, and with code or empty lines
        ("<blockquote>\n\na *b*\n\n- c\n\n</blockquote>\n\nd", "> a *b*\n>\n> - c\n\nd"),
        ("<blockquote><p>a</p>&mdash; b</blockquote> <script src='x'></script>", "> a\n>\n> — b"),
        ("a <blockquote>b</blockquote> c", "a\n\n> b\n\nc"),
        (
            "<table>\n  <tr>\n    <td>a|b</td>\n\n    <td>c</td>\n  </tr>\n</table>\n\nd",
            "| a\\|b | c |\n\nd",
        ),
        ("<div><pre>\na\n\nb\n</pre></div>\n\nc", "```\na\n\nb\n```\n\nc"),
        ("<div>\n```py\na\n\nb<c>\n```\n</div>\nd", "```py\na\n\nb<c>\n```\n\nd"),
        ('<div markdown="1">\n- a\n- b\n</div>', "- a\n- b"),
        ("<Note>\na\n</Note>\n\n<Note>\nb\n</Note>", "a\n\nb"),
        ("a <em>b</em> _c_ <del>d</del> H<sub>2</sub>O", "a *b* _c_ ~~d~~ H₂O"),
        ("abcdefg <span hidden>h</span>\n\n<div hidden>\n\ni *j*\n\n</div>\n\nk", "abcdefg\n\nk"),
        # unclosed tags, and tags that a sentence mentions
        ("<blockquote>a\n\nb", "> a\n\nb"),
        ("<li>a\n\nb\n\n<form>\n\n*c*\n\n</form>", "- a\n\nb\n\n*c*"),
        ("a <script> b\n\nc", "a b\n\nc"),
        ("a <b>b</b> <title> c <select> d", "a **b** c d"),
        ("</div>\n\na", "a"),
        # money and brackets are not formulas
        ("$5 for [a](b), or 10$ for *c*", "$5 for a, or 10$ for *c*"),
        ("from $5 to $10 *a*", "from $5 to $10 *a*"),
        (r"\[1\] and \(a\)", "[1] and (a)"),
        ("$$ a\n\n[b](c)\n\n$$ d", "$$ a\n\nb\n\n$$ d"),
        # footnotes
        ("a[^1] and[^b] c.\n\n[^1]: d\n[^b]: e", "a and c.\n\nd\n\ne"),
        ("a[^1]\n\n[^1]: First.\n\n    Second *b*.\n\nc", "a\n\nFirst.\n\nSecond *b*.\n\nc"),
        ("a[^1]b\n\n[^1]: c", "a b\n\nc"),
        ("any of [^abc] there", "any of [^abc] there"),
        ("a[^1] b, and no note", "a b, and no note"),
        # Obsidian
        ("See [[folder/Page|label]], [[Page#Part]], [[#Part]].", "See label, Page, Part."),
        ("a ![[picture.png|300]] b", "a b"),
        ("[[1]](c) [[d]][^1] [[ -f e ]]", "[1] d [[ -f e ]]"),
        ("|a|b|\n|-|-|\n|[[c\\|d]]|e|", "| a | b |\n| --- | --- |\n| d | e |"),
        ("`[[a]]`", "`[[a]]`"),
        ("a text ^1a2b3c", "a text"),
        # a callout is the author's, unless it is marked as a quotation
        ("> [!note]- A title\n> b\n> c\n\nd", "A title\nb c\n\nd"),
        ("> [!quote] a\n> b", "> a\n> b"),
        ("# Excalidraw Data\n\n## Text Elements\na ^b\n\n```json\n{}\n```", ""),
        # template tags, indented and highlighted code
        ("a\n\n{{< x\n  y=1\n>}}\n\nb {% c `d` %} e", "a\n\nb e"),
        ("`{% a %}` {: .b}", "`{% a %}`"),
        (
            'a {{image "b/c_d.png" "e"}}{{code "c.go" `/a {/` `/^}/`}} f {{ g.h }} {{ .I | j }}k',
            "a f k",
        ),
        (
            "a `{{ b.c }}` {{d}} {{ e f }} $\\frac{{g.h}}{2}$",
            "a `{{ b.c }}` {{d}} {{ e f }} $\\frac{{g.h}}{2}$",
        ),
        ('a {{raw "`<-`"}} b\n\n{{raw `\n    c := <-d\n`}}', "a `<-` b\n\n```\nc := <-d\n```"),
        # directives
        (":::info[A *title*]\nb\n\n- c\n:::\nd", "A *title*\n\nb\n\n- c\n\nd"),
        ("a\n::: tip A title: b\nc\n:::::\n::: {.d #e}\nf\n:::", "a\n\nA title: b\n\nc\n\nf"),
        (
            "::video[A title]{v=1}\n\n::c{d}\n\n::std\n\n```\n:::e\n```",
            "A title\n\n::std\n\n```\n:::e\n```",
        ),
        ("a :quote[b *c*]{#d .e} f :g[h [i](j)].", "a b *c* f h i."),
        (
            "10:30[a] Note:[b] :c[d](e) `:f[g]` x::y[z] :smile:[k]",
            "10:30[a] Note:[b] :cd `:f[g]` x::y[z] :smile:[k]",
        ),
        ("## a {#b}", "## a"),
        ("a\n\n    x = 1\n\n    y = 2\n", "a\n\n```\nx = 1\n\ny = 2\n```"),
        ("{% highlight c x %}\nint x[] = {1};\n{% endhighlight %}", "```c\nint x[] = {1};\n```"),
        ("{{< highlight go >}}\nx := <-c\n{{< /highlight >}}", "```go\nx := <-c\n```"),
        # nothing to keep
        ("", ""),
        ("![only](an-image.png)\n\n[ref]: https://a.example", ""),
    ],
)
def test_words_are_kept_and_markup_is_removed(source: str, cleaned: str) -> None:
    assert clean_markdown(source) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "```python\ndef f(x):\n\n    return x['a']  # [not](a link) <b>\n```",
        "```\n{{ page.title }} {% raw %} ![no](image.png)\n```",
        "````\n```\ninner fence\n```\n````",
        "a $x_1 * y_2 * z$ b",
        "a $$\\sum_{i} x_i * y_i *$$ b",
        "$$\na_1 \\\\\n+ b *c*\n$$",
        "\\[ x_1 * y * z \\]",
        "a \\(b_c * d*\\) e",
        "\\begin{align}\na &= b_1 \\\\\nc &= d_2\n\\end{align}",
        "> $$\n> a_1 *b*\n> $$",
        "- a\n\n  $$\n  a_1 *b*\n  $$",
        "| a | b |\n| --- | --- |\n| $x\\|y_1*z*$ | c |",
        r"$a_1 < b$ and \$5",
    ],
)
def test_code_and_mathematics_stay_as_they_are(text: str) -> None:
    assert clean_markdown(text) == text


MDX = """import Box from './box'
export const meta = {
  a: 1,

  b: 2,
}

# Hello {meta.a}

<Box kind="x" data={{ a: '>' }}>
  *words* {'as said'} {/* not this */}
</Box>

<BlockQuote by="Bo">

Theirs.

</BlockQuote>

<Picture
  src={x}
  alt="y"
/>

A <b>bold</b> word, import duties.

```js
import a from 'b'
```
"""


def test_mdx_keeps_its_words() -> None:
    cleaned = (
        "# Hello\n\n*words* as said\n\n> Theirs.\n\nA **bold** word, import duties.\n\n"
        "```js\nimport a from 'b'\n```"
    )
    assert clean_markdown(MDX) == cleaned
    without_import = MDX.split("\n", 1)[1]
    assert clean_markdown(without_import, is_mdx=True) == cleaned
    assert "{meta.a}" in clean_markdown(without_import)


def test_a_heading_that_repeats_the_title_is_left_out() -> None:
    assert clean_markdown("# A *Post!*\n\nText", title="A post") == "Text"
    assert clean_markdown("# Another\n\nText", title="A post") == "# Another\n\nText"
    assert clean_markdown("Text\n\n# A post", title="A post") == "Text\n\n# A post"


@given(st.text(max_size=400))
def test_any_text_is_cleaned(text: str) -> None:
    assert isinstance(clean_markdown(text), str)


words = st.text(alphabet="abcdefghij'é,.?!", min_size=1, max_size=12).filter(
    lambda word: any(letter.isalpha() for letter in word)
)


@given(st.lists(st.lists(words, min_size=1, max_size=12), min_size=1, max_size=6))
def test_plain_paragraphs_pass_unchanged(paragraphs: list[list[str]]) -> None:
    text = "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)
    assert clean_markdown(text) == text


@pytest.mark.long
def test_no_word_of_the_shared_posts_is_lost(shared_posts: Path) -> None:
    """Compare with the words of the parser's HTML; `nth` from `*n*th` counts as lost."""
    lost_words = total = 0
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for file in scan_source(shared_posts / "jbranchaud-til").posts:
        post = read_post(file.read()[0], source_id=file.source_id)
        expected = count_words(str(parse_html(parser.render(post.text)).text_content()))
        cleaned_words = count_words(clean_markdown(post.text, title=post.title) + " " + post.title)
        lost_words += sum((expected - cleaned_words).values())
        total += sum(expected.values())
    assert total > 250_000
    assert lost_words <= 30


def count_words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W_]+", text))
