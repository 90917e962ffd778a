"""Read and write an author's settings in the TOML file `authors/<slug>.toml`.

Scope: the settings of one author, their defaults, reading and writing the files, slugs.
Out of scope: settings of the whole home (`settings.py`); the authors in Dagster
(`twin_assets/partitions.py`).

Format: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import logging
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from twin_resources.atomic_writes import replace_file
from twin_resources.authors.answer_forms import AnswerSetting
from twin_resources.authors.front_desk_settings import (
    DEFAULT_DESK_TEXTS,
    DeskTexts,
    read_front_desk,
)
from twin_resources.authors.guard_settings import DEFAULT_GUARDS, Guards, read_guards
from twin_resources.authors.score_settings import NO_SCORES, CountedScores, read_scores
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

# The folder contains one subfolder per bundled author. In a checkout it links to deploy/samples.
SAMPLES_DIR = Path(__file__).resolve().parent / "samples"
OPT_INS = frozenset({"drafts", "private", "followers", "paid", "replies"})
"""Kinds of posts that an import omits unless the author's settings include them."""
# Limit for a prompt's passages in tokens of the embedder, enough for two passages of 1,000
# characters. With 700, a training sample of 770 tokens had 100 left for the answer, and the model
# read twice as many tokens before each reply.
CONTEXT_TOKENS = 480
FREQUENCY_PENALTY = 0.4  # without a penalty, a small model repeats one sentence to the end
_LOG = logging.getLogger(__name__)
_TABLE_READERS = {"front_desk": read_front_desk, "guards": read_guards, "scores": read_scores}


@dataclass(frozen=True)
class Author:
    """The settings in `authors/<slug>.toml`. A change needs no retraining.

    Attributes:
        slug: partition key and alias (`twin/<slug>`), ASCII.
        name: the name as people write it.
        aliases: other names and handles with which the author signs; a post with any other byline
            belongs to another author. `unsigned` and `co-signed` claim such posts too, where others
            write in the same source.
        sources: absolute folders or files that `raw_posts` imports.
        include: a subset of `OPT_INS`.
        exclude: globs of folders and files that an import leaves out of the sources.
        language: ISO 639-1 code, or empty to detect it from the corpus.
        temperature, max_tokens: sampling parameters of an answer.
        context_tokens: limit in tokens for the passages in a prompt, in training and in serving. A
            full passage needs about 230. Larger models benefit from more. A change creates a new
            dataset.
        disclosure: where the reader sees that a model wrote the answer: `field` (only in
            `twin.disclosure`), `first` (also above the first answer of a conversation) or `each`
            (above every answer). Any other text is the author's own sentence and replaces the
            generated one in the field.
        recipe: name of the training recipe, or the path of its file; empty for the recipe that fits
            the base model and the device (architecture.md, Training).
        answer_model: a larger model that answers with the author's posts until a tuned version
            beats it in a trial: a folder, a GGUF file, a hub id, or an OpenAI-compatible address
            (`https://…/v1#model`). It takes effect with the next `twin up`. Empty for none.
        release_mode: `gate`, `shadow`, or `auto` to choose by measurement
            (architecture.md).
        auto_retrain: overrides `Settings.auto_retrain` unless None.
        answer: the form of an answer from `twin/<author>`. `auto` and `quote_and_voice`: the
            author's own sentences, with prose below them if the gate has released it. `quote`:
            never prose. `voice`: prose alone if it is released or a person has forced it, else
            `quote`.
        system_messages: the treatment of a program's system and developer messages: `ignore`, or
            `note` to pass them to the model, marked as the program's.
        guards: the treatment of personal data, secrets, injections and named words in questions,
            passages and answers; `[guards]`, see privacy.md.
        front_desk: the author's own texts for messages that no post answers (danger, "who are
            you?", thanks …), and where to write to; `[front_desk]`, see privacy.md.
        scores: the scores of the trace store that count in addition to the twin's own, and how they
            are read; `[scores]`, see feedback.md.
        consent: the day and the form of the author's consent (`2026-11-21: by mail`). Without a
            day, nothing is released and no post is sent to a model on another machine
            (`consent.py`).
        paid: if False, nothing of this author is sent to a provider, regardless of the home's
            settings: no question, and no post to a teacher, a judge or for labels on another
            machine.
    """

    slug: str
    name: str
    sources: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    language: str = ""
    temperature: float = 0.3
    max_tokens: int = 200
    context_tokens: int = CONTEXT_TOKENS
    disclosure: str = "field"
    recipe: str = ""
    answer_model: str = ""
    release_mode: str = "auto"
    auto_retrain: bool | None = None
    answer: AnswerSetting = "auto"
    system_messages: Literal["ignore", "note"] = "ignore"
    guards: Guards = DEFAULT_GUARDS
    front_desk: DeskTexts = DEFAULT_DESK_TEXTS
    scores: CountedScores = NO_SCORES
    consent: str = ""
    paid: bool = True
    # Keys of the file that are not settings; they are kept when it is written again.
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def describe_unknown_settings(self) -> list[str]:
        """Return a sentence for each key of the file that is not a setting."""
        return [
            f"{self.slug}.toml has {name!r}, which is not a setting and has no effect; the nearest "
            f"is {get_close_matches(name, SETTING_NAMES, n=1, cutoff=0.0)[0]!r}"
            for name in self.extra
        ]


