"""Preview an import: the import itself, into temporary tables, and a report of what they hold."""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import cleaning, cleaning_verdicts
from twin_assets.corpus.boilerplate import count_removed_lines
from twin_assets.corpus.corpus_tables import QUARANTINED
from twin_assets.corpus.importers.generators import is_extra_missing, is_text_reason
from twin_assets.corpus.importers.text_formats import EXTRA
from twin_assets.corpus.raw_posts_import import OnProgress, update_raw_posts
from twin_assets.corpus.reconciliation import count_dropped_by_reason, count_values, sum_counts
from twin_assets.corpus.remediation import find_advice
from twin_assets.corpus.title_questions import (
    generate_title_questions,
    score_titles,
    select_typical_posts,
)
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.processes.wording import format_count
from twin_resources.settings import EMBEDDED_EMBEDDER, MULTILINGUAL_EMBEDDER, Settings

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

QUESTION_COUNT = 3
"""Number of questions to ask first."""
MORE_QUESTIONS_COUNT = 12
"""Number of further questions; the preview shows the best answers among them."""

MAX_NAMED_FILES = 3
"""Maximum number of dropped files named for each reason."""

MAX_NAMED_LINES = 3
"""Maximum number of repeated lines that the preview shows."""
_MAX_LINE_CHARACTERS = 60

_UNNAMED_SLUG = "posts"
_MIN_LANGUAGE_SHARE = 0.02
"""A language with a smaller share, such as that of a quotation, does not cause a warning."""
_RAW_COLUMNS = ["source_id", "author", "problem", "encoding", "remark"]
_DOCUMENT_COLUMNS = [
    *("document_id", "source_id", "source", "title", "url", "text", "byline", "published_at"),
    *("language", "words", "kept", "dropped_because"),
]


@dataclass(frozen=True)
class Preview:
    """The report of a preview; `found == kept + sum(dropped.values())`.

    Attributes:
        author: the author's display name.
        layouts: `jekyll`, `hugo`, `notes` or `file`, one per source, or an importer's name for
            exports.
        found, kept: numbers of posts; excluded posts of an export count as found.
        dropped: the number of dropped posts by reason.
        named: at most `MAX_NAMED_FILES` dropped files by reason.
        cures: what to do about each reason.
        repeated: what was left out of the kept posts because it repeats across posts: the number of
            `documents` and `words`, and the most frequent `lines` with the number of posts.
        converted: the number of posts converted to UTF-8, by their original encoding.
        skipped: the number of files that are not posts, by reason; `found` does not include them.
        unread: the number of text files that are not read as posts, because of their format or the
            site's layout.
        mostly_unread: whether the unread files outnumber the posts.
        dates: the first and the last date of the kept posts in ISO 8601; empty if none has one.
        dated: the number of kept posts with a date.
        words: the number of words of the kept posts.
        languages: the number of kept posts by ISO 639-1 code, or `und` if the language is unknown.
        titles: the titles of three typical posts.
        questions: questions that a reader could ask about these posts, then about other posts.
        bylines: the number of posts by byline.
        warnings: sentences for the user.
        failed: sources that could not be read, and why. Their posts are not counted unless an
            earlier import stored them.
        changes: numbers of added, edited and deleted posts compared with the stored import, or None
            without one.
        embedder: the embedder that a new home would use for these posts. An existing home keeps its
            embedder, and a configured embedder takes precedence.
        unclaimed: the number of posts by byline, for names that sign most posts of a source but are
            not known to be the author's. The user must say whether they are.
        posts: the posts that the questions are about, with columns of `cleaned_documents`; omitted
            from the JSON.
        folder: the folder of the preview's tables, which the import's run copies from; omitted from
            the JSON.
    """

    author: str
    layouts: list[str]
    found: int
    kept: int
    dropped: dict[str, int]
    named: dict[str, list[str]]
    cures: dict[str, str]
    repeated: dict[str, Any]
    converted: dict[str, int]
    skipped: dict[str, int]
    unread: int
    mostly_unread: bool
    dates: list[str]
    dated: int
    words: int
    languages: dict[str, int]
    titles: list[str]
    questions: list[str]
    bylines: dict[str, int]
    warnings: list[str]
    failed: list[str]
    changes: dict[str, int] | None
    embedder: str
    unclaimed: dict[str, int]
    posts: pl.DataFrame = field(repr=False, compare=False)
    folder: str = field(repr=False, compare=False)

    def to_json_document(self) -> dict[str, Any]:
        """Return the document that `--json` prints: everything except the posts."""
        hidden = {"posts", "folder"}
        return {name: value for name, value in vars(self).items() if name not in hidden}


