"""Test the progress that `twin up` stores for the next command."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from twin_cli.commands.author_progress import (
    AuthorProgress,
    compute_fingerprint,
    read_progress,
    write_progress,
)

from twin_resources.authors import Author
from twin_resources.processes.process_identity import ProcessIdentity
from twin_resources.settings import Settings


def test_stored_progress_is_read_back_unchanged(home: Settings) -> None:
    progress = AuthorProgress(
        fingerprint="f",
        kept=40,
        words=9_000,
        questions=("Why?",),
        examples=("Why?",),
        training="launched",
        run_id="r",
        up=ProcessIdentity(1, 2.0),
    )
    write_progress(home, "jose", progress)
    assert read_progress(home, "jose") == progress
    assert read_progress(home, "nobody") == AuthorProgress()
    path = home.home / "progress" / "jose.json"
    path.write_text(path.read_text()[:20])
    assert read_progress(home, "jose") == AuthorProgress(), "a truncated file was read"


def test_the_fingerprint_depends_on_contents_names_and_embedder(
    home: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    post, image = folder / "a.md", folder / "a.png"
    post.write_text("one")
    image.write_bytes(b"12")
    author = Author(slug="a", name="A", sources=(str(folder),))
    fingerprints = [compute_fingerprint(author, home)]
    assert [compute_fingerprint(author, home)] == fingerprints

    times = (post.stat().st_atime_ns, post.stat().st_mtime_ns)
    post.write_text("two")  # the same size and modification time
    os.utime(post, ns=times)
    fingerprints.append(compute_fingerprint(author, home))
    post.rename(folder / "b.md")
    fingerprints.append(compute_fingerprint(author, home))
    image.write_bytes(b"123")
    fingerprints.append(compute_fingerprint(author, home))
    fingerprints.append(compute_fingerprint(author, home.model_copy(update={"embedder": "x"})))
    fingerprints.append(compute_fingerprint(replace(author, aliases=("B",)), home))
    assert len(set(fingerprints)) == 6


def test_a_source_may_be_a_single_file_or_missing(home: Settings, tmp_path: Path) -> None:
    post = tmp_path / "a.md"
    post.write_text("one")
    author = Author(slug="a", name="A", sources=(str(post),))
    fingerprint_of_file = compute_fingerprint(author, home)
    post.unlink()
    assert compute_fingerprint(author, home) != fingerprint_of_file
