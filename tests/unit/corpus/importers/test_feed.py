"""Test feeds: complete entries, teasers, damage, and comments and drafts, which are skipped."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import FEED_HEAD, RSS_TAIL, build_content, build_item
from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import open_archive

LONG = "<p>" + "These are words of a whole post. " * 20 + "</p>"


def build_description(html: str) -> str:
    return f"<description><![CDATA[{html}]]></description>"


def read(text: str | bytes, folder: Path, *include: str) -> ImporterOutcomes:
    path = folder / "feed.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_export(path, feed.IMPORTER, *include)


def test_an_rss_entry_becomes_a_record(tmp_path: Path) -> None:
    footer = '<p>The post <a href="x">T</a> appeared first on <a href="y">Blog</a>.</p>'
    entry_fields = (
        build_description("A teaser […]")
        + build_content(LONG + footer)
        + "<category>Clocks</category>"
    )
    record = read(FEED_HEAD + build_item(1, entry_fields) + RSS_TAIL, tmp_path).record
    assert (record.source_id, record.title) == ("blog.example/?p=1", "Title 1")
    assert (record.text, record.markup, record.kind) == (LONG, "html", "post")
    assert (record.author, record.byline) == ("Ada L", "channel")
    assert record.created_at == datetime(2023, 2, 9, 17, 5, 9, tzinfo=UTC)
    assert (record.language, record.tags) == ("en-gb", ("Clocks",))
    assert record.licence == "https://creativecommons.org/licenses/by/4.0/"
    assert "example.org" not in record.as_json()


def test_an_atom_entry_becomes_a_record(tmp_path: Path) -> None:
    text = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>B</title>
    <author><name>Ada</name><email>ada@example.org</email></author>
    <entry xml:lang="de"><id>tag:blog.example,2020:1</id><title type="text">A &lt; B</title>
    <link href="https://blog.example/1"/><author><name>Grace</name></author>
    <published>2020-01-02T03:04:05+01:00</published><updated>2020-01-03T03:04:05Z</updated>
    <summary>Short</summary><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">
    <p>Text <em>mine</em> &amp; more</p></div></content></entry></feed>"""
    record = read(text, tmp_path).record
    assert record.source_id == "tag:blog.example,2020:1"
    assert (record.title, record.author, record.byline) == ("A < B", "Grace", "entry")
    assert "<p>Text <em>mine</em> &amp; more</p>" in record.text
    assert record.created_at == datetime(2020, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert record.updated_at == datetime(2020, 1, 3, 3, 4, 5, tzinfo=UTC)
    assert record.language == "de"


def test_rss_1_with_a_declared_encoding_is_read(tmp_path: Path) -> None:
    text = """<?xml version="1.0" encoding="iso-8859-1"?><rdf:RDF
    xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
    <channel rdf:about="https://b.example/"><title>B</title><items><rdf:Seq/></items></channel>
    <item rdf:about="https://b.example/1"><title>Zürich</title><link>https://b.example/1</link>
    <description>&lt;p&gt;Schöne Grüße.&lt;/p&gt;</description></item></rdf:RDF>"""
    record = read(text.encode("iso-8859-1"), tmp_path).record
    assert (record.title, record.text) == ("Zürich", "<p>Schöne Grüße.</p>")


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [
        (build_content(LONG), True),
        (build_description(LONG), True),
        (build_description("<p>A short note, whole.</p>"), True),
        (build_description("Only what the post is about."), False),
        (build_description("<p>The beginning of something long […]</p>"), False),
        (build_description("<p>The beginning of something &#8230;</p>"), False),
        (build_content('<p>The beginning.</p><p><a href="x">Continue reading →</a></p>'), False),
        (build_content("<p>The end, as I said, and more...</p>"), True),
        (build_content("<p>I could not stop; I had to read more.</p>"), True),
    ],
)
def test_a_truncated_entry_is_counted(content: str, is_whole: bool, tmp_path: Path) -> None:
    result = read(FEED_HEAD + build_item(1, content) + RSS_TAIL, tmp_path)
    assert len(result.records) == is_whole
    assert result.reason_counts == ({} if is_whole else {"truncated": 1})


def test_a_note_without_a_title_is_not_a_teaser(tmp_path: Path) -> None:
    note = f"<item><guid>1</guid>{build_description('A note, all of it.')}</item>"
    record = read(FEED_HEAD + note + RSS_TAIL, tmp_path).record
    assert record.source_id == "blog.example/1"
    assert record.text == "A note, all of it."
    assert record.markup == "text"


