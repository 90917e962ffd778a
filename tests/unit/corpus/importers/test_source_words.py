"""Tests of counting the words that a document misses or has gained."""

from __future__ import annotations

import pytest

from twin_assets.corpus.importers.source_words import (
    SourceWords,
    read_asciidoc_words,
    read_html_words,
    read_org_words,
)

PROSE = "The clock on the wall has a story that nobody tells"
READERS = {"html": read_html_words, "org": read_org_words, "asciidoc": read_asciidoc_words}
LINKS = "".join(
    f"<li><a href='/{n}'>Another post with a long title {n}</a></li>" for n in "abcdefgh"
)
COMMENT = "<div class='comment'><p>Somebody else says what he thinks about it</p></div>"

SAME: list[tuple[str, str, str]] = [
    ("html", f"<p>{PROSE}</p>", PROSE),
    ("html", f"<p>{PROSE} <b>w</b>ith <a href='x'>a friend</a></p>", f"{PROSE} **w**ith a friend"),
    ("html", f"<h1>A title that is long enough</h1><p>{PROSE}</p>", PROSE),
    ("html", f"<nav><p>{PROSE} at home</p></nav><ul>{LINKS}</ul><article><p>{PROSE}</p></article>",
     PROSE),
    ("html", f"<p>{PROSE}</p><footer><p>All rights are reserved by me</p></footer>", PROSE),
    ("html", f"<p>{PROSE}, {PROSE}, {PROSE}, {PROSE}</p>{COMMENT}",
     f"{PROSE}, {PROSE}, {PROSE}, {PROSE}"),
    ("html", f"<p>{PROSE}</p><pre>for word in all the words do tick done</pre>", PROSE),
    ("html", f"<p>{PROSE}</p><figure><figcaption>My own clock on its wall</figcaption></figure>",
     PROSE),
    ("html", f"<p>{PROSE}</p><p>[1] Grace Hopper, A history of all clocks, 1950</p>", PROSE),
    ("html", f"<p>{PROSE}</p>{{% highlight c %}}int the main of it{{% endhighlight %}}", PROSE),
    ("html", f"<ul><li>{PROSE}</li><li>{PROSE}<br>{PROSE}</li></ul><p>{PROSE}</p><p>{PROSE}</p>",
     "\n".join([PROSE] * 5)),
    ("html", f"Begin<blockquote>{PROSE}</blockquote><p>the<b>re</b></p><h2>Ends</h2>and",
     f"Begin\n> {PROSE}\n\nthere\n\n## Ends\n\nand"),
    ("html", f"<p>{PROSE}, {PROSE}, {PROSE}</p><p hidden>{PROSE} at home</p>",
     f"{PROSE}, {PROSE}, {PROSE}"),
    ("html", f"<p>{PROSE} since 1999, ada@example.org</p>", f"{PROSE} since 1999, [email]"),
    ("html", f"<ul><li>{PROSE} ($10 or less)</li><li>{PROSE} ($20)</li></ul><p>$x = y$</p>",
     f"- {PROSE} ($10 or less)\n- {PROSE} ($20)\n\n$`x = y`$ $x = y$"),
    ("html", f"<p>{PROSE} (`)</p><p>{PROSE} <code>~</code></p>", f"{PROSE} (`)\n\n{PROSE} `~`"),
    ("org", f"* A headline\n:PROPERTIES:\n:ID: of the headline\n:END:\n{PROSE}", PROSE),
    ("org", f"#+TITLE: A title of it\n{PROSE} [[https://a.example/b][told]] ~code~",
     f"{PROSE} [told](https://a.example/b) `code`"),
    ("org", f"{PROSE}[fn:1]\n#+BEGIN_SRC c\nint the main\n#+END_SRC\n\n[fn:1] A note\non two lines",
     PROSE),
    ("org", f"#+BEGIN_QUOTE\n{PROSE}\n#+END_QUOTE\n# a comment of hers\n| a table | of it |",
     f"> {PROSE}"),
    ("org", f"{PROSE}\n\\begin{{align}}\n\\alpha \\beta\n\\end{{align}}\n- An item",
     f"{PROSE}\n\n- An item"),
    ("org", f"{PROSE} [cite/t:see @lovelace1843 page three;@hopper1952 chapter].", PROSE),
    ("org", f"* A\n{PROSE}\n** Of hers :draft:noexport:\n{PROSE}\n*** Its end\n{PROSE}\n** B\n"
     f"{PROSE}\n* TODO COMMENT C\n{PROSE}\n* COMMENT D\n{PROSE}\n* Comment\n{PROSE}",
     f"{PROSE}\n\n{PROSE}\n\n{PROSE}"),
    ("asciidoc", f"{PROSE}\n\n|===\na| * {PROSE}\n|===",
     f"{PROSE}\n\n<table>\n<tbody>\n<td><ul>\n<li><p>{PROSE}</p></li>\n</ul></td>\n</table>"),
    ("asciidoc", f"= A title\nAda Lovelace\n:tags: some, tags\n\n== Its section\n{PROSE}", PROSE),
    ("asciidoc", f"{PROSE} https://a.example/b[told]\n\n[source,c]\n----\nint the main\n----",
     f"{PROSE} [told](https://a.example/b)"),
    ("asciidoc", f".A caption\nimage::a.png[Its alternative text]\n\n{PROSE}\n\n  a literal line",
     PROSE),
    ("asciidoc", f"{PROSE}footnote:[A note on it] `code` // not a comment\n// a comment of hers",
     f"{PROSE} `code` // not a comment"),
    ("asciidoc", f"{PROSE} of wallsfootnote:[Read https://a.example/b[what she told]].",
     f"{PROSE} of walls."),
]  # fmt: skip


