"""Test that a post has the same title, author, date and visibility in every format.

14 suffixes × 7 heads × 14 ways to hide a post = 1,372 posts, none of which may be imported.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from random import Random
from time import process_time

import pytest

from tests.unit.corpus.importers.sample_posts import (
    AUTHOR,
    EXTRA_SUFFIXES,
    HEADS,
    HIDING_FIELDS,
    SUFFIXES,
    TITLE,
    WORDS,
    build_post,
)
from twin_assets.corpus.importers.byline_fields import read_byline
from twin_assets.corpus.importers.post_head import PostHead, UnreadablePostError, read_post_head
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.importers.text_formats import is_readable
from twin_assets.corpus.remediation import find_advice

INSTALLED_SUFFIXES = tuple(
    suffix for suffix in SUFFIXES if suffix not in EXTRA_SUFFIXES or is_readable(suffix)
)


def build_head(suffix: str, head: str, **fields: object) -> PostHead:
    return read_post_head(build_post(suffix, head, fields), source_id=f"a.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_hiding_fields_are_found_in_every_format_and_head(suffix: str) -> None:
    """Heads are read without a converter, with or without the extra `formats`."""
    wrong_reasons = {
        (head, hiding_field): reason_read
        for head, (hiding_field, (key, value, reason)) in product(HEADS, HIDING_FIELDS.items())
        if (reason_read := build_head(suffix, head, **{key: value}).find_hidden_reason()) != reason
    }
    assert wrong_reasons == {}


@pytest.mark.parametrize(("suffix", "head"), list(product(SUFFIXES, HEADS)))
def test_title_author_and_date_are_the_same_in_every_format(suffix: str, head: str) -> None:
    if suffix not in INSTALLED_SUFFIXES:
        pytest.skip("the extra `formats` is not installed")
    post = read_post(build_post(suffix, head, {}), source_id=f"a.{suffix}")
    assert (post.kind, post.visibility) == ("post", "public")
    assert (post.title, post.author) == (TITLE, AUTHOR)
    assert f"{post.created_at:%F}" == "2020-03-05"
    assert WORDS in post.text


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("hiding_field", ["draft", "private", "hidden"])
def test_a_hidden_post_is_never_a_public_post(suffix: str, hiding_field: str) -> None:
    if suffix not in INSTALLED_SUFFIXES:
        pytest.skip("the extra `formats` is not installed")
    key, value, reason = HIDING_FIELDS[hiding_field]
    outcomes = {
        head: describe_outcome(build_post(suffix, head, {key: value}), suffix) for head in HEADS
    }
    expected = {"draft": "draft private", "private": "post private"}.get(reason, reason)
    assert outcomes == dict.fromkeys(HEADS, expected)


def describe_outcome(body: bytes, suffix: str) -> str:
    """Return the kind and visibility of the post, or the reason why it cannot be read."""
    try:
        post = read_post(body, source_id=f"a.{suffix}")
    except UnreadablePostError as error:
        return error.reason
    return f"{post.kind} {post.visibility}"


@pytest.mark.parametrize("suffix", ["textile", "rst", "adoc", "org", "dj"])
def test_a_lenient_head_hides_a_draft_in_every_format(suffix: str) -> None:
    body = (
        f"---\ntitle: Problem: Things\nfamily: [[Smith]] [[Jones]]\npublished: false\n---\n{WORDS}"
    )
    head = read_post_head(body.encode(), source_id=f"_posts/2012-02-03-plan.{suffix}")
    assert (head.find_hidden_reason(), head.fields["title"]) == ("draft", "Problem: Things")
    assert head.body == WORDS


def test_the_strictest_of_several_heads_applies() -> None:
    body = f"---\ndraft: true\n---\n= A\n:visibility: private\n\n{WORDS}\n"
    assert read_post_head(body.encode(), source_id="a.adoc").find_hidden_reason() == "private"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("org", f"#+TITLE: A\n* One\n:PROPERTIES:\n:EXPORT_HUGO_DRAFT: t\n:END:\n{WORDS}\n"),
        ("org", f"#+TITLE: A\n#+HUGO_DRAFT: true\n\n{WORDS}\n"),
        ("rst", f".. title: A\n.. status: private\n\n{WORDS}\n"),
        ("rst", f"====\nA\n====\n\n.. a comment\n   over two lines\n\n:draft:\n\n{WORDS}\n"),
        ("adoc", f"// a comment\n:page-published: false\n= A\n\n{WORDS}\n"),
        ("adoc", f"= A\n\n:draft:\n\n{WORDS}\n"),
        ("html", f"<!-- moved -->\n---\ndraft: true\n---\n<p>{WORDS}</p>"),
        ("md", f"# A\n\nStatus: Draft\nCreated: March 3, 2023\n\n{WORDS}\n"),
        ("md", f"- title:: A\n  public:: false\n- {WORDS}\n"),
        ("md", f"<!--\n.. title: A\n.. status: private\n-->\n\n{WORDS}\n"),
        ("md", f"<!-- draft: true -->\n{WORDS}\n"),
        ("md", f"---\ntitle: A\n---\n\n# A\n\nstatus:: draft\n\n{WORDS}\n"),
        ("md", f"title:: A\n- {WORDS}\n  private:: true\n"),
        ("md", f"title=A\nstatus=draft\ntype=post\n~~~~~~\n{WORDS}\n"),
        ("md", f"# A\n\n---\ndraft: true\n---\n\n{WORDS}\n"),
        ("md", f"# A\n\n**Status:** Draft (v2)\n\n{WORDS}\n"),
        ("md", f"# A\n\n| Status | Draft |\n|---|---|\n| Owner | Ana |\n\n{WORDS}\n"),
        ("md", f"# A\n\n状态：草稿\n\n{WORDS}\n"),
        ("md", f"---\npublished: ❌\n---\n{WORDS}\n"),
        ("md", f';;;\n"title": "A",\n"draft": true\n;;;\n{WORDS}\n'),
        ("md", f'---json\n{{"draft": true}}\n---\n{WORDS}\n'),
        ("mdx", f"export const meta = {{ title: 'A', draft: true }}\n\n{WORDS}\n"),
        ("mdx", f"import A from 'a'\n\nexport const m = {{\n  draft: true,\n}}\n\n{WORDS}\n"),
        ("adoc", f"= A\n:jbake-status: draft\n\n{WORDS}\n"),
        ("rst", f"A\n=\n\n.. meta::\n   :status: draft\n\n{WORDS}\n"),
        ("html", f"<!--\ntitle: A\ndraft: true\n-->\n<p>{WORDS}</p>"),
        ("html", f"<h1>A</h1><dl><dt>Status</dt><dd>Draft</dd></dl><p>{WORDS}</p>"),
        (
            "html",
            '<h1>A</h1><table class="properties"><tr class="property-row property-row-status">'
            '<th><span class="icon"></span>Status</th><td><span><div class="dot"></div>Draft</span>'
            f"</td></tr></table><p>{WORDS}</p>",
        ),
    ],
)
def test_other_ways_to_hide_a_post_are_recognized(suffix: str, text: str) -> None:
    head = read_post_head(text.encode(), source_id=f"a.{suffix}")
    assert head.find_hidden_reason() in {"draft", "private"}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("rst", f"A\n=\n\n{WORDS}\n\n:draft: true\n"),
        ("adoc", f"= A\n:!draft:\n\n{WORDS}\n\n:draft: true\n"),
        ("org", f"#+TITLE: A\n#+begin_src yaml\n:draft: true\n#+end_src\n{WORDS}\n"),
        ("md", f"{WORDS}\n\n<!-- draft: true -->\n"),
        ("md", f"# A\n\n| Status | Meaning |\n|---|---|\n| Draft | nobody sees it |\n\n{WORDS}\n"),
        ("md", f"Set `draft: true` and it is gone.\n\n{WORDS}\n"),
        ("md", f"title:: A\n- {WORDS}\n  status:: in progress\n"),
        ("md", f"- {WORDS}\n  status:: in progress\n"),
        ("md", f"title=A\nstatus=published\n~~~~~~\n{WORDS}\n"),
        ("mdx", f"export const meta = {{ title: 'A', draft: false }}\n\n{WORDS}\n"),
    ],
)
def test_text_about_drafts_does_not_hide_a_post(suffix: str, text: str) -> None:
    assert read_post_head(text.encode(), source_id=f"a.{suffix}").find_hidden_reason() == ""


CHATS = {
    "WhatsApp on iOS": "[12/03/20, 10:11:12] Ana Ruiz: hello\n[12/03/20, 10:12:30] Bob: and you?\n",
    "WhatsApp on Android": "12/03/2020, 10:11 - Ana: hello\n12/03/2020, 10:12 - Bob: and you?\n",
    "IRC": "10:11 <ana> hello\n10:12 <bob> and you?\n",
    "Signal": "[2020-03-12 10:11] Ana: hello\nin two lines\n[2020-03-12 10:12] Bob: you?\n",
}


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("suffix", ["txt", "md"])
def test_chats_of_known_programs_are_rejected(name: str, suffix: str) -> None:
    with pytest.raises(UnreadablePostError, match="chat"):
        read_post_head(CHATS[name].encode(), source_id=f"_chat.{suffix}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ana: Who is there?\nBob: I am.\nAna: Come in.\nBob: Thank you.\n", "chat"),
        ("From: ana@a.example\nTo: bob@a.example\nSubject: A walk\n\nDear Bob\n", "mail"),
        ("From ana@a.example Thu Mar 12 10:11:12 2020\nSubject: A walk\n\nDear Bob\n", "mail"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENBF4\n", "key_or_signature"),
    ],
)
def test_chats_mails_and_keys_are_rejected(text: str, reason: str) -> None:
    for suffix in ("txt", "asc") if reason != "chat" else ("txt",):
        with pytest.raises(UnreadablePostError, match=reason):
            read_post_head(text.encode(), source_id=f"a.{suffix}")


@pytest.mark.parametrize(
    "text",
    [
        f"10:11 Got up: it was late.\n10:40 Coffee: two cups.\n11:20 Work: none.\n{WORDS}\n",
        f"{WORDS}\n\nNote: a word.\nNote: another.\n\n{WORDS}\n",
        f"To: my readers\n\n{WORDS}\n",
    ],
)
def test_a_daily_log_is_not_a_chat(text: str) -> None:
    assert read_byline(read_post_head(text.encode(), source_id="a.txt").fields) == ""


LONG_TEXTS = {
    "one line": "word " * 200_000,
    "blanks": "---\ntitle: A\n" + " " * 400_000 + "x\n",
    "unclosed comments": "<!--" * 200_000,
    "unclosed tags": "<div " * 200_000,
    "unclosed scripts": "<script>" * 100_000,
    "marks": "*" * 400_000 + "\n" + "|" * 400_000,
    "a row of blanks": "|" + " " * 400_000 + "|",
    "an object of blanks": '{\n "a": ' + " " * 400_000 + "\n" + "x" * 400_000,
    "fields": "a: b\n" * 200_000,
    "a value of marks": "---\nstatus: '" + "-" * 400_000 + "'\n---\ntext",
    "references": '<a href="#cmnt_ref1">' * 40_000,
}


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_TEXTS)
@pytest.mark.parametrize("suffix", ["md", "html", "rst", "org", "adoc", "mdx", "txt"])
def test_reading_time_is_not_quadratic_in_the_length(name: str, suffix: str) -> None:
    """Quadratic time would take minutes for a million characters; linear time takes a second."""
    start_s = process_time()
    with suppress(UnreadablePostError):
        read_post_head(LONG_TEXTS[name].encode(), source_id=f"a.{suffix}")
    assert process_time() - start_s < 30


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_bytes_are_read_or_rejected_with_a_reason(suffix: str) -> None:
    rng = Random(37)
    for number in range(150):
        body = bytearray(build_post(suffix, HEADS[number % len(HEADS)], {"draft": True}))
        for _ in range(rng.randint(1, 6)):
            body[rng.randrange(len(body))] = rng.choice(b"\x00\n:-[]{}<>\"'#=|\xff")
        del body[rng.randrange(len(body)) :]
        try:
            reason = read_post_head(bytes(body), source_id=f"a.{suffix}").find_hidden_reason()
        except UnreadablePostError as error:
            reason = error.reason
        assert not reason or find_advice(reason), (suffix, number, reason)
