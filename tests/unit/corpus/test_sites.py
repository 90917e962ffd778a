"""Test Jekyll and Hugo sites: configuration, templates, languages, addresses, hidden posts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import Post, read_post
from twin_assets.corpus.importers.site import Site
from twin_assets.corpus.importers.site_configuration import read_site

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JEKYLL = Site(generator="jekyll")
HUGO = Site(generator="hugo", languages=("de", "en", "fr"), language="en")


def read(text: str, *, source_id: str = "_posts/2020-01-01-a.md", site: Site = JEKYLL) -> Post:
    return read_post(text.encode(), source_id=source_id, site=site, now=NOW)


def read_rejection(text: str, *, site: Site = JEKYLL) -> str:
    with pytest.raises(UnreadablePostError) as excinfo:
        read(text, site=site)
    return excinfo.value.reason


def build_site(layout: str, files: Mapping[str, str]) -> Site:
    return read_site(files, lambda path: files[path].encode(), layout=layout)


def test_a_jekyll_configuration_is_read() -> None:
    text = (
        "url: https://a.example/\ntimezone: Europe/Helsinki\nlang: fi\nfuture: true\n"
        "collections:\n  recipes: {output: true}\n  drafts_of_mine: {output: false}\n  posts: {}\n"
    )
    site = build_site("jekyll", {"_config.yml": text})
    assert (site.url, site.timezone) == ("https://a.example/", "Europe/Helsinki")
    assert site.language == "fi"
    assert (site.generator, site.shows_future) == ("jekyll", True)
    assert site.folders == ("_recipes",)


@pytest.mark.parametrize(
    "files",
    [
        {"hugo.toml": 'baseURL = "https://h.example/"\n[languages.fr]\ncontentDir = "c/fr"\n'},
        {"config.yaml": "baseURL: https://h.example\nlanguages: {FR: {contentDir: c/fr}}\n"},
        {
            "hugo.json": '{"baseURL": "https://h.example",'
            ' "languages": {"fr": {"contentDir": "c/fr"}}}'
        },
        {
            "config/_default/hugo.toml": 'baseURL = "https://h.example/"\n',
            "config/_default/languages.toml": '[fr]\ncontentDir = "c/fr"\n',
        },
    ],
)
def test_hugo_configurations_are_read(files: dict[str, str]) -> None:
    site = build_site("hugo", files)
    assert (site.url.rstrip("/"), site.generator) == ("https://h.example", "hugo")
    assert site.languages == ("fr",)
    assert site.folders == ("c/fr", "content")


@pytest.mark.parametrize("text", ["[broken", "just words", "a: " + "[" * 3000, ""])
def test_a_broken_configuration_is_a_site_without_settings(text: str) -> None:
    assert build_site("jekyll", {"_config.yml": text}) == JEKYLL


def test_a_folder_of_notes_keeps_what_looks_like_templates() -> None:
    assert build_site("notes", {}) == Site()
    note = read("# A note\n\nWrite {{< ref x >}} or {% include y %}.\n", site=Site())
    assert "{{< ref x >}} or {% include y %}" in note.text


def test_template_tags_are_removed_according_to_the_generator() -> None:
    assert read("See [it]({% post_url a %}).\n").text == "See [it]().\n"
    assert read('See [it]({{< ref "a" >}}).\n', site=HUGO).text == "See [it]().\n"
    verbatim = read("---\nrender_with_liquid: false\n---\nWrite {{ x }}.\n")
    assert verbatim.text == "Write {{ x }}.\n"
    assert read_rejection("---\ntitle: A\n---\n{% include all.html %}\n") == "empty"


@pytest.mark.parametrize(
    ("text", "site", "reason"),
    [
        ("---\ndate: 2027-01-01\n---\nText\n", JEKYLL, "not_yet_published"),
        ("+++\ndate = 2027-01-01\n+++\nText\n", HUGO, "not_yet_published"),
        ("---\ndate: 2027-01-01\n---\nText\n", Site(), "not_yet_published"),
        ("---\ndate: 2020-01-01\npublishDate: 2027-01-01\n---\nText\n", HUGO, "not_yet_published"),
        ('{"date": "2020-01-01", "expiryDate": "2026-02-01"}\nText\n', HUGO, "expired"),
    ],
)
def test_unpublished_posts_are_rejected(text: str, site: Site, reason: str) -> None:
    assert read_rejection(text, site=site) == reason


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("---\ndate: 2027-01-01\n---\nText\n", Site(generator="jekyll", shows_future=True)),
        ("---\ndate: 2027-01-01\npublishDate: 2020-01-01\n---\nText\n", HUGO),
        ("---\nexpiryDate: 2026-02-01\n---\nText\n", Site(generator="hugo", shows_expired=True)),
        ("---\nexpiryDate: 2027-02-01\n---\nText\n", HUGO),
        ("---\ndate: 2026-03-01 11:59:00\n---\nText\n", JEKYLL),
    ],
)
def test_published_posts_are_read(text: str, site: Site) -> None:
    assert read(text, site=site).text == "Text\n"


@pytest.mark.parametrize(
    ("source_id", "language", "title"),
    [
        ("content/posts/my-day.fr.md", "fr", "My day"),
        ("content/posts/my-day/index.de.md", "de", "My day"),
        ("content/fr/my-day.md", "fr", "My day"),
        ("content/posts/my-day.md", "en", "My day"),
        ("content/posts/version-1.2.md", "en", "Version 1.2"),
        ("content/posts/2020-01-01-my-day.fr.md", "fr", "My day"),
    ],
)
def test_the_language_is_in_the_path(source_id: str, language: str, title: str) -> None:
    post = read("Text\n", source_id=source_id, site=HUGO)
    assert (post.language, post.title) == (language, title)
    explicit = read("---\nlang: nb\n---\nText\n", source_id=source_id, site=HUGO)
    assert explicit.language == "nb"


@pytest.mark.parametrize(
    ("permalink", "post_permalink", "expected"),
    [
        ("", "", "/a-b/2019/12/31/My-Post.html"),
        ("pretty", "", "/a-b/2019/12/31/My-Post/"),
        ("ordinal", "", "/a-b/2019/365/My-Post.html"),
        ("none", "", "/a-b/My-Post.html"),
        ("/blog/:year/:i_month/:slug/", "", "/blog/2019/12/my-post/"),
        ("/:title/", "/:short_year/:title", "/19/My-Post"),
        ("", "/kept/as/it/is", "/kept/as/it/is"),
        ("/:of_a_plugin/:title/", "", None),
        ("weekdate", "", None),
    ],
)
def test_jekyll_urls_are_built(permalink: str, post_permalink: str, expected: str | None) -> None:
    text = "url: https://a.example\nbaseurl: /me\ntimezone: America/New_York\n"
    site = build_site("jekyll", {"_config.yml": f"{text}permalink: {permalink}\n"})
    own_line = f"permalink: {post_permalink}\n" if post_permalink else ""
    head = f"date: 2020-01-01T03:00:00Z\ncategory: A b\n{own_line}"
    post = read(f"---\n{head}---\nText\n", source_id="_posts/2020-01-01-My-Post.md", site=site)
    assert post.url == ("" if expected is None else f"https://a.example/me{expected}")


@pytest.mark.parametrize(
    ("source_id", "head", "expected"),
    [
        ("content/posts/My Day.md", "", "/posts/my-day/"),
        ("content/posts/my-day/index.md", "", "/posts/my-day/"),
        ("content/posts/my-day.md", "slug: other", "/posts/other/"),
        ("content/posts/my-day.fr.md", "", "/fr/posts/my-day/"),
        ("content/posts/my-day.md", "url: /kept/", "/kept/"),
        ("content/posts/ä.md", "", "/posts/%C3%A4/"),
        ("content/index.md", "", "/"),
    ],
)
def test_hugo_urls_are_built(source_id: str, head: str, expected: str) -> None:
    text = 'baseURL = "https://h.example/x/"\ndefaultContentLanguage = "en"\n'
    site = build_site("hugo", {"hugo.toml": text + "[languages.en]\n[languages.fr]\n"})
    post = read(f"---\n{head or 'x: 1'}\n---\nText\n", source_id=source_id, site=site)
    assert post.url == f"https://h.example/x{expected}"
    other_site = build_site("hugo", {"hugo.toml": text + '[permalinks]\nposts = "/:year/"\n'})
    assert (
        not head
        or head.startswith("url")
        or not read("Text", source_id=source_id, site=other_site).url
    )


def test_posts_named_without_their_site_have_its_addresses() -> None:
    site = replace(
        build_site("jekyll", {"_config.yml": "url: https://a.example\n"}), below="_posts/"
    )
    post = read("See [it]({% post_url a %}).\n", source_id="2020-01-02-a.md", site=site)
    assert (post.url, post.text) == ("https://a.example/2020/01/02/a.html", "See [it]().\n")


def test_a_site_without_an_address_has_no_post_addresses() -> None:
    assert read("Text\n").url == ""
    assert read("Text\n", source_id="content/a.md", site=HUGO).url == ""
