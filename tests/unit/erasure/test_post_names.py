"""Test which post a name refers to, and what the error for an unknown name lists."""

from __future__ import annotations

import polars as pl
import pytest

from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.plan import plan_erasure
from twin_resources.erasure.post_names import (
    PostForgottenError,
    PostNames,
    find_post,
    list_posts,
    match_post,
)
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import outbox_path
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


def build_post_names(
    source_id: str, *, author: str = "ann", title: str = "On oil", url: str = ""
) -> PostNames:
    return PostNames(author, source_id, source_id, url, title, f"document-{source_id}")


POSTS = [
    build_post_names("_posts/oil.md", url="https://x.example/oil"),
    build_post_names("feed:oil", url="https://x.example/oil"),
    build_post_names("_posts/brass.md", title="On brass"),
    build_post_names("notes/brass.md", title="Brass again"),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_posts/oil.md", "_posts/oil.md"),
        ("document-notes/brass.md", "notes/brass.md"),
        ("./oil.md", "_posts/oil.md"),
        ("/home/ann/blog/_posts/brass.md", "_posts/brass.md"),
        ("on  BRASS", "_posts/brass.md"),
        ("https://x.example/oil", "https://x.example/oil"),  # refers to both copies
    ],
)
def test_a_name_refers_to_one_post_or_its_copies(name: str, expected: str) -> None:
    assert match_post(POSTS, name) == ErasureSubject("post", "ann", expected)


@pytest.mark.parametrize("name", ["brass.md", "On oil"])
def test_an_ambiguous_name_is_refused(name: str) -> None:
    with pytest.raises(TwinError, match="2 posts with that name: "):
        match_post(POSTS, name)


def test_an_id_shared_by_two_authors_is_refused() -> None:
    posts = [build_post_names("_posts/oil.md"), build_post_names("_posts/oil.md", author="bob")]
    with pytest.raises(TwinError, match=r"of ann.*of bob"):
        match_post(posts, "_posts/oil.md")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("brass again, and", "notes/brass.md"), ("_posts/oils.md", "_posts/oil.md")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(TwinError, match=f"among 4 posts; nearest: .*{nearest}"):
        match_post(POSTS, name)


def test_an_error_lists_at_most_three_posts() -> None:
    posts = [build_post_names(f"{number}.md", title="On oil") for number in range(4)]
    with pytest.raises(TwinError) as error:
        match_post(posts, "On oil")
    first_three = "; ".join(f"{number}.md (On oil, of ann)" for number in range(3))
    assert error.value.found == f"4 posts with that name: {first_three}; …"
    with pytest.raises(TwinError) as error:
        match_post(posts[:3], "On oil")
    assert error.value.found == f"3 posts with that name: {first_three}"
    posts = [build_post_names(f"oil-{number}.md", title=f"Oil {number}") for number in range(4)]
    with pytest.raises(TwinError) as error:
        match_post(posts, "oil-")
    first_three = "; ".join(f"oil-{number}.md (Oil {number}, of ann)" for number in range(3))
    assert error.value.found == f"no match among 4 posts; nearest: {first_three}"


def test_a_dissimilar_name_has_no_nearest_posts() -> None:
    with pytest.raises(TwinError) as error:
        match_post(POSTS, "qqqqqqqq")
    assert error.value.found == "no match among 4 posts"


def test_an_open_request_is_found_among_others(home: Settings) -> None:
    """The journal has requests for a reader, for another author's post and for this post."""
    write_author(home, Author("ann", "Ann"))
    installation = Installation.for_settings(home)
    post_subject = ErasureSubject("post", "ann", "_posts/oil.md")
    for subject in (
        ErasureSubject("reader", "", "0123456789abcdef"),
        ErasureSubject("post", "bob", "_posts/oil.md"),
        post_subject,
    ):
        journal.open_request(installation.state, subject, asked_by="test")
    assert find_post(installation, "_posts/oil.md", authors=["ann"]) == post_subject
    with pytest.raises(TwinError, match="no match among 0 posts"):
        find_post(installation, "_posts/brass.md", authors=["ann"])
    installation.state.close()


def test_the_error_for_a_forgotten_post_has_its_date(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The post is found by an id in the request's plan or by the requested address."""
    installation = Installation.for_settings(home)
    address = "https://x.example/oil"
    for day, name in ((2, "_posts/oil.md"), (3, address)):
        monkeypatch.setattr(State, "now", lambda *_, day=day: day * 86400.0)
        subject = ErasureSubject("post", "ann", name)
        number = journal.open_request(installation.state, subject, asked_by="test")
        journal.record_forgotten_posts(installation.state, "ann", [f"document-{day}"], [])
        journal.close_request(installation.state, number, "certificate")
    for name, day in (("_posts/oil.md", "03"), (address, "04"), ("document-2", "03")):
        with pytest.raises(PostForgottenError, match=f"of ann.*forgotten on 1970-01-{day}"):
            find_post(installation, name, authors=["bob", "ann"])
    journal.record_forgotten_posts(installation.state, "bob", ["document-2"], [])  # on the same day
    for authors in (["bob", "ann"], ["ann", "bob"]):
        with pytest.raises(PostForgottenError, match=r"of bob.*forgotten on 1970-01-04"):
            find_post(installation, "document-2", authors=authors)
    for name, author in (("document-4", "ann"), ("document-4", "bob")):
        with pytest.raises(TwinError, match="no match among 0 posts"):
            find_post(installation, name, authors=[author])
    installation.state.close()


def test_an_unknown_subject_cannot_be_planned(home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    installation = Installation.for_settings(home)
    for subject, message in (
        (ErasureSubject("post", "ann", "a.md"), "no imported posts of this author"),
        (ErasureSubject("author", "bob", "bob"), "no author with that slug in this home"),
    ):
        with pytest.raises(TwinError, match=message):
            plan_erasure(installation, subject)
    columns = {"source_id": pl.String(), "url": pl.String()}
    columns |= dict.fromkeys(("title", "text", "path"), pl.String())
    row = ["a.md", "https://x/a", "A", "Words.", None]
    rows = pl.DataFrame([row], schema=columns, orient="row")
    store_rows(installation.tables, "raw_posts", "ann", rows, key="source_id")
    with pytest.raises(TwinError, match="1 posts, none with that source id or address"):
        plan_erasure(installation, ErasureSubject("post", "ann", "b.md"))
    for name in ("a.md", "https://x/a"):
        assert "a.md" in plan_erasure(installation, ErasureSubject("post", "ann", name)).ids
    posts = [PostNames("ann", "a.md", "", "https://x/a", "A", "")]
    assert list_posts(installation, "ann") == posts
    assert list_posts(installation, "bob") == []
    outbox = OutboxRows(installation)
    target = plan_erasure(installation, ErasureSubject("post", "ann", "a.md"))
    assert (outbox.erase(target), outbox.find_remaining(target)) == (0, []), "without an outbox"
    outbox.limit_tombstones(target, until=1.0)
    assert not outbox_path(home).exists()
    installation.state.close()