def preview(
    author: Author,
    tables: Tables,
    settings: Settings,
    *,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> Preview:
    """Import and clean an author's posts into a preview's tables, and report on them.

    A post that the home has stored, or an earlier preview in the same tables, is copied and not
    read again.

    Args:
        author: the author as the import will find it; without a name, the posts are compared with
            no stored ones.
        tables: those of `open_preview_tables`.
        settings: `embedder` determines the languages, and `home` the stored posts.
        on_progress: called with the stage, the number of posts that are done and of all posts.

    Raises:
        TwinError: there is nothing to import.
    """
    previewed = replace(author, slug=author.slug or _UNNAMED_SLUG)
    with _open_stored_tables(settings, author.slug) as stored:
        has_earlier_import = stored is not None and stored.exists("raw_posts", author.slug)
        result = update_raw_posts(
            tables, previewed, earlier=stored, finished=stored, on_progress=on_progress
        )
        cleaning.update_cleaned_documents(
            tables, previewed, finished=stored, on_progress=on_progress
        )
    on_progress("choosing questions", 0, 0)
    shortened = tables.read(
        cleaning.CLEANED_TABLE,
        previewed.slug,
        columns=["source_id", "body", "text"],
        where="kept AND body IS NOT NULL",
    )
    posts = tables.read("raw_posts", previewed.slug, columns=_RAW_COLUMNS, where="NOT deleted")
    documents = tables.read(cleaning.CLEANED_TABLE, previewed.slug, columns=_DOCUMENT_COLUMNS)
    documents = documents.join(posts, on="source_id", how="semi").sort("source_id")
    repeated = count_removed_lines(shortened.join(posts, on="source_id", how="semi"))
    inventory = result.inventory
    names = cleaning.list_author_names(author)
    excluded_counts = inventory.count_excluded_items()
    accepted = documents.filter("kept")
    dates = accepted["published_at"].drop_nulls().sort()
    languages = count_values(accepted["language"])
    embedder, language_warnings = _choose_embedder(languages, settings)
    scored_posts = score_titles(accepted)
    selections = [
        select_typical_posts(scored_posts, count=count)
        for count in (QUESTION_COUNT, MORE_QUESTIONS_COUNT)
    ]
    questions = [question for rows in selections for question in generate_title_questions(rows)]
    question_ids = pl.concat(selections)["document_id"]
    skips = inventory.skipped_counts
    unread_count = sum(count for reason, count in skips.items() if is_text_reason(reason))
    unread_count += posts.filter(problem="template").height
    read_count = posts.filter(problem="").height
    is_quarantined = pl.col("dropped_because").str.starts_with(QUARANTINED)
    dropped_posts = documents.filter(~pl.col("kept")).sort(is_quarantined, "source_id")
    dropped = sum_counts(excluded_counts, count_dropped_by_reason(dropped_posts))
    unclaimed = _count_unclaimed_posts(documents, names)
    return Preview(
        author=author.name,
        layouts=inventory.layouts,
        found=documents.height + sum(excluded_counts.values()),
        kept=accepted.height,
        dropped=dropped,
        named={
            str(reason): _abbreviate_names(rows["source_id"].to_list())
            for (reason,), rows in dropped_posts.group_by("dropped_because", maintain_order=True)
        },
        cures={reason: cure for reason in dropped if (cure := find_advice(reason))},
        repeated=repeated
        | {
            "lines": {
                line
                if len(line) <= _MAX_LINE_CHARACTERS
                else f"{line[:_MAX_LINE_CHARACTERS].rstrip()}…": count
                for line, count in list(repeated["lines"].items())[:MAX_NAMED_LINES]
            }
        },
        converted=count_values(posts.filter(pl.col("encoding") != "")["encoding"]),
        skipped=skips,
        unread=unread_count,
        mostly_unread=unread_count > read_count,
        dates=[dates[0].isoformat(), dates[-1].isoformat()] if dates.len() else [],
        dated=dates.len(),
        words=int(accepted["words"].sum()),
        languages=languages,
        titles=selections[0]["title"].to_list(),
        questions=list(dict.fromkeys(questions)),
        bylines=count_values(posts.filter(pl.col("author") != "")["author"]),
        warnings=[
            *language_warnings,
            *_build_byline_warnings(documents, names, unclaimed, slug=author.slug),
            *_build_remark_warnings(posts.filter(pl.col("remark") != "")),
            *_build_unread_warnings(unread_count, read_count=read_count, skipped=skips),
            *_build_quarantine_warnings(
                accepted.height, documents.filter(is_quarantined).height, settings
            ),
            *([] if accepted.height else ["no post can be used: see the reasons above"]),
        ],
        failed=result.failures,
        changes=dict(result.changes) if has_earlier_import else None,
        embedder=embedder,
        unclaimed=unclaimed,
        posts=accepted.filter(pl.col("document_id").is_in(question_ids.implode())),
        folder=tables.base_uri,
    )


def get_supported_languages(settings: Settings) -> tuple[str, ...]:
    """Return the ISO 639-1 codes of the embedder's languages, or () if they are unknown.

    A prepared embedder lists them in its manifest; the embedded embedder supports English.
    """
    from twin_resources.models.embedder.embedder import find_prepared_embedder

    try:
        return find_prepared_embedder(settings)[1].languages
    except TwinError:  # a preview may run before the embedder is prepared
        return ("en",) if settings.embedder == EMBEDDED_EMBEDDER else ()


@contextmanager
def _open_stored_tables(settings: Settings, slug: str) -> Generator[Tables | None]:
    """Yield the tables if the home has stored posts of this author, or else None."""
    if not slug or (
        "://" not in settings.tables_base and not Path(settings.tables_base, slug).exists()
    ):
        yield None  # without an import, no state store is opened or created
        return
    from twin_resources.storage.state.home_state import open_home_state
    from twin_resources.storage.tables.tables import Tables

    with closing(open_home_state(settings)) as state:
        yield Tables(settings.tables_base, state=state)


def _choose_embedder(languages: Mapping[str, int], settings: Settings) -> tuple[str, list[str]]:
    """Return the embedder, and a warning if it does not support the language of some posts.

    A new home uses the multilingual embedder if the default does not support most of the posts.
    """

    def count_unsupported(supported: tuple[str, ...]) -> dict[str, int]:
        known = {*supported, "und"}
        return {code: count for code, count in languages.items() if code not in known}

    total, embedder = sum(languages.values()), settings.embedder
    is_default = embedder == EMBEDDED_EMBEDDER and "embedder" not in settings.model_fields_set
    unsupported_count = sum(count_unsupported(get_supported_languages(settings)).values())
    if is_default and 2 * unsupported_count > total:
        embedder = MULTILINGUAL_EMBEDDER
    supported = get_supported_languages(settings.model_copy(update={"embedder": embedder}))
    counts = {
        code: count
        for code, count in count_unsupported(supported).items()
        if supported and count > _MIN_LANGUAGE_SHARE * total
    }
    if not counts:
        return embedder, []
    return embedder, [
        f"the embedder {embedder} supports only {', '.join(supported)}, but "
        f"{sum(counts.values()):,} of {format_count(total, 'post')} are in another "
        f"language ({_format_counts(counts)}): search results for them will be poor; "
        f"choose a multilingual embedder with --embedder ({MULTILINGUAL_EMBEDDER} is installed)"
    ]


def _build_quarantine_warnings(kept: int, quarantined: int, settings: Settings) -> list[str]:
    """Return a warning if the quarantine is so large that an import would stop."""
    share = quarantined / max(1, kept + quarantined)
    if share <= settings.most_quarantined:
        return []
    return [
        f"{share:.0%} of the usable posts ({quarantined:,}) violate a claim; "
        f"an import stops above {settings.most_quarantined:.0%} (TWIN_MOST_QUARANTINED)"
    ]


_REMARK_TEXTS: Mapping[str, tuple[str, str]] = {
    "ambiguous_date": (
        "with an ambiguous date (3/5/2020, read as month and day; 5. listopada 2020)",
        "write 2020-03-05, or state the language in `lang` (en-GB)",
    ),
    "dated_by_git": ("dated by git, for lack of another date", ""),
    "came_in_one_piece": ("without a date, even in git, where many files were added at once", ""),
}


def _build_remark_warnings(remarked_posts: pl.DataFrame) -> list[str]:
    """Return a warning for each remark on the posts, with the names of the first files."""
    warnings: list[str] = []
    for (remark,), rows in remarked_posts.group_by("remark", maintain_order=True):
        problem, cure = _REMARK_TEXTS.get(str(remark), (str(remark).replace("_", " "), ""))
        names = ", ".join(_abbreviate_names(rows["source_id"].sort().to_list()))
        end = f"; {cure}" if cure else ""
        warnings.append(f"{format_count(rows.height, 'post')} {problem}: {names}{end}")
    return warnings


def _build_unread_warnings(
    unread_count: int, *, read_count: int, skipped: Mapping[str, int]
) -> list[str]:
    install_advice = f"`pip install '{EXTRA}'` adds support for some of the skipped files"
    install_warnings = [install_advice] if is_extra_missing(skipped) else []
    if unread_count <= read_count:
        return install_warnings
    return [
        *install_warnings,
        f"{format_count(unread_count, 'file')} with text "
        f"{'is' if unread_count == 1 else 'are'} skipped, and only "
        f"{format_count(read_count, 'post')} can be read: check the skipped files, and "
        "specify the folder that contains the posts",
    ]


def _count_unclaimed_posts(documents: pl.DataFrame, names: Sequence[str]) -> dict[str, int]:
    """Return the number of posts by each alias that would make them the author's."""
    reasons = count_values(documents["dropped_because"])
    return cleaning_verdicts.find_unclaimed_bylines(documents, names) | {
        alias: reasons[reason]
        for reason, alias in cleaning_verdicts.ALIAS_BY_REASON.items()
        if reason in reasons
    }


_BYLINE_QUESTIONS: Mapping[str, tuple[str, str]] = {
    cleaning_verdicts.UNSIGNED: (
        "others write here too, and nobody signed",
        "whoever wrote them is",
    ),
    cleaning_verdicts.CO_SIGNED: (
        "somebody else signed too in",
        "their words are all the same those of",
    ),
}


def _build_byline_warnings(
    documents: pl.DataFrame, names: Sequence[str], unclaimed: Mapping[str, int], *, slug: str
) -> list[str]:
    """Return warnings about posts by others, which would teach the twin another person's voice.

    They count the excluded posts, and name any handle that counts as the author's.

    Args:
        documents: `cleaned_documents` of all posts.
        names: the author's name and aliases.
        unclaimed: `_count_unclaimed_posts`.
    """
    if not names:
        return []
    warnings: list[str] = []
    posts = format_count(documents.height, "post")
    foreign_bylines = count_values(documents.filter(dropped_because="foreign_byline")["byline"])
    if foreign_bylines:
        warnings.append(
            f"{sum(foreign_bylines.values()):,} of {posts} are excluded because somebody other "
            f"than {names[0]} signed them ({_format_counts(foreign_bylines)})"
        )
    for name, count in unclaimed.items():
        facts = _BYLINE_QUESTIONS.get(name, (f"{name} signed", "that is also"))
        warnings.append(
            f"{facts[0]} {count:,} of {posts}; if {facts[1]} {names[0]}, add aliases = "
            f'["{name}"] to authors/{slug}.toml'
        )
    for name, count in cleaning_verdicts.find_adopted_handles(documents, names).items():
        warnings.append(
            f"{count:,} of {posts} are signed {name}, which is taken to be {names[0]}'s handle "
            "because it appears on most posts of its source"
        )
    return warnings


def _abbreviate_names(names: Sequence[str]) -> list[str]:
    """Return the first names, and the number of further ones."""
    further_count = max(0, len(names) - MAX_NAMED_FILES)
    return [*names[:MAX_NAMED_FILES], *([f"{further_count:,} more"] if further_count else [])]


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
