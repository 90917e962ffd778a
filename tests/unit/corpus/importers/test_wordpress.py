"""Test WordPress exports: published posts with paragraphs and code, no comments or shortcodes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import RSS_TAIL, WXR_HEAD, build_item_xml
from twin_assets.corpus.importers import feed, wordpress
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import find_importer
from twin_assets.corpus.importers.record import ExportRecord
from twin_assets.corpus.importers.wordpress_text import convert_to_html


def read(text: str | bytes, folder: Path, *include: str) -> ImporterOutcomes:
    path = folder / "export.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_export(path, wordpress.IMPORTER, *include)


def test_a_published_post_becomes_a_record(tmp_path: Path) -> None:
    tags = (
        '<category domain="post_tag" nicename="c"><![CDATA[Clocks &amp; bells]]></category>'
        '<category domain="nav_menu" nicename="m"><![CDATA[Menu]]></category><plug:x>1</plug:x>'
    )
    record = read(WXR_HEAD + build_item_xml(5, extra_xml=tags) + RSS_TAIL, tmp_path).record
    assert (record.source_id, record.title) == ("blog.example/5", "Title & 5")
    assert (record.author, record.byline) == ("Ada L", "dc:creator")
    assert record.created_at == datetime(2023, 2, 9, 17, 5, 9, tzinfo=UTC)
    assert (record.url, record.language) == ("https://blog.example/5/", "en-US")
    assert record.tags == ("Clocks & bells",)
    assert "example.org" not in record.as_json()


@pytest.mark.parametrize(
    ("fields", "reason", "opt_in"),
    [
        ({"status": "draft"}, "draft", "drafts"),
        ({"status": "pending"}, "draft", "drafts"),
        ({"status": "future"}, "draft", "drafts"),
        ({"status": "of a plug-in"}, "draft", "drafts"),
        ({"status": "private"}, "private", "private"),
        ({"post_password": "open sesame"}, "private", "private"),
        ({"status": "trash"}, "trash", ""),
        ({"post_type": "page"}, "page", ""),
        ({"post_type": "attachment", "status": "inherit"}, "not_a_post", ""),
        ({"post_type": "nav_menu_item"}, "not_a_post", ""),
    ],
)
def test_non_public_items_are_skipped(
    fields: dict[str, str], reason: str, opt_in: str, tmp_path: Path
) -> None:
    text = WXR_HEAD + build_item_xml(1, **fields) + build_item_xml(2) + RSS_TAIL
    result = read(text, tmp_path)
    assert result.reason_counts == {reason: 1}
    assert list(result.records) == ["blog.example/2"]
    result = read(text, tmp_path, "drafts", "private", "followers", "paid", "replies")
    assert ("blog.example/1" in result.records) == bool(opt_in)
    if opt_in:
        assert result.records["blog.example/1"].visibility == "private"
        assert "blog.example/1" in read(text, tmp_path, opt_in).records


def test_comments_quotes_and_embedded_posts_are_not_imported(tmp_path: Path) -> None:
    comment = (
        "<wp:comment><wp:comment_id>7</wp:comment_id><wp:comment_author_email>x@example.org"
        "</wp:comment_author_email><wp:comment_content><![CDATA[HIS WORDS]]></wp:comment_content>"
        "</wp:comment>"
    )
    quote = '<category domain="post_format" nicename="post-format-quote"><![CDATA[Q]]></category>'
    embedded = (
        "<!-- wp:paragraph --><p>mine</p><!-- /wp:paragraph -->"
        '<!-- wp:embed {"url":"https://x"} --><figure class="wp-block-embed"><div>HIS WORDS</div>'
        "</figure><!-- /wp:embed -->"
        '<div class="wp-block-buttons"><a class="wp-block-button">SUBSCRIBE</a></div>'
    )
    text = (
        WXR_HEAD
        + build_item_xml(1, embedded, extra_xml=comment)
        + build_item_xml(2, "HIS WORDS", extra_xml=quote)
        + RSS_TAIL
    )
    result = read(text, tmp_path)
    assert result.record.text.strip() == "<p>mine</p>"
    assert result.reason_counts == {"comment": 1, "quote": 1}


def test_empty_lines_end_paragraphs_in_the_classic_editor() -> None:
    text = "One\nline.\r\n\r\nTwo <em>words</em>.\n<ul>\n<li>a</li>\n</ul>\nThree."
    assert convert_to_html(text) == (
        "<p>One<br />\nline.</p>\n<p>Two <em>words</em>.</p>\n"
        "<ul>\n<li>a</li>\n</ul>\n<p>Three.</p>"
    )
    assert convert_to_html("<!-- wp:paragraph -->\n<p>a</p>\n<!-- /wp:paragraph -->") == "<p>a</p>"
    assert convert_to_html("<pre>a\n\n  b</pre>") == "<pre>a\n\n  b</pre>"


def test_shortcodes_are_removed_and_other_brackets_kept() -> None:
    assert convert_to_html('see [1] and [sic] [gallery ids="1,2"] a[0] [x y] [foo bar="1"]') == (
        "<p>see [1] and [sic]  a[0] [x y]</p>"
    )
    assert (
        convert_to_html("[embed]https://x.example/1[/embed]mine[youtube https://y]")
        == "<p>mine</p>"
    )
    assert convert_to_html('[vc_row][vc_column_text css="x"]inner[/vc_column_text][/vc_row]') == (
        "<p>inner</p>"
    )
    assert convert_to_html('[caption id="a"]<img src="x" /> under it[/caption]').endswith(
        "under it</p>"
    )
    assert convert_to_html("write [[gallery]] so") == "<p>write [gallery] so</p>"


def test_code_is_kept_verbatim() -> None:
    html = convert_to_html(
        'before\n[code lang="python"]\nif a &lt; b:\n\n    x = "[gallery]"\n[/code]after'
    )
    assert html == (
        '<p>before</p>\n<pre><code class="language-python">if a &lt; b:\n\n    x = "[gallery]"'
        "</code></pre>\n<p>after</p>"
    )
    assert convert_to_html("[php]echo 1;[/php]") == (
        '<pre><code class="language-php">echo 1;</code></pre>'
    )
    assert convert_to_html("[code]never closed\n\nmore") == "<p>[code]never closed</p>\n<p>more</p>"
    assert convert_to_html("a <code>[gallery]</code> b") == "<p>a <code>[gallery]</code> b</p>"


def test_hostile_text_takes_linear_time() -> None:
    for piece in ("[code]", "<pre>", "<!-- wp:a ", '[a b="', "<p>", "[[", "\n\n", "[a b=c "):
        assert isinstance(convert_to_html(piece * (400_000 // len(piece))), str)


def test_reading_stops_at_damage_and_reports_it(tmp_path: Path) -> None:
    items = [build_item_xml(n, f"words {n}") for n in range(1, 6)]
    items[1] = items[1].replace("<wp:post_id>2</wp:post_id>", "")
    items[3] = items[3].replace("]]></content", "]]</content")  # the CDATA section does not end
    result = read(WXR_HEAD + "".join(items) + RSS_TAIL, tmp_path)
    assert [key[-1] for key in result.records] == ["1", "3"]
    assert result.skip_reasons == {"export.xml#2": "malformed_row", "export.xml": "torn"}
    for text in (
        WXR_HEAD + build_item_xml(1) + build_item_xml(2),
        WXR_HEAD + build_item_xml(1) + build_item_xml(2, "\udc80") + RSS_TAIL,
    ):
        result = read(text.encode("utf-8", "surrogateescape"), tmp_path)
        assert "blog.example/1" in result.records
        assert result.reason_counts == {"torn": 1}


def test_control_characters_are_tolerated(tmp_path: Path) -> None:
    result = read(WXR_HEAD + build_item_xml(1, "wo\x08rds &amp; \x0b") + RSS_TAIL, tmp_path)
    assert result.record.text == "<p>words &amp;</p>"


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    head = WXR_HEAD.replace("<rss", f"{doctype}<rss", 1)
    result = read(head + build_item_xml(1).replace("Title", "&a; &b;") + RSS_TAIL, tmp_path)
    assert "aaaa" not in repr(result)
    assert "root:" not in repr(result)


def test_a_damaged_export_is_not_imported_as_a_feed(tmp_path: Path) -> None:
    draft = build_item_xml(1, "SECRET", status="draft")
    path = tmp_path / "export.xml"
    path.write_text(WXR_HEAD + draft + RSS_TAIL)
    with open_archive(path) as archive:
        assert find_importer(archive) is wordpress.IMPORTER
    # The marks of WordPress are beyond the inspected bytes, but each entry is recognized.
    path.write_text("<rss><channel>" + "<!-- -->" * 20_000 + draft + RSS_TAIL)
    with open_archive(path) as archive:
        assert find_importer(archive) is feed.IMPORTER
        outcomes = list(feed.read(archive, include=frozenset({"drafts", "private"})))
    assert not [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]
