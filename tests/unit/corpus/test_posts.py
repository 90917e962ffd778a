"""Test reading a post from one file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import (
    hash_content,
    read_post,
    split_date_and_title,
)
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=6,
)


def test_a_page_bundle_is_named_by_its_folder() -> None:
    bundle = "posts/2020-02-03-my-trip/index.md"
    assert split_date_and_title(bundle) == ("2020-02-03", "My trip")
    assert split_date_and_title("index.md") == ("", "Index")
    assert split_date_and_title("2021-03-04 A walk.md") == ("2021-03-04", "A walk")
    assert split_date_and_title("2021-03-04.md") == ("2021-03-04", "2021-03-04")


def test_html_heads_give_title_date_address_and_byline() -> None:
    page = (
        '<html><head><title>Site: A page</title><meta name="Author" content="Ada L">'
        '<meta property="article:published_time" content="2020-05-06T07:08:09+02:00">'
        '<meta property="og:url" content="https://example.org/a"></head>'
        "<body><h1>A <em>page</em></h1><p>Text</p></body></html>"
    )
    post = read_post(page.encode(), source_id="a.html")
    assert (post.title, post.author, post.url) == ("A page", "Ada L", "https://example.org/a")
    assert post.created_at == datetime(2020, 5, 6, 5, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("", "<header><h1><a href='/'>A site</a></h1></header><h1>A page</h1>"),
        ("", "<h1>A site</h1><main><h1>A page</h1></main>"),
        ("<title>A page — A site</title>", "<h1>A site</h1><h1>A page</h1>"),
        ('<meta property="og:title" content="A page">', "<h1>A site</h1><h1>A page</h1>"),
        (
            '<meta property="og:title" content="A page"><meta property="og:site_name" '
            'content="A site">',
            "<h1>A site</h1><h2>A page</h2>",
        ),
        ("<title>A site: more</title>", "<h1><a id='a'></a>A page</h1>"),
        ("<title>A page</title>", "<svg><title>A drawing</title></svg>"),
    ],
)
def test_the_title_is_the_posts_and_not_the_sites(head: str, body: str) -> None:
    html = f"<html><head>{head}</head><body>{body}<p>{'Some words. ' * 20}</p></body></html>"
    assert read_post(html.encode(), source_id="a.html").title == "A page"


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("Ann&#39;s AT&amp;T", "Ann's AT&T"),
        ("A&nbsp;walk &#x2013; <em>R&amp;D</em>", "A walk – R&D"),
        ("Result&lt;T&gt; and `&lt;T&gt;`", "Result<T> and `&lt;T&gt;`"),
        ("Why ?a=1&copy=2 fails", "Why ?a=1&copy=2 fails"),
        ("The `<i>` and <i>I</i>", "The `<i>` and I"),
    ],
)
def test_a_title_has_no_html_outside_code(source: str, title: str) -> None:
    for text in (f'---\ntitle: "{source}"\n---\nText', f"# {source}\n\nText"):
        assert " ".join(read_post(text.encode(), source_id="a.md").title.split()) == title


def test_html_heads_give_language_canonical_address_and_last_change() -> None:
    body = (
        '<html lang="pt-BR"><head><link rel="alternate canonical" href="https://a.example/one">'
        '<meta name="date" content="2019-04-05">'
        '<meta property="article:modified_time" content="2020-01-02T00:00:00Z">'
        '<meta property="og:url" content="https://a.example/two"></head><p>Text</p></html>'
    )
    post = read_post(body.encode(), source_id="a.html")
    assert (post.url, post.language) == ("https://a.example/one", "pt-BR")
    assert post.created_at == datetime(2019, 4, 5, tzinfo=UTC)
    assert post.updated_at == datetime(2020, 1, 2, tzinfo=UTC)
    fragment = read_post(b"<p>Text</p>", source_id="a.html")
    assert (fragment.url, fragment.language, fragment.updated_at) == ("", "", None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"---\ntitle: only this\n---\n\n", "empty"),
        (b"text\x00text", "binary"),
        (b"\x81\x8d\x8f\x90\x9d" * 9, "not_utf8"),
        (b"\xff\xfe\x00", "not_utf8"),
        (b"---\ntitle: A\n\ntext", "broken_front_matter"),
        (b"x" * (MAX_POST_BYTES + 1), "too_large"),
    ],
)
def test_unreadable_posts_have_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadablePostError) as excinfo:
        read_post(body, source_id="a.md")
    assert excinfo.value.reason == reason


def test_equal_bodies_have_one_content_hash() -> None:
    assert hash_content("a  b\r\nc") == hash_content("a b c\n")
    assert hash_content("Jose\u0301") == hash_content("José")
    assert hash_content("a b") != hash_content("a c")


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)), st.booleans())
def test_any_bytes_give_a_post_or_a_reason(body: bytes, is_html: bool) -> None:
    name = "2020-01-01-a.html" if is_html else "a.md"
    try:
        post = read_post(body, source_id=name)
    except UnreadablePostError as error:
        reason = error.reason
    else:
        reason = ""
        assert post.title
        assert post.text.strip()
    assert reason in {"", "empty", "binary", "not_utf8", "broken_front_matter"}


@given(st.dictionaries(st.sampled_from(["title", "date", "tags", "author", "draft"]), ANY_VALUE))
def test_any_front_matter_gives_a_post_or_a_future_date(fields: dict[str, object]) -> None:
    body = f"---\n{yaml.safe_dump(fields, allow_unicode=True)}---\nText"
    reason, text = "", ""
    try:
        text = read_post(body.encode(), source_id="a.md").text
    except UnreadablePostError as error:
        reason = error.reason
    assert (reason, text) in {("", "Text"), ("not_yet_published", "")}
