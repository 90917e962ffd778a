"""Read and write an author's progress in this home, as a small file for the next command.

Scope: the last import, the three questions with their answers before and after, and whether
training is expected.
Out of scope: verdicts and versions (in the registry).
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
from twin_resources.processes.process_identity import ProcessIdentity
from twin_resources.settings import Settings

TrainingState = Literal["", "expected", "launched", "too_small", "not_wanted", "finished"]

# Files whose text is compared; all others are compared by size and time only.
TEXT_SUFFIXES = frozenset((".md", ".markdown", ".mdx", ".html", ".htm", ".txt", ".toml", ".yaml"))
MAX_COMPARED_BYTES = 8 * 2**20  # bytes


@dataclass(frozen=True)
class EndpointAnswer:
    """One answer of the endpoint, as shown in the tables.

    Attributes:
        sources: the posts that support it: `chunk_id`, `document_id`, `title`, `url` each.
        version: `base`, or a version such as `v3`.
        cost_usd: the cost in US dollars.
        seconds: the seconds from the question to the last word.
        kind: `quote`, `quote_and_voice`, `voice` or `not_written_about`, or empty if unknown.
        quotes: the author's own sentences in it, best first; from the gateway's `twin` field.
        nearest: the nearest posts if the author has not written about it; from the same field.
        release, prose, draft: the version's released forms, the result for its prose, and why this
            is a draft; from the same field.
    """

    question: str
    text: str
    sources: tuple[dict[str, Any], ...] = ()
    trace_id: str = ""
    version: str = ""
    cost_usd: float | None = None
    degraded: str = ""
    disclosure: str = ""
    seconds: float = 0.0
    kind: str = ""
    quotes: tuple[dict[str, Any], ...] = ()
    nearest: tuple[dict[str, Any], ...] = ()
    release: str = ""
    prose: dict[str, Any] = field(default_factory=dict[str, Any])
    draft: dict[str, Any] | None = None


@dataclass(frozen=True)
class AuthorProgress:
    """The progress of one author; see the module docstring.

    Attributes:
        fingerprint: the fingerprint of sources and importing code at the last successful import.
        kept, words: the usable posts and their words at that time.
        questions: the questions asked before and after training.
        training: the state of the expected training; `run_id` is its Dagster run.
        up: the `twin up` command that processes this author.
        not_aliases: names that a person has declared not to be this author's.
    """

    fingerprint: str = ""
    kept: int = 0
    words: int = 0
    questions: tuple[str, ...] = ()
    before: tuple[EndpointAnswer, ...] = ()
    after: tuple[EndpointAnswer, ...] = ()
    training: TrainingState = ""
    run_id: str = ""
    up: ProcessIdentity | None = field(default=None)
    not_aliases: tuple[str, ...] = ()


def read_progress(settings: Settings, slug: str) -> AuthorProgress:
    """Return the known progress; empty if the author has never been served here.

    An answer that repeated a post loses its text when the post is forgotten, and is left out.
    """
    try:
        text = _progress_path(settings, slug).read_text(encoding="utf-8")
        document: dict[str, Any] = json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError):
        return AuthorProgress()  # a truncated file costs one import that finds no changes
    up = document.pop("up", None)
    answers = {
        name: tuple(
            EndpointAnswer(
                **(row | {several: tuple(row.get(several) or ()) for several in _TUPLE_FIELDS})
            )
            for row in document.pop(name, ())
            if set(row) >= _REQUIRED_FIELDS
        )
        for name in ("before", "after")
    }
    for name in ("questions", "not_aliases"):
        document[name] = tuple(document.get(name, ()))
    known_fields = {name: value for name, value in document.items() if name in _FIELDS}
    return AuthorProgress(up=ProcessIdentity(**up) if up else None, **answers, **known_fields)


def write_progress(settings: Settings, slug: str, progress: AuthorProgress) -> None:
    """Replace the file atomically (mode 600: it holds answers)."""
    path = _progress_path(settings, slug)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(progress), ensure_ascii=False, indent=1))


def fingerprint(author: Author, settings: Settings) -> str:
    """Return the SHA-256 of an author's sources and names, the importing code and the embedder.

    If it is unchanged, an import would have no work. Text files count with their bytes; other and
    very large files with their size and modification time. A source at an address always counts as
    changed.
    """
    digest = hashlib.sha256(settings.embedder.encode())
    digest.update(json.dumps(sorted(author.include)).encode())
    digest.update(json.dumps([author.name, *sorted(author.aliases)]).encode())
    for source in author.sources:
        digest.update(f"\0{source}\0".encode())
        if "://" in source:
            digest.update(os.urandom(16))  # only an import can determine its content
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
        relative = path.relative_to(source) if path != source else Path(path.name)
        digest.update(f"\0{relative}\0{file_stat.st_size}\0".encode("utf-8", "surrogateescape"))
        if path.suffix.lower() in TEXT_SUFFIXES and file_stat.st_size <= MAX_COMPARED_BYTES:
            digest.update(path.read_bytes())
        else:
            digest.update(str(file_stat.st_mtime_ns).encode())


def _progress_path(settings: Settings, slug: str) -> Path:
    return settings.home / "progress" / f"{slug}.json"


_TUPLE_FIELDS = ("sources", "quotes", "nearest")  # tuples that JSON returns as lists
_REQUIRED_FIELDS = frozenset({"question", "text"})
_FIELDS = frozenset(AuthorProgress.__dataclass_fields__)
