"""Make a home that can buy labels: an author's passages, a stable version and data for judges.

Scope: the registry and the tables of the assets before routing.
Out of scope: processes (`stack.py`), assertions.

Passages and voice are Mara Lindqvist's own, so the real judges can be certified on them. The models
are tiny and write nonsense. The simulated provider answers from the passages of its prompt if they
have words in common with the question. The paid model is therefore much better on questions about
clocks but hardly better on small talk.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from tests.live.gateway.stack import build_chunks, store_embeddings
from tests.model_versions import register_version
from tests.sample_schema import SAMPLE_SCHEMA
from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.authors.front_desk_settings import read_front_desk
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import RECORD_FILE

AUTHOR = "mara-lindqvist"
BASE = "tests/tiny"
HELD_OUT_DOCUMENTS = 8  # of 40 documents: about 50 prompts for the certificates
MAX_TOKENS = 60
_SMALL_TALK = (
    "Good morning to you, are you there",
    "Thank you, that was very kind of you",
    "Hello, is anybody awake at this hour",
    "I wish you a pleasant evening",
    "Nice to meet you, my name is",
    "See you again tomorrow, goodbye",
)
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lena")


def clock_question(number: int) -> str:
    """Return a reader's question about one of the posts, different for each number."""
    passages = _load_passages()
    document, text = passages[(number * 37) % len(passages)]
    words = text.split()
    start = 3 + number // len(passages) * 6
    quoted = " ".join(words[start : start + 14])
    return f"What do you say about {_make_title(document)}, and of {quoted}?"


def small_talk(number: int) -> str:
    """Return a reader's message that is not about any post."""
    text = _SMALL_TALK[number % len(_SMALL_TALK)]
    name = _NAMES[number // len(_SMALL_TALK) % len(_NAMES)]
    return f"{text}, {name} {number // (len(_SMALL_TALK) * len(_NAMES)) + 1}!"


def prepare_home(settings: Settings, model: Path, embedder: Embedder) -> None:
    """Fill the author's tables and register a stable version.

    Args:
        model: the GGUF file of both the version and the base model.
    """
    base = _write_prepared_base(settings, model)
    write_author(
        settings,
        Author(
            AUTHOR,
            "Mara Lindqvist",
            max_tokens=MAX_TOKENS,
            temperature=0.0,
            answer="voice",  # the stable version is forced, and this home has nothing to quote
            front_desk=read_front_desk({"greeting": "", "identity": "", "ability": ""}),
            consent="2020-01-01: an invented author",
        ),
    )
    state = open_home_state(settings)
    tables = Tables(settings.tables_base, state=state)
    chunks = _create_chunks(embedder)
    store_rows(tables, "document_chunks", AUTHOR, chunks, key="chunk_id")
    _write_posts(tables)
    store_rows(tables, "instruction_dataset", AUTHOR, _create_samples(), key="sample_id")
    store_embeddings(tables, AUTHOR, chunks, embedder)
    registry = Registry(state, policy_path=settings.policy_path)
    register_version(
        registry,
        AUTHOR,
        "checkpoint-1",
        folder=str(base),
        base=str(base),
        base_gguf=str(model),
        template=DEFAULT_TEMPLATE.hash,
    )
    registry.move(AUTHOR, 1, "refused", actor="test", reason="to force it")
    registry.move(AUTHOR, 1, "stable", actor="test", reason="by hand", force=True)


def _write_prepared_base(settings: Settings, model: Path) -> Path:
    """Write the folder of a prepared base model without the files that only training reads."""
    folder = settings.weights_dir / BASE.replace("/", "-") / "0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    record = {
        "schema": 1,
        "name": BASE,
        "source": f"hub:{BASE}",
        "folder": ".",
        "gguf": str(model),
        "revision": "0",
    }
    (folder / RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")
    return folder


def _load_passages() -> tuple[tuple[str, str], ...]:
    [writer] = [writer for writer in bundled_writers(exclude=[]) if writer.name == AUTHOR]
    return writer.passages


def _make_title(document: str) -> str:
    return document.split("-", 3)[-1].replace("-", " ")


def _create_chunks(embedder: Embedder) -> pl.DataFrame:
    chunks = [
        {
            "chunk_id": f"{document}-c{number}",
            "document_id": document,
            "title": _make_title(document),
            "url": f"https://clocks.example/{document}",
            "position": number,
            "text": text,
        }
        for number, (document, text) in enumerate(_load_passages())
    ]
    return build_chunks(chunks, embedder)


def _create_samples() -> pl.DataFrame:
    """Return a sample for each passage with its question; the newest posts are held out."""
    documents = {document for document, _ in _load_passages()}
    held_out = set(sorted(documents)[-HELD_OUT_DOCUMENTS:])
    rows: list[dict[str, Any]] = []
    for number, (document, text) in enumerate(_load_passages()):
        words = " ".join(text.split()[:5])
        question = f"What is there to say about {_make_title(document)}, {words}?"
        messages = render(DEFAULT_TEMPLATE, author_name="Mara Lindqvist", question=question)
        rows.append(
            {
                "sample_id": f"sample-{number:03}",
                "document_id": document,
                "chunk_id": f"{document}-c{number}",
                "split": "held_out" if document in held_out else "train",
                "question": question,
                "answer": text,
                "start": 0,
                "end": len(text),
                "messages": [*messages, {"role": "assistant", "content": text}],
                "template": DEFAULT_TEMPLATE.hash,
                "context_chunk_ids": [f"{document}-c{number}"],
            }
        )
    return pl.DataFrame(rows, schema=SAMPLE_SCHEMA)


def _write_posts(tables: Tables) -> None:
    """Write the posts to which `twin explain` traces a chunk."""
    documents = sorted({document for document, _ in _load_passages()})
    cleaned = pl.DataFrame({"document_id": documents, "source_id": documents})
    store_rows(tables, "cleaned_documents", AUTHOR, cleaned, key="document_id")
    posts = pl.DataFrame({"source_id": documents}).with_columns(
        path=pl.col("source_id") + ".md",
        url="https://clocks.example/" + pl.col("source_id"),
        deleted=pl.lit(False),
    )
    store_rows(tables, "raw_posts", AUTHOR, posts, key="source_id")
