"""Test posts in formats other than Markdown and HTML."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.corpus.importers.sample_posts import WORDS, build_document
from twin_assets.corpus.importers import text_formats
from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import Post, read_post
from twin_assets.corpus.importers.text_formats import EXTRA, is_readable
from twin_assets.corpus.inventory import take_inventory
from twin_resources.errors import TwinError

with_pandoc = pytest.mark.skipif(not is_readable("rst"), reason="extra `formats` not installed")
with_pypdf = pytest.mark.skipif(not is_readable("pdf"), reason="extra `formats` not installed")

RST = f"""On walking
##########

:date: 2020-03-05 10:20
:tags: walks, rivers

{WORDS} See `the map <https://a.example>`_.

.. code-block:: python

   print(1)

.. a comment
"""
ORG = f"""#+TITLE: On walking
#+DATE: <2020-03-05 Thu>
#+FILETAGS: :walks:rivers:
# a comment
{WORDS} See [[https://a.example][the map]].
#+BEGIN_SRC python
print(1)
#+END_SRC
* Only for me :noexport:
Nobody reads this.
"""
ADOC = f"""= On walking
Ada Lovelace
2020-03-05
:tags: walks, rivers

{WORDS} See https://a.example[the map].

// a comment
[source,python]
----
print(1)
----
"""
TEXTILE = f"""h1. On walking

{WORDS} See "the map":https://a.example.
"""
DJOT = f"""# On walking

{{% a comment %}}
{WORDS} See [the map](https://a.example).
"""


def read(text: str | bytes, name: str) -> Post:
    return read_post(text if isinstance(text, bytes) else text.encode(), source_id=name)


def build_notebook(*cells: tuple[str, str], **metadata: object) -> str:
    raw_cells = [{"cell_type": kind, "source": text.splitlines(True)} for kind, text in cells]
    return json.dumps({"cells": raw_cells, "metadata": metadata, "nbformat": 4})


def build_pdf(*lines: str, author: str = "") -> bytes:
    """Build a PDF of one page with these lines."""
    operators = " ".join(f"({line}) Tj T*" for line in lines)
    stream = f"BT /F1 10 Tf 14 TL 50 800 Td {operators} ET"
    parts = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
        "/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        f"<</Title(On walking)/Author({author})/CreationDate(D:20200305102000Z)>>",
    ]
    body, offsets = "%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj{part}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        f"{body}xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}"
        f"trailer<</Size {len(parts) + 1}/Root 1 0 R/Info 6 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    ).encode("latin-1")


@with_pandoc
@pytest.mark.parametrize(
    ("text", "name", "tag_count"),
    [
        (RST, "a.rst", 2),
        (ORG, "a.org", 2),
        (ADOC, "a.adoc", 2),
        (TEXTILE, "a.textile", 0),
        (DJOT, "a.dj", 0),
    ],
)
def test_a_text_format_becomes_markdown(text: str, name: str, tag_count: int) -> None:
    post = read(text, name)
    assert (post.title, post.markup) == ("On walking", "markdown")
    assert f"{WORDS} See [the map](https://a.example)." in post.text
    assert ("print(1)" in post.text) == bool(tag_count)
    assert "comment" not in post.text
    assert "Nobody reads this" not in post.text
    assert post.tags == ["walks", "rivers"][:tag_count]
    date = f"{post.created_at:%F}" if post.created_at else ""
    assert date == ("2020-03-05" if tag_count else "")


@with_pandoc
@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("a.adoc", "Read https://x.org[Node.js guide].", "[Node.js guide](https://x.org)"),
        ("a.adoc", "link:/c[the C# book, 2nd ed.]", "[the C# book, 2nd ed.](/c)"),
        ("a.adoc", 'https://x.org["100% of it", role=x]', "[100% of it](https://x.org)"),
        ("a.adoc", "https://x.org[v1.2,window=_blank]", "[v1.2](https://x.org)"),
        ("a.adoc", "https://x.org[why a=b by default]", "[why a=b by default](https://x.org)"),
        ("a.adoc", "xref:b.adoc[Post v1.2] ", "[Post v1.2](#b.adoc)"),
        ("a.adoc", ":d: https://x.org\n\n{d}/a[the docs]", "[the docs](https://x.org/a)"),
        ("a.adoc", "{base}/a/[the follow-up]", "the follow-up"),
        ("a.adoc", "----\nhttps://x.org[a.b c]\n----", "    https://x.org[a.b c]"),
        ("a.adoc", "a word{empty}footnote:[A note.] ends", "a word[^1] ends\n\n[^1]: A note."),
        ("a.adoc", "a\n\n:leveloffset: -1\n\ninclude::b.adoc[tag=c]\n\nd", "a\n\nd"),
        ("a.adoc", "a\n\n////\nno\n////\n\nifdef::x[]\nb\nendif::[]\n\nc", "a\n\nb\n\nc"),
        ("a.adoc", "----\na\n////\nb\n////\n----", "    a\n    ////\n    b\n    ////"),
        ("a.adoc", "Java EE 7\n---------\nSome text.", "# Java EE 7\n\nSome text."),
        ("a.adoc", "Some text that is long.\n---", "Some text that is long."),
        ("a.adoc", "|===\n|Name |Link\n\n|Lofthouse|https://x.org[a]\n|===", "| Lofthouse | [a]"),
        ("a.adoc", "[source,ruby]\n--\nputs 1\n\nputs 2\n--", "``` ruby\nputs 1\n\nputs 2\n```"),
        ("a.adoc", "|===\n| a\na| * b\n* c\n|===", "<li><p>b</p></li>\n<li><p>c</p></li>"),
        (
            "a.rst",
            "See :doc:`our *first*\npost </a/b>` and :ref:`more <c>`.",
            "See our \\*first\\* post and more.",
        ),
        ("a.rst", "See :doc:`/a/b`.", "See `/a/b`."),
        ("a.rst", "``:doc:`a <b>` or``", "`` :doc:`a <b>` or ``"),
        ("a.rst", "So::\n\n  x\n\n  :doc:`a <b>`\n", "    :doc:`a <b>`"),
        ("a.rst", ".. note::\n\n   See :doc:`a post <b>`.\n", "See a post."),
        ("a.org", "a claim [cite/t:@k p. 3] and =[cite:@k]=", "a claim and `[cite:@k]`"),
        ("a.org", "a word[fn:b] ends\n\n[fn:b]: A note.", "a word[^1] ends\n\n[^1]: A note."),
        ("a.org", "#+begin_src c\n[fn:b]: c\n#+end_src", "[fn:b]: c"),
        ("a.org", "the name my_long_name of a^2", "the name my_long_name of a^2"),
    ],
)
def test_no_word_of_a_link_or_name_is_lost(name: str, line: str, expected: str) -> None:
    title_marks = {"a.adoc": "=", "a.org": "#+TITLE:", "a.rst": ":title:"}
    head = f"{title_marks[name]} On walking"
    assert expected in read(f"{head}\n\n{WORDS}\n\n{line}\n", name).text


@with_pandoc
def test_a_post_whose_words_its_conversion_loses_is_put_aside() -> None:
    link = "https://x.org[E=mc is what he wrote in all letters of his last years at home]"
    with pytest.raises(UnreadablePostError, match="words_changed"):
        read(f"= On walking\n\n{WORDS}\n\n{link}\n", "a.adoc")


@with_pandoc
@pytest.mark.parametrize(
    "head",
    [
        "Ada Lovelace\n2020-03-05\n:jbake-status: published",
        "Ada Lovelace <a@a.example>\nMarch 5, 2020\n:tags: a, b",
        "Ada Lovelace\nv1.2, 2020-03-05: the second draft\n:tags: a, b",
        "// a comment\nAda Lovelace\n2020-03-05\n:jbake-tags: a, b\n:idprefix:",
        ":author: Ada Lovelace\n:revdate: 2020-03-05",
        ":jbake-author: Ada Lovelace\n:jbake-date: 2020-03-05",
    ],
)
def test_the_header_of_an_asciidoc_page_is_no_text(head: str) -> None:
    post = read(f"= On walking\n{head}\n\n{WORDS}\n", "a.adoc")
    assert (post.title, post.author, post.text) == ("On walking", "Ada Lovelace", f"{WORDS}\n")
    assert (f"{post.local_time:%F}", post.kind) == ("2020-03-05", "post")
    hidden = read(f"= On walking\n{head}\n:jbake-status: draft\n\n{WORDS}\n", "a.adoc")
    assert (hidden.kind, hidden.text) == ("draft", post.text)


@with_pandoc
def test_a_paragraph_below_the_title_of_an_asciidoc_page_is_text() -> None:
    post = read(f"= On walking\n{WORDS} And more,\nof the same kind\n\n{WORDS}\n", "a.adoc")
    assert (post.author, post.text) == ("", f"{WORDS} And more, of the same kind\n\n{WORDS}\n")


@with_pandoc
def test_every_author_of_an_asciidoc_page_is_named() -> None:
    names = "Ada Lovelace <ada@a.example>; Mary Somerville"
    post = read(ADOC.replace("Ada Lovelace", names), "a.adoc")
    assert post.author == "Ada Lovelace, Mary Somerville"


@with_pandoc
@pytest.mark.parametrize("suffix", ["docx", "odt"])
def test_a_word_processor_document_is_read(suffix: str, tmp_path: Path) -> None:
    pypandoc = import_module("pypandoc")
    path = tmp_path / f"a walk.{suffix}"
    text = f"---\ntitle: On walking\n---\n\n# By the river\n\n{WORDS} It is *old*.\n"
    subprocess.run(
        [pypandoc.get_pandoc_path(), "-f", "markdown", "-o", str(path)],
        input=text.encode(),
        env={"SOURCE_DATE_EPOCH": "1583403600"},
        check=True,
    )
    post = read(path.read_bytes(), path.name)
    assert post.title == "On walking"
    assert f"{WORDS} It is *old*." in post.text
    assert f"{post.created_at:%F}" == "2020-03-05"
    assert [post.source_id for post in scan_source(tmp_path).posts] == [path.name]
    assert take_inventory([path]).layouts == ["file"]


@with_pandoc
@pytest.mark.parametrize(
    ("name", "lines", "day"),
    [
        ("a.docx", [], "2020-03-05"),
        ("2019-01-02 a.docx", [], "2019-01-02"),
        ("2019-01-02 a.odt", [], "2019-01-02"),
        ("2019-01-02 a.odt", ["Title: A", "Date: 2018-03-04", ""], "2018-03-04"),
    ],
)
def test_the_creation_of_a_document_dates_it_if_nothing_else_does(
    name: str, lines: list[str], day: str
) -> None:
    body = build_document(name.rpartition(".")[2], [*lines, WORDS], {"title": "A"})
    assert f"{read(body, name).local_time:%F}" == day


@with_pandoc
def test_fields_of_ablog_date_and_sign_a_post_and_are_no_text() -> None:
    post = read(
        ".. post:: June 12, 2020\n   :tags: walks\n   :author: Ann Lee\n   :location: Here\n\n"
        f".. meta::\n   :description lang=en:\n      Nobody reads this\n\nA day\n=====\n\n{WORDS}",
        "a.rst",
    )
    assert (post.title, post.author, post.tags) == ("A day", "Ann Lee", ["walks"])
    assert f"{post.created_at:%F}" == "2020-06-12"
    assert post.text.strip() == WORDS


@with_pandoc
@pytest.mark.parametrize("name", ["a.docx", "a.odt"])
def test_a_file_that_does_not_match_its_suffix_is_rejected(name: str) -> None:
    with pytest.raises(UnreadablePostError, match="not_its_format"):
        read(b"PK\x03\x04 no zip after all", name)


@with_pandoc
def test_a_file_cannot_include_another(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret words")
    text = f"{WORDS}\n\n.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n"
    try:
        result = read(text, "a.rst").text
    except UnreadablePostError as error:
        result = error.reason
    assert "the secret words" not in result


@with_pypdf
def test_the_text_of_a_pdf_is_read(tmp_path: Path) -> None:
    body = build_pdf(
        "Along the river it went for an hour, and on the other",
        "bank stood the old wil-",
        "lows. Then it rained.",
        "The next day was dry and the paths were full of peo-",
        "ple with dogs.",
    )
    post = read(body, "a.pdf")
    assert (post.title, f"{post.created_at:%F}") == ("On walking", "2020-03-05")
    assert "on the other bank stood the old willows. Then it rained." in post.text
    assert "people with dogs." in post.text
    (tmp_path / "a.pdf").write_bytes(body)
    assert [post.source_id for post in scan_source(tmp_path).posts] == ["a.pdf"]
    (tmp_path / "b.md").write_text(WORDS)  # beside notes, a PDF counts as a work by others
    assert [post.source_id for post in scan_source(tmp_path).posts] == ["b.md"]


@with_pypdf
@pytest.mark.parametrize("body", [b"%PDF-1.4 and no more", b"no PDF", build_pdf()[:400]])
def test_a_damaged_pdf_is_rejected(body: bytes) -> None:
    with pytest.raises(UnreadablePostError) as excinfo:
        read(body, "a.pdf")
    assert excinfo.value.reason in {"not_its_format", "empty"}


def test_a_notebook_is_read_cell_by_cell() -> None:
    text = build_notebook(
        ("markdown", f"# On walking\n\n{WORDS}"),
        ("code", "print(1)"),
        ("code", ""),
        ("markdown", "The end."),
        kernelspec={"language": "julia"},
    )
    post = read(text, "2020-03-05-a.ipynb")
    assert (post.title, f"{post.created_at:%F}") == ("On walking", "2020-03-05")
    assert post.text == f"# On walking\n\n{WORDS}\n\n```julia\nprint(1)\n```\n\nThe end.\n"


def test_a_notebook_has_front_matter_and_hidden_cells() -> None:
    draft = build_notebook(("raw", "---\ntitle: A\ndraft: true\n---"), ("markdown", WORDS))
    assert read(draft, "a.ipynb").kind == "draft"
    document = json.loads(build_notebook(("markdown", WORDS), ("markdown", "Not for you.")))
    document["cells"][1]["metadata"] = {"tags": ["remove_cell"]}
    assert read(json.dumps(document), "a.ipynb").text == f"{WORDS}\n"


@pytest.mark.parametrize("summary", ["", "> A summary.\n", "> A summary.\n\n"])
def test_the_head_of_fastpages_is_read(summary: str) -> None:
    fields = "- toc: true\n- author: Ada Lovelace\n- categories: [a, b]\n"
    head = f'# "On walking: a day"\n{summary}{fields}'
    post = read(build_notebook(("markdown", head), ("markdown", WORDS)), "2020-03-05-a.ipynb")
    assert (post.title, post.author) == ("On walking: a day", "Ada Lovelace")
    assert post.tags == ["a", "b"]
    assert post.text.removeprefix("> A summary.").strip() == WORDS
    hidden = build_notebook(("markdown", f"{head}- hide: true\n\nMore."), ("markdown", WORDS))
    with pytest.raises(UnreadablePostError, match="unlisted"):
        read(hidden, "2020-03-05-a.ipynb")
    plain = build_notebook(("markdown", f"# On walking\n\n- the first: a tree\n- {WORDS}"))
    assert "- the first: a tree" in read(plain, "a.ipynb").text


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"cells": 1}', '{"cells": [1]}'])
def test_invalid_notebooks_are_rejected(text: str) -> None:
    with pytest.raises(UnreadablePostError, match="not_its_format"):
        read(text, "a.ipynb")


def test_quarto_and_plain_text_are_read() -> None:
    quarto_post = read(f"---\ntitle: A\ndate: 2020-03-05\n---\n{WORDS}\n", "a.qmd")
    assert (quarto_post.title, quarto_post.markup) == ("A", "markdown")
    assert f"{quarto_post.created_at:%F}" == "2020-03-05"
    plain_post = read(f"{WORDS}\n\n# no heading\n", "2020-03-05 a walk.txt")
    assert (plain_post.title, plain_post.markup) == ("A walk", "text")
    assert plain_post.text == f"{WORDS}\n\n# no heading\n"
    assert read("川沿いを一時間ほど歩いた。向こう岸には古い柳が立っていた。\n", "a.txt").text


@pytest.mark.parametrize("text", ["alpha\nbeta\ngamma\n", "1 2 3 4 5\n" * 9, "a,b,c,d\n" * 9])
def test_a_list_in_plain_text_is_not_a_post(text: str) -> None:
    with pytest.raises(UnreadablePostError, match="not_prose"):
        read(text, "a.txt")


def test_the_layout_determines_which_formats_are_posts(tmp_path: Path) -> None:
    for name in ("a.md", "b.qmd", "c.txt", "d.ipynb", "robots.txt", "requirements.txt"):
        (tmp_path / name).write_text(WORDS)
    assert [post.source_id for post in scan_source(tmp_path).posts] == [
        "a.md",
        "b.qmd",
        "c.txt",
        "d.ipynb",
    ]
    (tmp_path / "_posts").mkdir()
    (tmp_path / "_posts" / "2020-01-01-a.txt").write_text(WORDS)
    (tmp_path / "_posts" / "2020-01-01-a.md").write_text(WORDS)
    assert [post.source_id for post in scan_source(tmp_path).posts] == ["_posts/2020-01-01-a.md"]


@with_pandoc
def test_a_pelican_site_has_restructuredtext_posts(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "a.rst").write_text(RST)
    (tmp_path / "content" / "b.md").write_text(f"Title: B\nDate: 2020-01-02\n\n{WORDS}\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "base.html").write_text("{% block a %}{% endblock %}")
    (tmp_path / "pelicanconf.py").write_text("AUTHOR = 'Ada'\n")
    folder = scan_source(tmp_path)
    assert folder.layout == "pelican"
    assert [post.source_id for post in folder.posts] == ["content/a.rst", "content/b.md"]


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("pypandoc", "pypdf"):
        monkeypatch.setitem(sys.modules, name, None)
    text_formats._find_pandoc_path.cache_clear()
    yield
    text_formats._find_pandoc_path.cache_clear()


@pytest.mark.usefixtures("without_extra")
def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.rst").write_text(RST)
    (tmp_path / "b.pdf").write_bytes(build_pdf("Words."))
    with pytest.raises(TwinError, match="1 × pdf file, 1 × rst file") as excinfo:
        take_inventory([tmp_path])
    assert EXTRA in excinfo.value.next_step
    with pytest.raises(TwinError) as excinfo:
        scan_source(tmp_path / "a.rst")
    assert EXTRA in excinfo.value.next_step


@with_pandoc
@pytest.mark.parametrize("suffix", ["docx", "odt"])
@pytest.mark.parametrize(
    ("creator", "byline"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("O'Brien & Söhne", "O'Brien & Söhne"),
        ("Ada Lovelace;Mary Somerville", "Ada Lovelace, Mary Somerville"),
        ("Microsoft Office User", ""),
        ("Windows-Benutzer", ""),
        ("python-docx", ""),
        ("", ""),
    ],
)
def test_the_creator_of_a_document_is_its_byline(suffix: str, creator: str, byline: str) -> None:
    properties = {"title": "On walking", "author": creator}
    post = read(build_document(suffix, [WORDS], properties), f"a.{suffix}")
    assert (post.author, post.byline) == (byline, "front matter" if byline else "")


@with_pandoc
def test_a_byline_in_the_text_overrides_the_file_properties() -> None:
    lines = ["---", "author: Ada Lovelace", "---", "", WORDS]
    body = build_document("docx", lines, {"author": "Somebody Else"})
    assert read(body, "a.docx").author == "Ada Lovelace"


@with_pypdf
@pytest.mark.parametrize(
    ("author", "byline"), [("Ada Lovelace", "Ada Lovelace"), ("", ""), ("Windows User", "")]
)
def test_the_author_of_a_pdf_is_its_byline(author: str, byline: str) -> None:
    assert read(build_pdf(WORDS, author=author), "a.pdf").author == byline
