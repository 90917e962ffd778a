"""Test which files of a folder are posts."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder
from twin_assets.corpus.importers.folders import SourceScan, scan_source
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import Post, read_post
from twin_resources.errors import TwinError


def write_files(folder: Path, *names: str, text: str = "# A post\n\nText\n") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def list_ids(folder: Path) -> list[str]:
    return [post.source_id for post in scan_source(folder).posts]


def test_jekyll_posts_are_in_posts_folders(tmp_path: Path) -> None:
    write_files(
        tmp_path, "_posts/2020-01-01-a.md", "_drafts/b.md", "cooking/_posts/2020-01-02-c.html"
    )
    write_files(tmp_path, "about/index.md", "_site/2020/a.html", "_layouts/post.html", "README.md")
    (tmp_path / "_config.yml").write_text("url: https://a.example\ntimezone: Europe/Helsinki\n")
    folder = scan_source(tmp_path)
    assert folder.layout == "jekyll"
    assert list_ids(tmp_path) == [
        "_drafts/b.md",
        "_posts/2020-01-01-a.md",
        "cooking/_posts/2020-01-02-c.html",
    ]
    assert folder.skipped_counts == {
        "about the folder (README, LICENSE …)": 1,
        "page outside _posts": 1,
        "yml file": 1,
    }
    assert (folder.site.url, folder.site.timezone) == ("https://a.example", "Europe/Helsinki")


def test_hugo_posts_are_in_content(tmp_path: Path) -> None:
    write_files(
        tmp_path, "content/posts/a.md", "content/posts/b/index.md", "content/posts/_index.md"
    )
    write_files(tmp_path, "themes/x/README.md", "notes.md", "archetypes/default.md")
    (tmp_path / "hugo.toml").write_text('baseURL = "https://h.example/"\n')
    folder = scan_source(tmp_path)
    assert folder.layout == "hugo"
    assert list_ids(tmp_path) == ["content/posts/a.md", "content/posts/b/index.md"]
    assert folder.skipped_counts["section page (_index)"] == 1
    assert folder.skipped_counts["page outside content"] == 1
    assert folder.site.url == "https://h.example/"


def test_published_jekyll_collections_are_posts(tmp_path: Path) -> None:
    write_files(tmp_path, "_posts/2020-01-01-a.md", "_recipes/soup.md", "_private/x.md")
    text = "collections:\n  recipes: {output: true}\n  private: {output: false}\n"
    (tmp_path / "_config.yml").write_text(text)
    assert list_ids(tmp_path) == ["_posts/2020-01-01-a.md", "_recipes/soup.md"]
    assert scan_source(tmp_path).site.generator == "jekyll"


def test_a_page_bundle_of_hugo_is_one_post(tmp_path: Path) -> None:
    write_files(tmp_path, "content/posts/b/index.md", "content/posts/b/index.fr.md")
    write_files(tmp_path, "content/posts/b/notes.md", "content/posts/b/deep/more.md")
    write_files(tmp_path, "content/posts/_index.md", "content/posts/c.md", "content/posts/c.fr.md")
    write_files(tmp_path, "content/about/index.html", "content/index.md", "content/d.md")
    (tmp_path / "config" / "_default").mkdir(parents=True)
    (tmp_path / "config" / "_default" / "hugo.toml").write_text('languageCode = "en"\n')
    (tmp_path / "config" / "_default" / "languages.toml").write_text("[fr]\n[en]\n")
    folder = scan_source(tmp_path)
    assert folder.layout == "hugo"
    assert list_ids(tmp_path) == [
        "content/about/index.html",
        "content/d.md",
        "content/index.md",
        "content/posts/b/index.fr.md",
        "content/posts/b/index.md",
        "content/posts/c.fr.md",
        "content/posts/c.md",
    ]
    assert folder.skipped_counts["part of a page bundle"] == 2
    assert (folder.site.language, folder.site.languages) == ("en", ("en", "fr"))


def test_hugos_content_folder_may_be_configured(tmp_path: Path) -> None:
    write_files(tmp_path, "inhalt/a.md", "francais/b.md", "content/c.md")
    text = 'contentDir = "inhalt"\n[languages.fr]\ncontentDir = "francais"\n'
    (tmp_path / "hugo.toml").write_text(text)
    assert list_ids(tmp_path) == ["francais/b.md", "inhalt/a.md"]


def test_notes_exclude_files_about_the_folder(tmp_path: Path) -> None:
    write_files(tmp_path, "vim/swap.md", "git/security.md", "git/license-your-work.md", "x.HTM")
    write_files(tmp_path, "index.html")
    write_files(tmp_path, "LICENSE-NOTE.md", "README.md", "vim/readme.markdown", "CONTRIBUTING.md")
    write_files(
        tmp_path, "CODE_OF_CONDUCT.md", "LICENSE", "picture.png", ".obsidian/notes.md", ".hidden.md"
    )
    folder = scan_source(tmp_path)
    assert folder.layout == "notes"
    assert list_ids(tmp_path) == [
        "git/license-your-work.md",
        "git/security.md",
        "vim/swap.md",
        "x.HTM",
    ]
    assert folder.skipped_counts == {
        "about the folder (README, LICENSE …)": 6,
        "home page (index)": 1,
        "png file": 1,
    }


HEAD = "---\ntitle: A\npubDate: 2020-01-02\n---\n\nText\n"


def test_posts_of_other_generators_begin_with_front_matter(tmp_path: Path) -> None:
    write_files(tmp_path, "src/content/blog/a.md", "src/content/blog/b.mdx", text=HEAD)
    write_files(tmp_path, "src/content/blog/2020-01-02-c.md", "docs/how-to.md", "src/pages/x.html")
    write_files(tmp_path, "astro.config.mjs", "package.json", "src/templates/post.md")
    folder = scan_source(tmp_path)
    assert folder.layout == "blog"
    assert list_ids(tmp_path) == [
        "src/content/blog/2020-01-02-c.md",
        "src/content/blog/a.md",
        "src/content/blog/b.mdx",
    ]
    assert folder.skipped_counts == {
        "json file": 1,
        "mjs file": 1,
        "page without front matter": 2,
        "template": 1,
    }


def test_notes_beside_a_program_are_notes(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md", "b.md", "package.json")
    write_files(tmp_path, "c.md", text=HEAD)
    assert scan_source(tmp_path).layout == "notes"
    assert list_ids(tmp_path) == ["a.md", "b.md", "c.md"]


def test_only_the_blog_of_docusaurus_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, "blog/2020-01-02-a.md", "docs/intro.md", text=HEAD)
    write_files(tmp_path, "docusaurus.config.js")
    assert list_ids(tmp_path) == ["blog/2020-01-02-a.md"]
    assert scan_source(tmp_path).skipped_counts["page outside blog"] == 1


def test_a_posts_folder_may_be_imported_instead_of_its_site(tmp_path: Path) -> None:
    write_files(tmp_path, "_posts/2020-01-02-a.md", "_posts/deep/2020-01-03-b.md", "about.md")
    text = "url: https://a.example\ntimezone: Europe/Helsinki\n"
    (tmp_path / "_config.yml").write_text(text)
    site_folder, folder = scan_source(tmp_path), scan_source(tmp_path / "_posts")
    assert list_ids(tmp_path / "_posts") == ["2020-01-02-a.md", "deep/2020-01-03-b.md"]
    assert (folder.layout, folder.site.below) == ("jekyll", "_posts/")
    assert replace(folder.site, below="") == site_folder.site
    deep = scan_source(tmp_path / "_posts" / "deep")
    assert (deep.layout, deep.site.below) == ("jekyll", "_posts/deep/")


def test_a_hugo_content_folder_may_be_imported_instead_of_its_site(tmp_path: Path) -> None:
    write_files(
        tmp_path, "content/posts/a.md", "content/posts/_index.md", "content/posts/b/index.md"
    )
    write_files(tmp_path, "content/posts/b/part.md")
    (tmp_path / "hugo.toml").write_text('baseURL = "https://h.example/"\n')
    folder = scan_source(tmp_path / "content" / "posts")
    assert list_ids(tmp_path / "content" / "posts") == ["a.md", "b/index.md"]
    assert (folder.layout, folder.site.below) == ("hugo", "content/posts/")
    assert folder.site.url == "https://h.example/"
    write_files(tmp_path / "other", "content/a.md")
    assert scan_source(tmp_path / "other" / "content").layout == "notes"


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    write_files(tmp_path, "a post.md")
    folder = scan_source(tmp_path / "a post.md")
    assert (folder.layout, [post.source_id for post in folder.posts]) == ("file", ["a post.md"])


@pytest.mark.parametrize("name", ["missing", "picture.png"])
def test_other_paths_are_rejected(tmp_path: Path, name: str) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(TwinError, match="folder"):
        scan_source(tmp_path / name)


def test_names_are_the_same_on_every_machine(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "José 李.md")
    write_files(tmp_path, f"with spaces/{decomposed}")
    assert list_ids(tmp_path) == ["with spaces/José 李.md"]
    write_files(tmp_path, "with spaces/José 李.md")
    folder = scan_source(tmp_path)
    assert len(folder.posts) == 1
    assert folder.skipped_counts == {"same name in another Unicode form": 1}


def test_a_name_that_is_not_utf8_can_be_imported_and_stored(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.md"), "wb") as stream:  # noqa: PTH118, PTH123 - bytes
        stream.write(b"text")
    [post] = scan_source(tmp_path).posts
    assert post.source_id == "caf\\xe9.md"
    assert Path(post.location).read_bytes() == b"text"


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("private")
    posts = tmp_path / "posts"
    write_files(posts, "a.md", "more/b.md")
    (posts / "out.md").symlink_to(secret)
    (posts / "dangling.md").symlink_to(tmp_path / "nowhere.md")
    (posts / "loop.md").symlink_to(posts / "loop.md")
    (posts / "again").symlink_to(posts / "more")
    (posts / "same.md").symlink_to(posts / "a.md")
    folder = scan_source(posts)
    assert [post.source_id for post in folder.posts] == ["a.md", "more/b.md", "same.md"]
    assert folder.skipped_counts == {"link outside the folder": 3, "linked folder": 1}


def test_hashes_depend_on_the_bytes_not_the_modification_time(tmp_path: Path) -> None:
    write_files(tmp_path, "a.md", text="one")
    path = tmp_path / "a.md"
    first_hash, times = scan_source(tmp_path).posts[0].file_hash, path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scan_source(tmp_path).posts[0].file_hash != first_hash


def test_the_layouts_of_the_shared_folders_are_detected(shared_posts: Path) -> None:
    skeeto = scan_source(shared_posts / "skeeto")
    notes = scan_source(shared_posts / "jbranchaud-til")
    assert (skeeto.layout, len(skeeto.posts)) == ("jekyll", 461)
    assert (notes.layout, len(notes.posts)) == ("notes", 1871)
    assert sum(skeeto.skipped_counts.values()) == 3
    assert sum(notes.skipped_counts.values()) == 4


POST = "---\ntitle: A walk\ndate: 2020-03-05\n---\nAlong the river it went on for long.\n"


def test_a_hugo_site_in_a_larger_repository_is_found(tmp_path: Path) -> None:
    write_files(tmp_path, "site/content/posts/a.md", "site/content/posts/b.md", text=POST)
    write_files(
        tmp_path, "docs/usage.md", "docs/install.md", "README.md", "main.py", "site/README.md"
    )
    (tmp_path / "site" / "hugo.toml").write_text('baseURL = "https://h.example/"\n')
    (tmp_path / "config.toml").write_text("[server]\nport = 1\n")
    folder = scan_source(tmp_path)
    assert (folder.layout, folder.site.within) == ("hugo", "site/")
    assert list_ids(tmp_path) == ["site/content/posts/a.md", "site/content/posts/b.md"]
    assert folder.skipped_counts["page outside the site"] == 2
    post = read_from(folder, folder.posts[0].source_id)
    assert post.url == "https://h.example/posts/a/"


def test_a_jekyll_blog_in_a_larger_repository_is_found(tmp_path: Path) -> None:
    write_files(tmp_path, "blog/_posts/2020-03-05-a.md", "blog/_posts/2020-03-06-b.md", text=POST)
    write_files(tmp_path, "blog/about.md", "docs/usage.md", "app/_config.yml")
    (tmp_path / "_config.yml").write_text("theme: minima\n")
    (tmp_path / "blog" / "_config.yml").write_text("url: https://j.example\nlang: fi\n")
    folder = scan_source(tmp_path)
    assert (folder.layout, folder.site.url) == ("jekyll", "https://j.example")
    assert list_ids(tmp_path) == ["blog/_posts/2020-03-05-a.md", "blog/_posts/2020-03-06-b.md"]
    post = read_from(folder, folder.posts[0].source_id)
    assert (post.url, post.language) == ("https://j.example/2020/03/05/a.html", "fi")


def test_another_generators_site_in_a_larger_repository_is_found(tmp_path: Path) -> None:
    write_files(
        tmp_path, "apps/web/src/content/blog/a.md", "apps/web/src/content/blog/b.mdx", text=POST
    )
    write_files(
        tmp_path, "package.json", "packages/ui/README.md", "packages/ui/notes.md", text="{}"
    )
    write_files(tmp_path, "apps/web/astro.config.mjs", "examples/one/astro.config.mjs", text="")
    write_files(tmp_path, *(f"examples/one/blog/{number}.md" for number in range(5)), text=POST)
    assert scan_source(tmp_path).layout == "blog"
    assert list_ids(tmp_path) == [
        "apps/web/src/content/blog/a.md",
        "apps/web/src/content/blog/b.mdx",
    ]


@pytest.mark.parametrize(
    "other_files",
    [
        ["hugo.toml", "content/posts/c.md"],
        ["_posts/2020-01-01-c.md"],
        ["astro.config.mjs", "src/content/blog/c.md"],
    ],
)
def test_a_site_at_the_top_is_preferred(tmp_path: Path, other_files: list[str]) -> None:
    write_files(tmp_path, "site/hugo.toml", text="")
    write_files(
        tmp_path, "site/content/posts/a.md", "site/content/posts/b.md", *other_files, text=POST
    )
    folder = scan_source(tmp_path)
    assert folder.site.within == ""
    assert other_files[-1] in list_ids(tmp_path)


def test_a_programs_documentation_is_not_a_blog(tmp_path: Path) -> None:
    write_files(tmp_path, "docs/hugo.toml", text="")
    write_files(
        tmp_path, "docs/content/guide/a.md", "docs/content/guide/b.md", "notes.md", text=POST
    )
    assert scan_source(tmp_path).site.within == ""


def write_eleventy_site(folder: Path, data_files: Mapping[str, str]) -> SourceScan:
    """Write and scan an 11ty site with two posts without front matter, and data files."""
    write_files(folder, "eleventy.config.js", text="")
    write_files(
        folder, "posts/a.md", "posts/deep/b.md", text="Along the river it went on for long.\n"
    )
    write_files(
        folder, "posts/c.md", text="---\ntags: [boats]\ndraft: false\ntitle: C\n---\nWords.\n"
    )
    write_folder(data_files, folder)
    return scan_source(folder)


def read_from(folder: SourceScan, source_id: str) -> Post:
    file = next(post for post in folder.posts if post.source_id == source_id)
    return read_post(file.read()[0], source_id=source_id, site=folder.site)


@pytest.mark.parametrize("name", ["posts/posts.json", "posts/posts.11tydata.json"])
def test_a_data_file_gives_front_matter_to_all_posts_of_its_folder(
    tmp_path: Path, name: str
) -> None:
    data = '{"draft": true, "date": "2020-03-05", "tags": ["walks"], "author": "Ada Lovelace"}'
    folder = write_eleventy_site(tmp_path, {name: data})
    assert folder.layout == "blog"
    assert list_ids(tmp_path) == ["posts/a.md", "posts/c.md", "posts/deep/b.md"]
    for source_id in ("posts/a.md", "posts/deep/b.md"):
        post = read_from(folder, source_id)
        assert (post.kind, post.author, post.tags) == ("draft", "Ada Lovelace", ["walks"])
        assert f"{post.created_at:%F}" == "2020-03-05"
    post = read_from(folder, "posts/c.md")
    assert (post.kind, post.tags, post.title) == ("post", ["walks", "boats"], "C")


def test_the_nearer_data_file_takes_precedence(tmp_path: Path) -> None:
    folder = write_eleventy_site(
        tmp_path,
        {
            "posts/posts.json": '{"draft": true, "lang": "de"}',
            "posts/deep/deep.json": '{"draft": false}',
            "posts/a.11tydata.json": '{"private": true}',
            "posts/other.json": '{"draft": true}',
        },
    )
    assert read_from(folder, "posts/deep/b.md").kind == "note"
    assert read_from(folder, "posts/deep/b.md").language == "de"
    assert read_from(folder, "posts/a.md").visibility == "private"


def test_a_data_file_may_set_permalinks(tmp_path: Path) -> None:
    folder = write_eleventy_site(
        tmp_path, {"posts/posts.json": '{"permalink": false, "title": "T"}'}
    )
    with pytest.raises(UnreadablePostError, match="not_published"):
        read_from(folder, "posts/a.md")
    template = '{"permalink": "/b/{{ page.fileSlug }}/"}'
    folder = write_eleventy_site(tmp_path, {"posts/posts.json": template})
    assert read_from(folder, "posts/a.md").url == ""


@pytest.mark.parametrize("content", ["{", "[1]", '{"draft": true'])
def test_an_unreadable_data_file_excludes_its_folder(tmp_path: Path, content: str) -> None:
    folder = write_eleventy_site(tmp_path, {"posts/posts.json": content})
    with pytest.raises(UnreadablePostError, match="broken_front_matter"):
        read_from(folder, "posts/a.md")


def test_json_beside_notes_is_not_a_data_file(tmp_path: Path) -> None:
    write_files(tmp_path, "posts/a.md", "b.md")
    write_files(tmp_path, "posts/posts.json", text='{"draft": true}')
    assert scan_source(tmp_path).site.data == ()
    write_files(tmp_path, "posts/posts.11tydata.json", text='{"draft": true}')
    assert read_from(scan_source(tmp_path), "posts/a.md").kind == "draft"
    assert read_from(scan_source(tmp_path / "posts"), "a.md").kind == "draft"


JEKYLL_DEFAULTS = {
    "all posts": "defaults: [{scope: {path: ''}, values: {published: false}}]",
    "of the type": "defaults: [{scope: {path: '', type: posts}, values: {published: false}}]",
    "of the folder": "defaults: [{scope: {path: _posts}, values: {published: false}}]",
    "by a pattern": "defaults: [{scope: {path: '_posts/*walk.md'}, values: {published: no}}]",
    "an unprinted collection": "collections: {posts: {output: false}}",
    "the nearer": (
        "defaults: [{scope: {path: _posts}, values: {published: false}},"
        " {scope: {path: ''}, values: {published: true}}]"
    ),
}
OTHER_JEKYLL_DEFAULTS = {
    "another type": "defaults: [{scope: {path: '', type: pages}, values: {published: false}}]",
    "another folder": "defaults: [{scope: {path: old}, values: {published: false}}]",
    "another pattern": "defaults: [{scope: {path: '*/talk.md'}, values: {published: false}}]",
    "the nearer": (
        "defaults: [{scope: {path: '', type: posts}, values: {published: true}},"
        " {scope: {path: ''}, values: {published: false}}]"
    ),
    "nothing": "defaults:",
}


def list_outcomes(path: Path) -> list[str]:
    """Return for each post `draft`, its visibility, or the reason why it is not read."""
    outcomes: list[str] = []
    folder = scan_source(path)
    for file in folder.posts:
        try:
            post = read_from(folder, file.source_id)
            outcomes.append("draft" if post.kind == "draft" else post.visibility)
        except UnreadablePostError as error:
            outcomes.append(error.reason)
    return outcomes


@pytest.mark.parametrize(
    ("configuration", "kind"),
    [(text, "draft") for text in JEKYLL_DEFAULTS.values()]
    + [(text, "public") for text in OTHER_JEKYLL_DEFAULTS.values()],
)
def test_jekyll_defaults_hide_posts(tmp_path: Path, configuration: str, kind: str) -> None:
    write_files(tmp_path, "_config.yml", text=configuration)
    write_files(
        tmp_path, "_posts/2012-02-03-walk.md", text="---\ntitle: A\n---\nAlong the river.\n"
    )
    assert list_outcomes(tmp_path) == [kind]
    assert list_outcomes(tmp_path / "_posts") == [kind]
    write_files(
        tmp_path, "_posts/2012-02-03-walk.md", text="---\npublished: true\n---\nAlong it.\n"
    )
    assert list_outcomes(tmp_path) == ["public"]


CASCADES = {
    "draft": "---\ncascade:\n  draft: true\n---\n",
    "not_published": "+++\n[[cascade]]\n[cascade.build]\nrender = 'never'\n+++\n",
    "unlisted": (
        "---\ncascade:\n- build: {list: never}\n  target: {path: '/blog/{deep,low}/**'}\n"
        "- build: {render: never}\n---\n"
    ),
    "public": (
        "---\ncascade:\n- {draft: true, _target: {kind: section}}\n"
        "- {draft: true, target: {path: /blog/*}}\n"
        "- {draft: true, target: {environment: staging}}\n---\n"
    ),
    "broken_front_matter": "---\ncascade: {draft: true}\n",
}


@pytest.mark.parametrize("kind", CASCADES)
def test_hugo_cascades_hide_posts(tmp_path: Path, kind: str) -> None:
    write_files(tmp_path, "hugo.toml", text="title = 'A'\n")
    write_files(tmp_path, "content/blog/_index.md", text=CASCADES[kind])
    write_files(
        tmp_path, "content/blog/deep/a/index.md", text="---\ntitle: A\n---\nAlong the river.\n"
    )
    write_files(tmp_path, "content/notes/b.md", text="---\ntitle: B\n---\nAlong the road.\n")
    assert list_outcomes(tmp_path) == [kind, "public"]
    assert list_outcomes(tmp_path / "content" / "blog" / "deep") == [kind]
    write_files(tmp_path, "content/blog/deep/_index.md", text="---\ncascade: {title: Deep}\n---\n")
    assert list_outcomes(tmp_path) == [kind, "public"]
    write_files(tmp_path, "content/blog/deep/_index.md", text="---\ncascade: {draft: false}\n---\n")
    assert (list_outcomes(tmp_path)[0] == "public") is (kind in {"draft", "public"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hugo.toml", "[[cascade]]\ndraft = true\n[cascade.target]\npath = '/blog/**'\n"),
        ("config/_default/cascade.toml", "draft = true\n[target]\npath = '/blog/**'\n"),
        ("config/_default/cascade.yaml", "cascade: [{draft: true, target: {path: '/blog/*'}}]"),
    ],
)
def test_a_cascade_in_the_configuration_hides_posts(tmp_path: Path, name: str, text: str) -> None:
    write_files(tmp_path, "hugo.toml", text="")
    write_files(tmp_path, name, text=text)
    write_files(
        tmp_path, "content/blog/a.md", "content/notes/b.md", text="---\ntitle: A\n---\nWords.\n"
    )
    assert list_outcomes(tmp_path) == ["draft", "public"]


def test_quarto_metadata_hides_a_folder(tmp_path: Path) -> None:
    write_files(tmp_path, "_quarto.yml", "posts/_metadata.yml", text="draft: true\n")
    write_files(tmp_path, "posts/a.md", "b.md", text="---\ntitle: A\n---\nAlong the river.\n")
    assert list_outcomes(tmp_path) == ["public", "draft"]