@pytest.mark.parametrize(("markup", "source", "document"), SAME)
def test_what_a_document_rightly_leaves_out_is_not_missed(
    markup: str, source: str, document: str
) -> None:
    words = READERS[markup](source)
    missing, new = words.count_changes(document)
    assert missing == 0
    assert new <= 1  # the placeholder of an address
    assert words.prose.total() >= len(PROSE.split()) - 1  # a word of one letter is not counted


@pytest.mark.parametrize(
    ("markup", "source"),
    [
        ("html", "<div><p>{0}.</p><figure><div><p>{1}.</p></div></figure></div>"),
        (
            "html",
            "<html><body><article><p>{0}.</p><aside></aside><p>{1}.</p></article></body></html>",
        ),
        ("html", "<p>{0}.<br>{1}.</p>"),
        ("org", "{0}.\n\n- {1}."),
        ("asciidoc", "{0}.\n\n* {1}."),
    ],
)
def test_a_lost_passage_and_a_new_one_change_a_document(markup: str, source: str) -> None:
    first, last = " ".join([PROSE] * 20), "Nine words that stand at the end of it all"
    words = READERS[markup](source.format(first, last))
    assert not words.is_changed(f"{first}.\n\n{last}.")
    assert words.is_changed(f"{first}.")
    assert words.is_changed(f"{first}.\n\n{last}.\n\nWhat someone else has written here again too.")


def test_a_few_words_do_not_change_a_long_document() -> None:
    words = SourceWords(prose := read_html_words(f"<p>{' '.join([PROSE] * 60)}</p>").prose, prose)
    assert not words.is_changed(" ".join([PROSE] * 59))


@pytest.mark.parametrize(
    "mark", ["{%", "{{", "$$", r"\(", "`", "[[", "<p>", "#+begin_a\n", "----\n", "link:"]
)
def test_time_is_linear_in_the_length(mark: str) -> None:
    for read in READERS.values():
        assert isinstance(read(mark * (20_000 // len(mark))), SourceWords)
