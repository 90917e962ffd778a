"""Platform pages around posts whose words are known: the labelled fixtures of the benchmark.

Belongs here: pages as four kinds of sites wrap them, written for this benchmark. Does not belong
here: measuring. The posts are the shared author's HTML posts; menus, teasers, comments, buttons and
scripts around them are made up, with words that the posts do not have.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.importers.folders import scan
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.posts import read_post

_TAGS = re.compile(r"{%.*?%}|<!--.*?-->|<video.*?</video>", re.DOTALL)
_SYLLABLES = ("zor", "vex", "qua", "mip", "lun", "tra", "dop", "fen", "gil", "hax")


@dataclass(frozen=True)
class Labelled:
    """A page (or fragment) and the text in it that is the post's."""

    site: str
    html: str
    post: str


def fragments(folder: Path) -> list[Labelled]:
    """The shared author's posts in HTML, as they are."""
    found: list[Labelled] = []
    for file in scan(folder).posts:
        if file.source_id.endswith(".html"):
            post = read_post(file.path.read_bytes(), source_id=file.source_id)
            shown = _TAGS.sub("", post.text)
            tree = parse_html(f"<div>{shown}</div>")
            if tree is not None:
                found.append(Labelled("fragment", post.text, str(tree.text_content())))
    return found


def pages(posts: list[Labelled]) -> list[Labelled]:
    """Each post of at least 80 words as a page of one of four sites."""
    drawn = random.Random(1)
    long = [post for post in posts if len(post.post.split()) >= 80]
    return [
        Labelled(site, _PAGES[site](_TAGS.sub("", post.html), drawn), post.post)
        for post, site in zip(long, _cycle(), strict=False)
    ]


def _cycle() -> Iterator[str]:
    while True:
        yield from _PAGES


def _words(drawn: random.Random, count: int) -> str:
    return " ".join("".join(drawn.choices(_SYLLABLES, k=drawn.randint(2, 3))) for _ in range(count))


def _teasers(drawn: random.Random, count: int) -> str:
    return "".join(
        f'<li class="teaser"><a href="/p/{n}"><h3>{_words(drawn, 6).capitalize()}</h3></a>'
        f"<span>{n + 2} min read</span></li>"
        for n in range(count)
    )


def _script(drawn: random.Random, size: int) -> str:
    pairs = ",".join(f'"{drawn.getrandbits(64):x}":"{_words(drawn, 3)}"' for _ in range(size))
    return f"<script>window.__STATE__ = {{{pairs}}};</script>"


def _head(title: str, drawn: random.Random) -> str:
    styles = "".join(
        f".c{n}{{margin:{n}px;color:#{drawn.getrandbits(24):06x}}}" for n in range(300)
    )
    return (
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<style>{styles}</style>{_script(drawn, 200)}</head>"
    )


def _menu(*entries: str) -> str:
    listed = "".join(f'<li><a href="/{entry.lower()}">{entry}</a></li>' for entry in entries)
    return f"<nav><ul>{listed}</ul></nav>"


def _medium(post: str, drawn: random.Random) -> str:
    buttons = "<div><button>Listen</button><button>Share</button><button>More</button></div>"
    return (
        f"{_head('A story', drawn)}<body><div id='root'><header><a href='/app'>Open in app</a>"
        f"<a href='/up'>Sign up</a><a href='/in'>Sign in</a></header><article><section>{buttons}"
        f"<div>{post}</div>{buttons}</section></article><div class='responses'><h2>Responses (3)"
        f"</h2></div><section class='recommended'><h2>Recommended from Medium</h2><ul>"
        f"{_teasers(drawn, 6)}</ul></section>{_menu('Help', 'Status', 'Careers', 'Privacy')}</div>"
        f"{_script(drawn, 400)}</body></html>"
    )


def _substack(post: str, drawn: random.Random) -> str:
    subscribe = (
        "<div class='subscription-widget-wrap'><p class='cta-caption'>Thanks for reading! Subscribe"
        " for free to receive new posts and support my work.</p><form><input type='email' "
        "placeholder='Type your email…'><button>Subscribe</button></form></div>"
    )
    return (
        f"{_head('A letter', drawn)}<body>{_menu('Home', 'Archive', 'About')}<div id='main'>"
        f"<article class='post'><div class='body markup'>{post}{subscribe}</div></article>"
        f"<div class='comments'><h4>Discussion about this post</h4></div>"
        f"<footer>© 2024 A letter <a href='/privacy'>Privacy</a> <a href='/terms'>Terms</a>"
        f"</footer>"
        f"</div>{_script(drawn, 300)}</body></html>"
    )


def _wordpress(post: str, drawn: random.Random) -> str:
    comments = "".join(
        f"<li class='comment'><cite>{_words(drawn, 2)}</cite><p>{_words(drawn, 25)}.</p></li>"
        for _ in range(4)
    )
    return (
        f"{_head('A blog', drawn)}<body class='single'><div id='page'><header>"
        f"{_menu('Home', 'About', 'Contact', 'Archives')}</header><div id='primary'><main>"
        f"<article class='hentry'><div class='entry-content'>{post}<div class='sharedaddy'><h3>"
        f"Share this:</h3><ul><li><a href='#'>Twitter</a></li><li><a href='#'>Facebook</a></li>"
        f"</ul></div></div><footer class='entry-meta'>Posted in <a href='#'>Misc</a></footer>"
        f"</article>"
        f"<section id='comments'><h2>4 thoughts</h2><ol>{comments}</ol></section></main></div>"
        f"<aside id='secondary'><section class='widget'><h2>Recent Posts</h2><ul>"
        f"{_teasers(drawn, 5)}</ul></section></aside><footer id='colophon'>Proudly powered by "
        f"WordPress</footer></div>{_script(drawn, 150)}</body></html>"
    )


def _plain(post: str, drawn: random.Random) -> str:
    return (
        f"{_head('A site', drawn)}<body>{_menu('Index', 'Feed')}<main><article>{post}</article>"
        f"</main><footer><p>{_words(drawn, 12)}</p></footer></body></html>"
    )


_PAGES = {
    "medium": _medium,
    "substack": _substack,
    "wordpress": _wordpress,
    "plain": _plain,
}
