"""Test which posts a site's folder gives: their titles, days, addresses, and what hides them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.corpus.export_files import Files, write_folder
from twin_assets.corpus.importers.code_regions import split_code_regions
from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.importers.template_tags import remove_template_tags

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POST = "---\ntitle: A\ndate: 2020-03-05\n---\nWords.\n"
WORDS = "Along the river.\n"


def list_outcomes(folder: Path) -> dict[str, str]:
    """Return what each post becomes: `title day address language`, or why it is not public."""
    outcomes: dict[str, str] = {}
    scan = scan_source(folder)
    for file in scan.posts:
        try:
            post = read_post(file.read()[0], source_id=file.source_id, site=scan.site, now=NOW)
        except UnreadablePostError as error:
            outcomes[file.source_id] = error.reason
            continue
        day = f"{post.local_time:%F}" if post.local_time else ""
        parts = (post.title, day, post.url, post.language)
        public = " ".join(part for part in parts if part)
        is_public = post.visibility == "public"
        outcomes[file.source_id] = public if is_public else f"{post.kind} {post.visibility}"
    return outcomes


JEKYLL = "url: https://a.example\nbaseurl: /me\n"
HUGO = 'baseURL = "https://h.example/"\ndefaultContentLanguage = "en"\n[languages.fr]\n'
# Files of a folder, the imported folder in it, its layout, and what becomes of its posts.
SITES: dict[str, tuple[Files, str, str, dict[str, str]]] = {
    "Jekyll": (
        {
            "_config.yml": f"{JEKYLL}timezone: America/New_York\nlang: fi\n",
            "_posts/2020-01-01-My-Post.md": "---\ndate: 2020-01-01T03:00Z\ncategory: A b\n---\nx",
            "_posts/2027-01-01-b.md": WORDS,
            "cooking/_posts/2020-01-02-c.html": WORDS,
            "_drafts/d.md": WORDS,
            "about/index.md": WORDS,
            "_site/a.html": WORDS,
            "README.md": WORDS,
        },
        "",
        "jekyll",
        {
            "_drafts/d.md": "draft private",
            "_posts/2020-01-01-My-Post.md": "My Post 2019-12-31 "
            "https://a.example/me/a-b/2019/12/31/My-Post.html fi",
            "_posts/2027-01-01-b.md": "not_yet_published",
            "cooking/_posts/2020-01-02-c.html": "C 2020-01-02 "
            "https://a.example/me/cooking/2020/01/02/c.html fi",
        },
    ),
    "Jekyll in Tokyo": (
        {
            "_config.yml": "timezone: Asia/Tokyo\n",
            "_posts/2020-01-02-a.md": WORDS,
            "_posts/2020-01-02-b.md": "---\ndate: 2020-01-01 23:30:00 +0000\n---\nWords.",
        },
        "",
        "jekyll",
        {"_posts/2020-01-02-a.md": "A 2020-01-02", "_posts/2020-01-02-b.md": "B 2020-01-02"},
    ),
    "dates with their own zone": (
        {"a.md": "---\ndate: 2020-01-01 23:30:00 -0500\n---\nWords.", "2020-01-02-b.md": WORDS},
        "",
        "notes",
        {"2020-01-02-b.md": "B 2020-01-02", "a.md": "A 2020-01-01"},
    ),
    "Jekyll's collections, addresses and future posts": (
        {
            "_config.yml": "url: https://a.example\npermalink: /:title/\nfuture: true\n"
            "collections:\n  recipes: {output: true}\n  mine: {output: false}\n",
            "_posts/2027-01-01-a.md": WORDS,
            "_posts/2020-01-01-b.md": "---\npermalink: /kept/\n---\nWords.",
            "_posts/2020-01-01-c.md": "---\npermalink: /:of_a_plugin/\n---\nWords.",
            "_recipes/soup.md": WORDS,
            "_mine/x.md": WORDS,
        },
        "",
        "jekyll",
        {
            "_posts/2020-01-01-b.md": "B 2020-01-01 https://a.example/kept/",
            "_posts/2020-01-01-c.md": "C 2020-01-01",
            "_posts/2027-01-01-a.md": "A 2027-01-01 https://a.example/a/",
            "_recipes/soup.md": "Soup",
        },
    ),
    "Jekyll's files without a page": (
        {
            "_config.yml": "exclude: [/_posts/old, '*-left.md', ' ', 7]\n"
            "collections: {notes: {output: true}}\n",
            "_posts/2020-01-01-a.md": WORDS,
            "_posts/2020-01-01-a.md~": WORDS,
            "_posts/undated.md": WORDS,
            "_posts/2020-01-01.md": WORDS,
            "_posts/old/2020-01-02-b.md": WORDS,
            "_posts/2020-01-03-left.md": WORDS,
            "_notes/undated.md": WORDS,
            "_notes/_c.md": WORDS,
        },
        "",
        "jekyll",
        {"_notes/undated.md": "Undated", "_posts/2020-01-01-a.md": "A 2020-01-01"},
    ),
    "posts of a starter that is no Jekyll": (
        {"next.config.js": "", "_posts/undated.md": WORDS, "_posts/_b.md": WORDS},
        "",
        "jekyll",
        {"_posts/_b.md": "B", "_posts/undated.md": "Undated"},
    ),
    "the posts of a Jekyll site alone": (
        {"_config.yml": JEKYLL, "_posts/deep/2020-01-02-a.md": WORDS, "about.md": WORDS},
        "_posts/deep",
        "jekyll",
        {"2020-01-02-a.md": "A 2020-01-02 https://a.example/me/2020/01/02/a.html"},
    ),
    "a Jekyll blog in a larger repository": (
        {
            "_config.yml": "theme: minima\n",
            "blog/_config.yml": JEKYLL,
            "blog/_posts/2020-03-05-a.md": WORDS,
            "blog/_posts/2020-03-06-b.md": WORDS,
            "docs/usage.md": WORDS,
            "app/_config.yml": "",
        },
        "",
        "jekyll",
        {
            "blog/_posts/2020-03-05-a.md": "A 2020-03-05 https://a.example/me/2020/03/05/a.html",
            "blog/_posts/2020-03-06-b.md": "B 2020-03-06 https://a.example/me/2020/03/06/b.html",
        },
    ),
    "Hexo": (
        {
            "_config.yml": "url: https://a.example\npermalink: :year/:title/\n",
            "package.json": "{}",
            "source/_posts/a.md": POST,
            "source/_posts/_b.md": POST,
            "source/_posts/_c/d.md": POST,
            "source/about/index.md": POST,
            "scaffolds/post.md": POST,
        },
        "",
        "hexo",
        {"source/_posts/a.md": "A 2020-03-05"},
    ),
    "Hugo": (
        {
            "hugo.toml": HUGO,
            "content/posts/My Day.md": WORDS,
            "content/posts/a.md": "---\nslug: other\ndate: 2020-01-01\npublishDate: 2027-01-01\n"
            "---\nx",
            "content/posts/b/index.md": "---\nslug: other\n---\nWords.",
            "content/posts/b/index.fr.md": WORDS,
            "content/posts/b/notes.md": WORDS,
            "content/posts/b/deep/more.md": WORDS,
            "content/posts/_index.md": WORDS,
            "content/fr/c.md": '{"date": "2020-01-01", "expiryDate": "2026-02-01"}\nText\n',
            "content/d.fr.md": "---\nurl: /kept/\n---\nWords.",
            "themes/x/post.md": WORDS,
            "notes.md": WORDS,
        },
        "",
        "hugo",
        {
            "content/d.fr.md": "D https://h.example/kept/ fr",
            "content/fr/c.md": "expired",
            "content/posts/My Day.md": "My Day https://h.example/posts/my-day/ en",
            "content/posts/a.md": "not_yet_published",
            "content/posts/b/index.fr.md": "B https://h.example/fr/posts/b/ fr",
            "content/posts/b/index.md": "B https://h.example/posts/other/ en",
        },
    ),
    "Hugo's other content folders": (
        {
            "config/_default/hugo.toml": 'baseURL = "https://h.example"\ncontentDir = "inhalt"\n'
            'buildExpired = true\n[permalinks]\nposts = "/:year/"\n',
            "config/_default/languages.toml": '[fr]\ncontentDir = "francais"\n',
            "inhalt/a.md": "---\nexpiryDate: 2020-01-01\n---\nWords.",
            "francais/b.md": WORDS,
            "content/c.md": WORDS,
        },
        "",
        "hugo",
        {"francais/b.md": "B", "inhalt/a.md": "A"},
    ),
    "the content of a Hugo site alone": (
        {
            "config.toml": 'baseURL = "https://h.example/"\n',
            "content/posts/a.md": WORDS,
            "content/posts/_index.md": WORDS,
        },
        "content/posts",
        "hugo",
        {"a.md": "A https://h.example/posts/a/"},
    ),
    "a Hugo site in a larger repository": (
        {
            "site/hugo.toml": 'baseURL = "https://h.example/"\n',
            "site/content/posts/a.md": WORDS,
            "site/content/posts/b.md": WORDS,
            "docs/usage.md": WORDS,
            "config.toml": "[server]\nport = 1\n",
        },
        "",
        "hugo",
        {
            "site/content/posts/a.md": "A https://h.example/posts/a/",
            "site/content/posts/b.md": "B https://h.example/posts/b/",
        },
    ),
    "a program's documentation": (
        {
            "docs/hugo.toml": "",
            "docs/content/guide/a.md": WORDS,
            "docs/content/guide/b.md": WORDS,
            "c.md": WORDS,
        },
        "",
        "notes",
        {"c.md": "C", "docs/content/guide/a.md": "A", "docs/content/guide/b.md": "B"},
    ),
    "Astro": (
        {
            "astro.config.mjs": "",
            "src/content/blog/a.mdx": POST,
            "src/content/blog/2020-01-02-b.md": WORDS,
            "src/content/blog/_f.md": POST,
            "src/content/_old/g.md": POST,
            "docs/how-to.md": WORDS,
            "src/pages/x.html": WORDS,
            "src/templates/post.md": POST,
        },
        "",
        "astro",
        {
            "src/content/blog/2020-01-02-b.md": "B 2020-01-02",
            "src/content/blog/a.mdx": "A 2020-03-05",
        },
    ),
    "Astro in a larger repository": (
        {
            "apps/web/astro.config.mjs": "",
            "apps/web/src/content/blog/a.md": POST,
            "apps/web/src/content/blog/b.md": POST,
            "examples/one/astro.config.mjs": "",
            **{f"examples/one/blog/{number}.md": POST for number in range(5)},
        },
        "",
        "astro",
        {
            "apps/web/src/content/blog/a.md": "A 2020-03-05",
            "apps/web/src/content/blog/b.md": "A 2020-03-05",
        },
    ),
    "Docusaurus": (
        {
            "docusaurus.config.js": "",
            "blog/2020-01-02-a.md": WORDS,
            "blog/_2020-01-02-b.md": WORDS,
            "docs/intro.md": POST,
        },
        "",
        "docusaurus",
        {"blog/2020-01-02-a.md": "A 2020-01-02"},
    ),
    "11ty": (
        {
            "eleventy.config.js": "",
            "posts/posts.json": '{"draft": true, "date": "2020-03-05", "lang": "de"}',
            "posts/a.md": WORDS,
            "posts/a.11tydata.json": '{"private": true}',
            "posts/c.md": "---\ndraft: false\ntitle: C\n---\nWords.\n",
            "posts/deep/deep.json": '{"draft": false}',
            "posts/deep/b.md": WORDS,
            "posts/other.json": '{"private": true}',
            "gone/gone.json": '{"permalink": false}',
            "gone/d.md": WORDS,
            "broken/broken.json": "{",
            "broken/e.md": WORDS,
            ".eleventyignore": "# not yet\n\nlater\nposts/f.md\n/*-left.md\n!later/g.md\n",
            "posts/f.md": POST,
            "posts/later/g.md": POST,
            "h-left.md": POST,
            "posts/h-left.md": POST,
        },
        "",
        "eleventy",
        {
            "broken/e.md": "broken_front_matter",
            "gone/d.md": "not_published",
            "posts/a.md": "post private",
            "posts/c.md": "C 2020-03-05 de",
            "posts/deep/b.md": "B 2020-03-05 de",
            "posts/h-left.md": "draft private",
        },
    ),
    "Quartz": (
        {
            "quartz.config.ts": "",
            "content/a.md": POST,
            "content/deep/c.md": POST,
            "docs/b.md": POST,  # the manual of Quartz itself
        },
        "",
        "quartz",
        {"content/a.md": "A 2020-03-05", "content/deep/c.md": "A 2020-03-05"},
    ),
    "Quartz without its folder": (
        {"quartz.config.ts": "", "notes/a.md": POST},
        "",
        "quartz",
        {"notes/a.md": "A 2020-03-05"},
    ),
    "Quarto": (
        {
            "_quarto.yml": "",
            "posts/_metadata.yml": "draft: true\n",
            "posts/a.md": POST,
            "b.md": POST,
            "_b.md": POST,
            "posts/c/_examples/d.md": POST,
            "_freeze/e.md": POST,
            "_drafts/f.md": POST,
        },
        "",
        "quarto",
        {"_drafts/f.md": "draft private", "b.md": "A 2020-03-05", "posts/a.md": "draft private"},
    ),
    "Nikola's posts of two files": (
        {
            "posts/a.md": WORDS,
            "posts/a.meta": ".. title: One: two\n.. date: 2020-03-05 10:00:00 UTC+02:00\n",
            "posts/b.html": f"<p>{WORDS}</p>",
            "posts/b.meta": "\ufeff.. title: B\n.. slug: b\n.. status: draft\n",
            "posts/c.md": WORDS,
            "posts/c.meta": "---\ntitle: C 2\nstatus: private\n---\n",
            "posts/d.md": WORDS,
            "posts/d.meta": "---\ntitle: D\ndraft: true\n",
            "posts/e.md": WORDS,
            "posts/e.meta": "guid: 0123\nstatus: draft\n",  # of another program
        },
        "",
        "notes",
        {
            "posts/a.md": "One: two 2020-03-05",
            "posts/b.html": "draft private",
            "posts/c.md": "note private",
            "posts/d.md": "broken_front_matter",
            "posts/e.md": "E",
        },
    ),
    "notes beside a program": (
        {"package.json": "{}", "a.md": WORDS, "b.md": WORDS, "c.md": POST},
        "",
        "notes",
        {"a.md": "A", "b.md": "B", "c.md": "A 2020-03-05"},
    ),
    "notes": (
        {
            "vim/swap.md": "# Swap `a` and [b](http://b.example) &amp; c #\n\nText",
            "git/security.md": WORDS,
            "git/git.json": '{"draft": true}',
            "x.HTM": WORDS,
            "index.html": WORDS,
            "LICENSE-NOTE.md": WORDS,
            "vim/readme.markdown": WORDS,
            "CODE_OF_CONDUCT.md": WORDS,
            ".hidden.md": WORDS,
            "Drafts/a.md": WORDS,
            "private/b.md": WORDS,
            "templates/note.md": WORDS,
            "c.md": "---\ntitle: <% tp.file.title %>\n---\nText",
            "archive.html": WORDS,
            "tags/clocks.md": WORDS,
            "site/tag/clocks/index.html": WORDS,
            "site/tag/clocks/page/2/index.html": WORDS,
            "site/category/clocks.html": WORDS,
            "site/category/clocks/walk.html": WORDS,
            "site/page/2/index.html": WORDS,
            "site/archives/2019/07/index.html": WORDS,
            "site/blog/2019/index.html": WORDS,
            "site/search/index.html": WORDS,
            "archive/2001/talk.html": WORDS,
        },
        "",
        "notes",
        {
            "archive/2001/talk.html": "Talk",
            "site/category/clocks/walk.html": "Walk",
            "tags/clocks.md": "Clocks",
            "Drafts/a.md": "draft private",
            "c.md": "template",
            "git/security.md": "Security",
            "private/b.md": "note private",
            "vim/swap.md": "Swap `a` and b & c",
            "x.HTM": "X",
        },
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_a_site_gives_its_posts(tmp_path: Path, name: str) -> None:
    files, imported_folder, layout, outcomes = SITES[name]
    folder = write_folder(files, tmp_path) / imported_folder
    assert scan_source(folder).layout == layout
    assert list_outcomes(folder) == outcomes


def test_a_file_with_the_fields_of_a_post_is_read_with_it(tmp_path: Path) -> None:
    meta = "posts/a.meta"
    files: Files = {"posts/a.md": WORDS, meta: ".. title: A\n.. author: Ann Lee\n"}
    for source in (tmp_path, tmp_path / "posts" / "a.md"):
        [file] = scan_source(write_folder(files, tmp_path) and source).posts
        body, file_hash = file.read()
        assert (read_post(body, source_id="a.md").author, file_hash) == ("Ann Lee", file.file_hash)
        write_folder({meta: ".. title: A\n.. status: draft\n"}, tmp_path)
        [file] = scan_source(source).posts
        assert file.file_hash != file_hash
        assert read_post(file.read()[0], source_id="a.md").kind == "draft"
    assert scan_source(tmp_path).skipped_counts == {}


def test_files_that_are_no_posts_are_counted_by_reason(tmp_path: Path) -> None:
    expected = {
        "Jekyll": {
            "about the folder (README, LICENSE …)": 1,
            "page outside _posts": 1,
            "yml file": 1,
        },
        "Hugo": {
            "page outside content": 1,
            "part of a page bundle": 2,
            "section page (_index)": 1,
            "toml file": 1,
        },
        "a Hugo site in a larger repository": {
            "other file": 1,
            "page outside the site": 1,
            "toml file": 1,
        },
        "Astro": {
            "file from which the site builds no page": 2,
            "mjs file": 1,
            "page without front matter": 2,
            "template": 1,
        },
        "Docusaurus": {
            "file from which the site builds no page": 1,
            "js file": 1,
            "page outside blog": 1,
        },
        "notes": {
            "about the folder (README, LICENSE …)": 3,
            "home page (index)": 1,
            "json file": 1,
            "list of posts (tag, category, archive)": 8,
            "template": 1,
        },
    }
    counts = {
        name: scan_source(write_folder(SITES[name][0], tmp_path / str(number))).skipped_counts
        for number, name in enumerate(expected)
    }
    assert counts == expected


@pytest.mark.parametrize(
    ("configuration", "outcome"),
    [
        ("defaults: [{scope: {path: ''}, values: {published: false}}]", "draft private"),
        ("defaults: [{scope: {type: posts}, values: {published: false}}]", "draft private"),
        ("defaults: [{scope: {path: _posts}, values: {published: false}}]", "draft private"),
        ("defaults: [{scope: {path: '_posts/*walk.md'}, values: {draft: 1}}]", "draft private"),
        ("collections: {posts: {output: false}}", "draft private"),
        (
            "defaults: [{scope: {path: _posts}, values: {published: false}},"
            " {scope: {path: ''}, values: {published: true}}]",
            "draft private",
        ),
        ("defaults: [{scope: {type: pages}, values: {published: false}}]", "Walk 2012-02-03"),
        ("defaults: [{scope: {path: old}, values: {published: false}}]", "Walk 2012-02-03"),
        ("defaults: [{scope: {path: '*/talk.md'}, values: {draft: 1}}]", "Walk 2012-02-03"),
        (
            "defaults: [{scope: {type: posts}, values: {published: true}},"
            " {scope: {path: ''}, values: {published: false}}]",
            "Walk 2012-02-03",
        ),
        ("defaults:", "Walk 2012-02-03"),
        ("[broken", "Walk 2012-02-03"),
    ],
)
def test_jekylls_defaults_hide_posts(tmp_path: Path, configuration: str, outcome: str) -> None:
    post = "_posts/2012-02-03-walk.md"
    write_folder({"_config.yml": configuration, post: WORDS}, tmp_path)
    assert list_outcomes(tmp_path) == {post: outcome}
    assert list_outcomes(tmp_path / "_posts") == {"2012-02-03-walk.md": outcome}
    write_folder({post: f"---\npublished: true\ndraft: false\n---\n{WORDS}"}, tmp_path)
    assert list_outcomes(tmp_path) == {post: "Walk 2012-02-03"}


@pytest.mark.parametrize(
    ("name", "text", "outcome"),
    [
        ("content/blog/_index.md", "---\ncascade:\n  draft: true\n---\n", "draft private"),
        (
            "content/blog/_index.md",
            "+++\n[[cascade]]\n[cascade.build]\nrender = 'never'\n+++\n",
            "not_published",
        ),
        (
            "content/blog/_index.md",
            "---\ncascade:\n- build: {list: never}\n  target: {path: '/blog/{deep,low}/**'}\n"
            "- build: {render: never}\n---\n",
            "unlisted",
        ),
        (
            "content/blog/_index.md",
            "---\ncascade:\n- {draft: true, _target: {kind: section}}\n"
            "- {draft: true, target: {path: /blog/*}}\n"
            "- {draft: true, target: {environment: staging}}\n---\n",
            "A",
        ),
        ("content/blog/_index.md", "---\ncascade: {draft: true}\n", "broken_front_matter"),
        (
            "hugo.toml",
            "[[cascade]]\ndraft = true\n[cascade.target]\npath = '/blog/**'\n",
            "draft private",
        ),
        (
            "config/_default/cascade.toml",
            "draft = true\n[target]\npath = '/blog/**'\n",
            "draft private",
        ),
    ],
)
def test_hugos_cascades_hide_posts(tmp_path: Path, name: str, text: str, outcome: str) -> None:
    post = "content/blog/deep/a/index.md"
    write_folder({"hugo.toml": "", "content/notes/b.md": WORDS, post: WORDS, name: text}, tmp_path)
    assert list_outcomes(tmp_path) == {post: outcome, "content/notes/b.md": "B"}
    assert list_outcomes(tmp_path / "content/blog/deep") == {"a/index.md": outcome}
    if outcome == "draft private":
        near = "content/blog/deep/_index.md"
        write_folder({near: "---\ncascade: {draft: false}\n---\n"}, tmp_path)
        assert list_outcomes(tmp_path)[post] == "A"


FENCE = "```\n"
# Template tags are taken out, and what they quote and the words between them stay.
TAGS = [
    ("jekyll", "See [it]({% post_url 2020-01-01-a %}) now.", "See [it]() now."),
    ("jekyll", "See [it]({{ site.baseurl }}/a) now.", "See [it](/a) now."),
    ("jekyll", "{% if page.x %}Words{% else %} of mine{% endif %}.", "Words of mine."),
    ("jekyll", "A{% comment %} not for readers {% endcomment %}B", "AB"),
    ("jekyll", "A{% for p in site.posts %}<li>{{ p.title }}{% endfor %}B", "AB"),
    ("jekyll", "{{ 'Café' | upcase }} and {{ \"b\" }}", "Café and b"),
    ("jekyll", "Write {% raw %}{{ x }}{% endraw %} there.", "Write `{{ x }}` there."),
    ("jekyll", "Write `{% raw %}{{ x }}{% endraw %}` there.", "Write `{{ x }}` there."),
    ("jekyll", "Use ``a ` {% include x %}`` for it.", "Use ``a ` {% include x %}`` for it."),
    ("jekyll", "<pre>{{ x }}</pre> {{ y }}", "<pre>{{ x }}</pre> "),
    ("jekyll", f"{FENCE}{{% a %}}\n{FENCE}{{% a %}}text", f"{FENCE}{{% a %}}\n{FENCE}text"),
    ("jekyll", "Text\n\n    {% include x %}\n\nText", "Text\n\n    {% include x %}\n\nText"),
    (
        "jekyll",
        f"{{% raw %}}\n{FENCE}{{{{ x }}}}\n{FENCE}And {{{{ y }}}}.\n{{% endraw %}}{{{{ z }}}}",
        f"\n{FENCE}{{{{ x }}}}\n{FENCE}And {{{{ y }}}}.\n",
    ),
    (
        "jekyll",
        "{% codeblock lang:c %}\nint {{a}};\n{% endcodeblock %}",
        "{% highlight lang:c %}\nint {{a}};\n{% endhighlight %}",
    ),
    ("jekyll", "A:{% blockquote A %}\nOne\nTwo\n{% endblockquote %}", "A:\n\n> One\n> Two\n\n"),
    ("jekyll", "100 {% of what", "100 {% of what"),
    ("jekyll", "---\nrender_with_liquid: false\n---\nWrite {{ x }}.\n", "Write {{ x }}.\n"),
    ("hugo", 'See [it]({{< ref "a.md" >}}) now, {{ at all }}.', "See [it]() now, {{ at all }}."),
    ("hugo", "{{% notice %}}My **words**.{{% /notice %}}", "My **words**."),
    ("hugo", "Write {{</* ref a */>}} there.", "Write `{{< ref a >}}` there."),
    ("hugo", f"{FENCE}{{{{</* a */>}}}}\n{FENCE}", f"{FENCE}{{{{< a >}}}}\n{FENCE}"),
    ("hugo", "A{{< t.inline >}}{{ now }}{{< /t.inline >}}B{{< t.inline />}}C", "ABC"),
    ("hugo", '{{< quote "A" >}}\nTheirs\n{{< /quote >}}', "\n\n> Theirs\n\n"),
    ("hugo", "a {{< a word {{< b >}} c", "a {{< a word  c"),
    ("hugo", "a {{</* b {% c %} d */>}} e", "a `{{< b {% c %} d >}}` e"),
    ("notes", "Write {{< ref x >}} or {% y %}.\n", "Write {{< ref x >}} or {% y %}.\n"),
    ("notes", "One %%two%% three.", "One  three."),
    ("notes", "One\n\n%%\ntwo\n\n`a %% b`\nthree\n%%\nfour", "One\n\n\nfour"),
    ("notes", f"{FENCE}%%time\n{FENCE}One %%three%%.", f"{FENCE}%%time\n{FENCE}One ."),
    ("notes", "One\n%%\nnever closed", "One\n"),
    ("notes", "It grew by 5 %% a year.", "It grew by 5 %% a year."),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "text", "kept"), TAGS)
def test_template_tags_leave_the_words(tmp_path: Path, layout: str, text: str, kept: str) -> None:
    name = {"jekyll": "_posts/2020-01-01-a.md", "hugo": "content/a.md"}.get(layout, "a.md")
    write_folder({name: text} | ({"hugo.toml": ""} if layout == "hugo" else {}), tmp_path)
    scan = scan_source(tmp_path)
    [file] = scan.posts
    assert read_post(file.read()[0], source_id=name, site=scan.site).text == kept


MARKS = (
    "{% raw %} {% endraw %} {{ }} {{< a >}} {{< /a >}} {% highlight c %} {% endhighlight %} {% %} "
    "{% comment %} {% endcomment %} {{</* b */>}} {% quote %} {% endquote %} ` ~~~ <pre> </pre> "
    "word"
)
PIECES = [*re.findall(r"\{[{%<]? ?\S+(?: \S+)? [%>}]\}?\}|\S+", MARKS), "```\n", "    x\n", "\n\n"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@given(TEXTS, st.sampled_from(["markdown", "html"]))
def test_no_word_outside_templates_is_lost(text: str, markup: str) -> None:
    assert "".join(part for part, _ in split_code_regions(text, markup=markup)) == text
    without_tags = remove_template_tags(text, "shortcodes", markup=markup)
    assert without_tags.count("word") == text.count("word")
    if "{%" not in text and "{{" not in text:
        assert remove_template_tags(text, "liquid", markup=markup) == text


@pytest.mark.long
@pytest.mark.parametrize(
    "piece", ["{% raw %}", "{%", "{{", "{{< a", "`` ` ", "<pre>", "{% quote %}"]
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    text = piece * (500_000 // len(piece)) + "{% x %}{{< x >}}"
    for language in ("liquid", "shortcodes"):
        start_s = time.process_time()
        remove_template_tags(text, language)
        assert time.process_time() - start_s < 5
