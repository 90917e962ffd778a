"""What one `twin up` leaves for the next command."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from twin_cli.commands.author_progress import (
    AuthorProgress,
    EndpointAnswer,
    fingerprint,
    read_progress,
    write_progress,
)

from twin_resources.authors import Author
from twin_resources.processes.process_identity import ProcessIdentity
from twin_resources.settings import Settings


def test_it_is_read_back_as_written(home: Settings) -> None:
    answer = EndpointAnswer(
        "Why?", "Because.", ({"chunk_id": "c", "title": "T"},), "t1", "base", 0.001
    )
    progress = AuthorProgress(
        fingerprint="f",
        kept=40,
        words=9_000,
        questions=("Why?",),
        before=(answer,),
        training="launched",
        run_id="r",
        up=ProcessIdentity(1, 2.0),
    )
    write_progress(home, "jose", progress)
    assert read_progress(home, "jose") == progress
    assert read_progress(home, "nobody") == AuthorProgress()


def test_an_answer_whose_text_was_forgotten_is_none(home: Settings) -> None:
    told = (EndpointAnswer("Why?", "Because."), EndpointAnswer("How?", "As the post says."))
    write_progress(home, "jose", AuthorProgress(kept=2, before=told, after=told[1:]))
    path = home.home / "progress" / "jose.json"
    document = json.loads(path.read_text())
    for row in (document["before"][1], document["after"][0]):  # as forgetting leaves it
        del row["text"]
    path.write_text(json.dumps(document))
    assert read_progress(home, "jose") == AuthorProgress(kept=2, before=told[:1])


def test_a_file_cut_short_is_an_unknown_author(home: Settings) -> None:
    write_progress(home, "jose", AuthorProgress(kept=1))
    path = home.home / "progress" / "jose.json"
    path.write_text(path.read_text()[:20])
    assert read_progress(home, "jose") == AuthorProgress()


def test_the_fingerprint_follows_bytes_names_and_embedder(home: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    post, image = folder / "a.md", folder / "a.png"
    post.write_text("one")
    image.write_bytes(b"12")
    author = Author(slug="a", name="A", sources=(str(folder),))
    first = fingerprint(author, home)
    assert fingerprint(author, home) == first

    times = (post.stat().st_atime_ns, post.stat().st_mtime_ns)
    post.write_text("two")  # same size, and the same time
    os.utime(post, ns=times)
    edited = fingerprint(author, home)
    post.rename(folder / "b.md")
    renamed = fingerprint(author, home)
    image.write_bytes(b"123")
    other_image = fingerprint(author, home)
    other_embedder = fingerprint(author, home.model_copy(update={"embedder": "x"}))
    other_name = fingerprint(replace(author, aliases=("B",)), home)
    assert len({first, edited, renamed, other_image, other_embedder, other_name}) == 6


def test_a_source_may_be_one_file_or_have_gone(home: Settings, tmp_path: Path) -> None:
    post = tmp_path / "a.md"
    post.write_text("one")
    author = Author(slug="a", name="A", sources=(str(post),))
    there = fingerprint(author, home)
    post.unlink()
    assert fingerprint(author, home) != there