def test_only_posts_of_a_blogger_export_are_imported(tmp_path: Path) -> None:
    kind = '<category scheme="http://schemas.google.com/g/2005#kind" term="{}#{}"/>'
    base = "http://schemas.google.com/blogger/2008/kind"

    def build_entry(number: int, word: str, extra_xml: str = "") -> str:
        return (
            f"<entry><id>tag:blogger.com,1999:{number}</id>{kind.format(base, word)}{extra_xml}"
            f"<title>T</title><content type='html'>&lt;p&gt;words {number}&lt;/p&gt;</content>"
            "</entry>"
        )

    draft = "<app:control><app:draft>yes</app:draft></app:control>"
    takeout = (
        "<entry><id>tag:blogger.com,1999:9</id><blogger:type>COMMENT</blogger:type>"
        "<content type='html'>HIS WORDS</content></entry>"
    )
    text = (
        "<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'"
        " xmlns:blogger='http://schemas.google.com/blogger/2018'"
        " xmlns:app='http://purl.org/atom/app#'><title>B</title>"
        + build_entry(1, "post")
        + build_entry(2, "comment")
        + build_entry(3, "settings")
        + build_entry(4, "post", draft)
        + build_entry(5, "page")
        + takeout
        + "</feed>"
    )
    result = read(text, tmp_path)
    assert result.record.source_id == "tag:blogger.com,1999:1"
    assert result.reason_counts == {"comment": 2, "not_a_post": 1, "draft": 1, "page": 1}
    assert "tag:blogger.com,1999:4" in read(text, tmp_path, "drafts").records
    files = {"Takeout/Blogger/Blogs/B/feed.atom": text, "Takeout/Blogger/Comments/feed.atom": text}
    folder = write_folder(files, tmp_path / "takeout")
    with open_archive(folder) as archive:
        assert feed.IMPORTER.find_files(archive)
        outcomes = list(feed.IMPORTER.read(archive, include=frozenset()))
    assert len(outcomes) == 6


def test_a_damaged_feed_is_read_up_to_the_damage(tmp_path: Path) -> None:
    entries = [build_item(n, build_content(f"<p>words {n}</p>")) for n in range(1, 8)]
    entries[5] = entries[5].replace("</guid>", "")
    text = FEED_HEAD + "".join(entries) + RSS_TAIL
    result = read(text, tmp_path)
    assert {"1", "3", "5", "7"} <= {key[-1] for key in result.records}
    assert result.skip_reasons["feed.xml"] == "malformed_row"
    result = read(text[: text.index("words 7")], tmp_path)
    assert result.skip_reasons["feed.xml"] == "torn"
    merged_entries = [*entries[:3], entries[3].replace("]]></content", "]]</content"), entries[4]]
    result = read(FEED_HEAD + "".join(merged_entries) + RSS_TAIL, tmp_path)
    assert sorted(key[-1] for key in result.records) == ["1", "2", "3"]
    assert result.skip_reasons == {"feed.xml#3": "malformed_row"}


def test_a_damaged_blogger_export_yields_no_record(tmp_path: Path) -> None:
    text = (
        "<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'"
        " xmlns:blogger='http://schemas.google.com/blogger/2018'><entry><id>tag:1</id><title>T"
        "</title><blogger:status>DRAFT</blogger:stat us><content>SECRET</content></entry></feed>"
    )
    result = read(text, tmp_path)
    assert (result.records, result.reason_counts) == ({}, {"malformed_row": 1})


def test_external_entities_are_not_read(tmp_path: Path) -> None:
    head = FEED_HEAD.replace("<rss", '<!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">]><rss')
    path = tmp_path / "feed.xml"
    path.write_text(head + build_item(1, build_description("<p>x &f;</p>")) + RSS_TAIL)
    with open_archive(path) as archive:
        assert "root:" not in repr([*feed.IMPORTER.read(archive, include=frozenset())])


@pytest.mark.parametrize("name", ["utf-16", "hex", "rot13", "no-such-codec", "utf-7"])
def test_a_feed_with_an_unusual_declared_encoding_is_read(name: str, tmp_path: Path) -> None:
    text = FEED_HEAD.replace("UTF-8", name) + build_item(1, build_content(LONG)) + RSS_TAIL
    path = tmp_path / "feed.xml"
    path.write_bytes(text.encode("utf-16" if name == "utf-16" else "utf-8"))
    assert read_export(path, feed.IMPORTER).record.text == LONG