SETTING_NAMES = tuple(name for name in get_type_hints(Author) if name not in {"slug", "extra"})


def read_author(settings: Settings, slug: str) -> Author:
    """Read one author's file.

    Raises:
        TwinError: the file is missing or is not valid TOML, or has a value of the
            wrong type. A key that is not a setting is logged, once in each process.
    """
    path = settings.authors_dir / f"{slug}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"no file {path}",
            next_step="run `twin up PATH --author NAME` or write the file",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        is_text = not isinstance(error, OSError)
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"{path}: {error}",
            next_step="correct the TOML, and save it as UTF-8"
            if is_text
            else "make it a file that this user may read",
        ) from error
    values = {name: document[name] for name in SETTING_NAMES if name in document}
    for name in ("aliases", "sources", "include", "exclude"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    values.setdefault("name", slug)
    extra = {name: value for name, value in document.items() if name not in SETTING_NAMES}
    errors: list[str] = []
    for name, read_table in _TABLE_READERS.items():
        if name in values:
            try:
                values[name] = read_table(values[name])
            except (ValueError, AttributeError, TypeError) as error:
                errors.append(f"{name}: {error}")
                del values[name]
    for name, value in values.items():
        try:
            values[name] = _field_adapters()[name].validate_python(value, strict=True)
        except ValidationError as error:
            first_error = error.errors()[0]
            location = ".".join(map(str, (name, *first_error["loc"])))
            errors.append(f"{location} is {first_error['input']!r} ({first_error['msg']})")
    if errors:
        raise TwinError(
            f"read the settings of author {slug!r}",
            found=f"{path}: {'; '.join(errors)}",
            next_step='correct the value; write a list as in sources = ["one", "two"]',
        )
    author = Author(slug=slug, **values, extra=extra)
    for sentence in author.describe_unknown_settings():
        _warn_once(f"{settings.authors_dir}: {sentence}")
    return author


@cache
def _warn_once(message: str) -> None:
    """Log a warning; a program reads each file many times, but says it once."""
    _LOG.warning(message)


@cache  # building the adapters costs more than reading a file, and a tick may read 200
def _field_adapters() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(type_hint) for name, type_hint in get_type_hints(Author).items()}


def list_author_slugs(settings: Settings) -> list[str]:
    """Return the slug of every author of this home, without reading the files."""
    return sorted(path.stem for path in settings.authors_dir.glob("*.toml"))


def list_readable_authors(settings: Settings) -> tuple[list[Author], list[str]]:
    """Return the authors of this home, and an error line for each invalid file.

    There is no function that raises for any of them: one author's mistake must not stop another's
    work. Whoever needs one author reads that one (`read_author`).
    """
    authors: list[Author] = []
    errors: list[str] = []
    for slug in list_author_slugs(settings):
        try:
            authors.append(read_author(settings, slug))
        except TwinError as error:
            errors.append(f"{slug}: {error}")
    return authors, errors


def read_counted_scores(settings: Settings) -> dict[str, CountedScores]:
    """Return the `[scores]` table of each author whose table is readable.

    A mistake in one author's file must not block the scores of other authors. This function logs
    it, and `read_author` raises it; the scores count again once the file is corrected. Files
    without the word "scores" are not parsed, because every tick reads all files.
    """
    scores_by_author: dict[str, CountedScores] = {}
    for slug in list_author_slugs(settings):
        try:
            text = (settings.authors_dir / f"{slug}.toml").read_text(encoding="utf-8")
            if "scores" in text:
                scores_by_author[slug] = read_scores(tomllib.loads(text).get("scores", {}))
        except (OSError, ValueError, RecursionError, AttributeError, TypeError) as error:
            _LOG.warning("[scores] of author %s cannot be read, so none counts: %s", slug, error)
    return scores_by_author


def write_author(settings: Settings, author: Author) -> Path:
    """Write one author's file without defaults, so that later releases can change them."""
    import tomli_w

    document: dict[str, Any] = {"name": author.name, "sources": list(author.sources)}
    for name, dataclass_field in Author.__dataclass_fields__.items():
        if name in {"slug", "name", "sources", "extra"}:
            continue
        value = getattr(author, name)
        if value != dataclass_field.default:
            if isinstance(value, DeskTexts | Guards | CountedScores):
                value = value.as_table()
            document[name] = list(value) if isinstance(value, tuple) else value
    document |= author.extra
    path = settings.authors_dir / f"{author.slug}.toml"
    return replace_file(path, tomli_w.dumps(document))
