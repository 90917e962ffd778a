"""Read and write the file that records an author's progress for the next command.

Scope: the last import, the questions for the first answers, and whether training is expected.
Out of scope: verdicts and versions (the registry stores them).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import twin_assets
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import Author
from twin_resources.page.author_files import progress_path
from twin_resources.processes.process_identity import ProcessIdentity
from twin_resources.settings import Settings

TrainingState = Literal[
    "", "expected", "launched", "too_small", "not_wanted", "no_consent", "finished"
]

# Files that are compared by content, not only by size and modification time.
TEXT_SUFFIXES = frozenset((".md", ".markdown", ".mdx", ".html", ".htm", ".txt", ".toml", ".yaml"))
MAX_COMPARED_BYTES = 8 * 2**20


@dataclass(frozen=True)
class AuthorProgress:
    """The progress of one author; see the module docstring.

    Attributes:
        fingerprint: the result of `compute_fingerprint` for the last successful import.
        kept, words: the number of usable posts and their total word count at that time.
        questions: the questions from which `twin up` shows the best first answers.
        examples: those of the questions that got a quotation, the best first; the page shows them.
        training: state of the expected training; `run_id` is its Dagster run. `not_wanted` keeps
            the choice `--no-train` for the next `twin up`.
        up: the `twin up` process that is working on this author, or None.
        not_aliases: names that a user has rejected as names of this author.
    """

    fingerprint: str = ""
    kept: int = 0
    words: int = 0
    questions: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    training: TrainingState = ""
    run_id: str = ""
    up: ProcessIdentity | None = field(default=None)
    not_aliases: tuple[str, ...] = ()


def read_progress(settings: Settings, slug: str) -> AuthorProgress:
    """Return the stored progress, or empty progress if there is no readable file."""
    try:
        text = progress_path(settings, slug).read_text(encoding="utf-8")
        document: dict[str, Any] = json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError):
        return AuthorProgress()  # a truncated file causes only one unnecessary import
    up_fields = document.pop("up", None)
    for name in ("questions", "examples", "not_aliases"):
        document[name] = tuple(document.get(name, ()))
    known_fields = {
        name: value
        for name, value in document.items()
        if name in AuthorProgress.__dataclass_fields__
    }
    return AuthorProgress(up=ProcessIdentity(**up_fields) if up_fields else None, **known_fields)


def write_progress(settings: Settings, slug: str, progress: AuthorProgress) -> None:
    """Replace the file atomically, with mode 600."""
    path = progress_path(settings, slug)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(progress), ensure_ascii=False, indent=1))


def compute_fingerprint(author: Author, settings: Settings) -> str:
    """Return the SHA-256 of an author's sources and names, the import code and the embedder.

    If the fingerprint has not changed, an import would change nothing. Text files are hashed by
    content; other files, and very large text files, are hashed by size and modification time. A
    remote source (a URL) always counts as changed.
    """
    digest = hashlib.sha256(settings.embedder.encode())
    digest.update(json.dumps([sorted(author.include), sorted(author.exclude)]).encode())
    digest.update(json.dumps([author.name, *sorted(author.aliases)]).encode())
    for source in author.sources:
        digest.update(f"\0{source}\0".encode())
        if "://" in source:
            digest.update(os.urandom(16))  # only an import can read its content
        else:
            _hash_tree(digest, Path(source))
    root = Path(str(twin_assets.__file__)).resolve().parent
    for stage in ("corpus", "knowledge"):
        for path in sorted((root / stage).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _hash_tree(digest: Any, source: Path) -> None:
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in paths:
        if not path.is_file() or ".git" in path.parts:
            continue
        file_stat = path.stat()
        relative_path = path.relative_to(source) if path != source else Path(path.name)
        digest.update(
            f"\0{relative_path}\0{file_stat.st_size}\0".encode("utf-8", "surrogateescape")
        )
        if path.suffix.lower() in TEXT_SUFFIXES and file_stat.st_size <= MAX_COMPARED_BYTES:
            digest.update(path.read_bytes())
        else:
            digest.update(str(file_stat.st_mtime_ns).encode())
