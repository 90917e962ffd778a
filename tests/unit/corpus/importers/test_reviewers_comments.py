"""Test that reviewers' comments and suggestions are removed from documents."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from importlib import import_module

import pytest

from twin_assets.corpus.html_cleaning import clean_html
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.importers.text_formats import is_readable

WORDS = "Along the river it went for an hour, and on the other bank stood the old willows."
with_pandoc = pytest.mark.skipif(not is_readable("rst"), reason="extra `formats` not installed")

GOOGLE_PAGE = f"""<html><body><p><span>{WORDS}</span><sup>
<a href="#cmnt1" id="cmnt_ref1">[a]</a></sup>
<span>Then it rained.</span><sup><a href="#cmnt2" id="cmnt_ref2">[b]</a></sup></p>
<div style="border:1px solid black;margin:5px"><p class="c3"><a href="#cmnt_ref1" id="cmnt1">[a]</a>
<span>Bob thinks that it was longer.</span></p><p>And wider.</p></div>
<div class="c1"><p><a href="#cmnt_ref2" id="cmnt2">[b]</a><span>Did it?</span></p></div>
</body></html>"""
WORD_PAGE = f"""<html><body><p>{WORDS}<span class=MsoCommentReference><a href="#_msocom_1">[B1]</a>
</span> Then it rained.</p><div style='mso-element:comment-list'><div style='mso-element:comment'>
<p class=MsoCommentText>Bob thinks that it was longer.</p></div></div></body></html>"""
GOOGLE_TEXT = f"""{WORDS}[a] Then it rained.[b]


[a]Bob thinks that it was longer.
And wider.
[b]Did it?
"""


@pytest.mark.parametrize("page", [GOOGLE_PAGE, WORD_PAGE], ids=["Google Docs", "Word"])
def test_comments_are_removed_from_a_page(page: str) -> None:
    post = read_post(page.encode(), source_id="a.html")
    text = clean_html(post.text)
    assert text.split() == f"{WORDS} Then it rained.".split()
    assert "Bob" not in post.text


@pytest.mark.parametrize("suffix", ["txt", "md"])
def test_comments_are_removed_from_a_text(suffix: str) -> None:
    assert read_post(GOOGLE_TEXT.encode(), source_id=f"a.{suffix}").text == (
        f"{WORDS} Then it rained.\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{WORDS} See [it][a].\n\n[a]: https://a.example\n",
        f"{WORDS}\n\n[a] is a letter of it.\n",
        f"{WORDS} So a[a] is.\n\n[a](https://a.example) is a link.\n",
    ],
)
def test_links_are_not_comments(text: str) -> None:
    assert read_post(text.encode(), source_id="a.md").text == text


@with_pandoc
@pytest.mark.parametrize(("editor", "is_kept"), [("Bob Lee", False), ("Ana Ruiz", True)])
def test_suggestions_by_others_are_not_imported(editor: str, *, is_kept: bool) -> None:
    date = 'date="2020-01-01T00:00:00Z"'
    markdown = (
        f"{WORDS} [A comment of Bob.]{{.comment-start id=1 author=Bob {date}}}Then"
        f'[]{{.comment-end id=1}} it [never]{{.insertion author="{editor}" {date}}} rained.\n'
    )
    pandoc = str(import_module("pypandoc").get_pandoc_path())
    document = subprocess.run(
        [pandoc, "-f", "markdown", "-t", "docx", "-o", "-", "-M", "author=Ana Ruiz"],
        input=markdown.encode(),
        capture_output=True,
        check=True,
    ).stdout
    assert re.search(rb"w:author=", zipfile.ZipFile(io.BytesIO(document)).read("word/document.xml"))
    text = read_post(document, source_id="a.docx").text
    assert ("never" in text, "comment of Bob" in text) == (is_kept, False)
    assert "rained" in text
