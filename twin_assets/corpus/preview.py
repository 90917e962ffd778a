"""Summarize a folder of posts before anything is prepared, trained or stored.

Scope: the assets' import and cleaning, run in memory. Out of scope: Dagster, writing data,
showing the result (`deploy/twin_cli/commands/preview_report.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import cleaning, cleaning_verdicts, raw_posts_import
from twin_assets.corpus.corpus_tables import QUARANTINED
from twin_assets.corpus.importers.generators import is_extra_missing, is_text_reason
from twin_assets.corpus.importers.text_formats import EXTRA
from twin_assets.corpus.inventory import Inventory, take_inventory
from twin_assets.corpus.reconciliation import count_dropped_by_reason, count_values, sum_counts
from twin_assets.corpus.remediation import find_advice
from twin_assets.corpus.title_questions import generate_title_questions, select_typical_posts
from twin_resources.authors import Author, list_readable_authors
from twin_resources.errors import TwinError
from twin_resources.processes.wording import format_count
from twin_resources.settings import EMBEDDED_EMBEDDER, MULTILINGUAL_EMBEDDER, Settings
from twin_resources.slugs import make_slug

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

OnProgress = Callable[[str, int, int], object]

QUESTION_COUNT = 3
"""Number of questions to ask first."""
MORE_QUESTIONS_COUNT = 12
"""Number of further questions; the preview shows the best answers among them."""

MAX_NAMED_FILES = 3
"""Maximum number of dropped files named for each reason."""

_MIN_LANGUAGE_SHARE = 0.02
"""A language with a smaller share, such as that of a quotation, does not cause a warning."""


@dataclass(frozen=True)
class AcceptedPosts:
    """The kept posts, as a preview shows them.

    Attributes:
        dates: the first and the last date in ISO 8601; empty if no post has a date.
        dated: the number of posts with a date.
        languages: the number of posts by ISO 639-1 code, or `und` if the language is unknown.
        titles: the titles of three typical posts.
        questions: questions that a reader could ask about these posts, then about other posts.
        posts: the posts that the questions are about, with the columns of `cleaned_documents`;
            omitted from the JSON.
    """

    dates: list[str]
    dated: int
    words: int
    languages: dict[str, int]
    titles: list[str]
    questions: list[str]
    posts: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False, compare=False)

    @classmethod
    def from_documents(cls, accepted: pl.DataFrame) -> AcceptedPosts:
        """Summarize the kept rows of `cleaned_documents`."""
        dates = accepted["published_at"].drop_nulls().sort()
        selections = [
            select_typical_posts(accepted, count=count)
            for count in (QUESTION_COUNT, MORE_QUESTIONS_COUNT)
        ]
        questions = [
            question for posts in selections for question in generate_title_questions(posts)
        ]
        question_ids = pl.concat(selections)["document_id"]
        return cls(
            dates=[dates[0].isoformat(), dates[-1].isoformat()] if dates.len() else [],
            dated=dates.len(),
            words=int(accepted["words"].sum()),
            languages=count_values(accepted["language"]),
            titles=selections[0]["title"].to_list(),
            questions=list(dict.fromkeys(questions)),
            posts=accepted.filter(pl.col("document_id").is_in(question_ids.implode())),
        )


@dataclass(frozen=True)
class Preview:
    """The result of a preview; `found == kept + sum(dropped.values())`.

    Attributes:
        author: the author's display name.
        layouts: `jekyll`, `hugo`, `notes` or `file`, one per source, or an importer's name for
            exports.
        found, kept: numbers of posts; excluded posts of an export count as found.
        dropped: the number of dropped posts by reason.
        named: at most `MAX_NAMED_FILES` dropped files by reason.
        cures: what to do about each reason.
        converted: the number of posts converted to UTF-8, by their original encoding.
        skipped: the number of files that are not posts, by reason; `found` does not include them.
        unread: the number of text files that are not read as posts, because of their format or the
            site's layout.
        mostly_unread: whether the unread files outnumber the posts.
        accepted: the kept posts.
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
    """

    author: str
    layouts: list[str]
    found: int
    kept: int
    dropped: dict[str, int]
    skipped: dict[str, int]
    accepted: AcceptedPosts
    bylines: dict[str, int]
    warnings: list[str]
    failed: list[str]
    changes: dict[str, int] | None
    named: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    cures: dict[str, str] = field(default_factory=dict[str, str])
    converted: dict[str, int] = field(default_factory=dict[str, int])
    unread: int = 0
    mostly_unread: bool = False
    embedder: str = ""
    unclaimed: dict[str, int] = field(default_factory=dict[str, int])

    def to_json_document(self) -> dict[str, Any]:
        """Return the document that `--json` prints: everything except the posts."""
        values = vars(self) | vars(self.accepted)
        return {name: value for name, value in values.items() if name not in {"accepted", "posts"}}


def preview(
    sources: Sequence[str | Path],
    *,
    author: str,
    settings: Settings,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    aliases: Sequence[str] = (),
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> Preview:
    """Import and clean the posts in memory.

    Args:
        sources: folders, files or exports.
        author: the author's display name, or "" if it is unknown; the posts are compared with the
            stored posts of this author.
        include, exclude: opt-ins and exclusions in addition to those in the author's settings.
        aliases: names of the author in addition to those in the author's settings.
        settings: `embedder` determines the languages, and `home` the stored posts.
        on_progress: called with the stage, the number of posts that are done and of all posts.

    Raises:
        TwinError: there is nothing to import.
    """
    known_author = _find_author(author, settings)
    slug = known_author.slug
    opt_ins = sorted({*include, *known_author.include})
    left_out = sorted({*exclude, *known_author.exclude})
    inventory, raw, changes = _read_sources(
        sources,
        settings,
        slug,
        include=opt_ins,
        exclude=left_out,
        on_progress=partial(on_progress, "reading posts"),
    )
    all_names = [author, *known_author.aliases, *aliases]
    names = [name for name in dict.fromkeys(all_names) if name] if author else []
    cleaned = cleaning.clean_all_posts(
        raw.select(cleaning.RAW_COLUMNS),
        names=names,
        on_progress=partial(on_progress, "cleaning posts"),
    )
    accepted = AcceptedPosts.from_documents(cleaned.filter("kept"))
    kept = int(cleaned["kept"].sum())
    excluded_counts = inventory.count_excluded_items()
    embedder = _choose_embedder(accepted.languages, settings)
    skips = inventory.skipped_counts
    unread_count = sum(count for reason, count in skips.items() if is_text_reason(reason))
    unread_count += raw.filter(pl.col("problem") == "template").height
    read_count = raw.filter(pl.col("problem") == "").height
    signed_posts = cleaned.select("source_id", "source", "byline")
    is_quarantined = pl.col("dropped_because").str.starts_with(QUARANTINED)
    dropped_posts = cleaned.filter(~pl.col("kept")).sort(is_quarantined, "source_id")
    dropped = sum_counts(excluded_counts, count_dropped_by_reason(dropped_posts))
    return Preview(
        author=author,
        layouts=inventory.layouts,
        found=cleaned.height + sum(excluded_counts.values()),
        kept=kept,
        dropped=dropped,
        named=_list_first_dropped_files(dropped_posts),
        cures={reason: cure for reason in dropped if (cure := find_advice(reason))},
        converted=count_values(raw.filter(pl.col("encoding") != "")["encoding"]),
        skipped=skips,
        unread=unread_count,
        mostly_unread=unread_count > read_count,
        accepted=accepted,
        bylines=count_values(raw.filter(pl.col("author") != "")["author"]),
        warnings=[
            *_build_language_warnings(
                accepted.languages, settings.model_copy(update={"embedder": embedder})
            ),
            *_build_byline_warnings(cleaned, signed_posts, names, slug=slug),
            *_build_remark_warnings(inventory.remarks),
            *_build_unread_warnings(unread_count, read_count=read_count, skipped=skips),
            *_build_quarantine_warnings(kept, cleaned.filter(is_quarantined).height, settings),
            *([] if kept else ["no post can be used: see the reasons above"]),
        ],
        failed=[str(source) for source in inventory.failed_sources],
        changes=changes,
        embedder=embedder,
        unclaimed=_count_unclaimed_posts(cleaned, signed_posts, names),
    )


def _find_author(name: str, settings: Settings) -> Author:
    """Return the home's author with this name, or else a new author, whose slug is empty for ""."""
    matches = (
        author for author in list_readable_authors(settings)[0] if name and author.name == name
    )
    return next(matches, None) or Author(make_slug(name) if name else "", name)


def _read_sources(
    sources: Sequence[str | Path],
    settings: Settings,
    slug: str,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    on_progress: Callable[[int, int], object],
) -> tuple[Inventory, pl.DataFrame, dict[str, int] | None]:
    """Read the sources.

    Returns:
        The inventory, the rows of `raw_posts`, and the changes since the stored import.
    """
    from twin_resources.erasure.journal import read_forgotten_posts

    with _open_stored_tables(settings, slug) as tables:
        stored = raw_posts_import.read_stored_import(tables, slug) if tables else None
        erased_posts = read_forgotten_posts(tables.state, slug) if tables else None
        inventory = take_inventory(sources, include=include, exclude=exclude)
        frame = raw_posts_import.build_inventory_frame(inventory, stored, erased_posts=erased_posts)
        raw = raw_posts_import.read_rows(
            frame.filter(~pl.col("deleted")),
            inventory,
            read_stored_rows=tables and partial(raw_posts_import.read_stored_rows, tables, slug),
            erased_posts=erased_posts,
            on_progress=on_progress,
        )
    changes = raw_posts_import.count_changes(frame, stored) if stored is not None else None
    return inventory, raw, changes


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


def _choose_embedder(languages: Mapping[str, int], settings: Settings) -> str:
    """Return the multilingual embedder if the default does not support most of the posts."""
    supported = {*get_supported_languages(settings), "und"}
    unsupported_count = sum(count for code, count in languages.items() if code not in supported)
    is_configured = "embedder" in settings.model_fields_set
    is_default = not is_configured and settings.embedder == EMBEDDED_EMBEDDER
    is_mostly_unsupported = 2 * unsupported_count > sum(languages.values())
    return MULTILINGUAL_EMBEDDER if is_default and is_mostly_unsupported else settings.embedder


def _build_language_warnings(languages: Mapping[str, int], settings: Settings) -> list[str]:
    supported = get_supported_languages(settings)
    total = sum(languages.values())
    unsupported_counts = {
        code: count
        for code, count in languages.items()
        if supported and code not in {*supported, "und"} and count > _MIN_LANGUAGE_SHARE * total
    }
    if not unsupported_counts:
        return []
    return [
        f"the embedder {settings.embedder} supports only {', '.join(supported)}, but "
        f"{sum(unsupported_counts.values()):,} of {format_count(total, 'post')} are in another "
        f"language ({_format_counts(unsupported_counts)}): search results for them will be poor; "
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


def _build_remark_warnings(remarks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a warning for each remark on the posts, with the names of the first files."""
    warnings: list[str] = []
    for remark, source_ids in remarks.items():
        problem, cure = _REMARK_TEXTS.get(remark, (remark.replace("_", " "), ""))
        names = ", ".join(_abbreviate_names(sorted(source_ids)))
        end = f"; {cure}" if cure else ""
        warnings.append(f"{format_count(len(source_ids), 'post')} {problem}: {names}{end}")
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


def _count_unclaimed_posts(
    cleaned: pl.DataFrame, signed_posts: pl.DataFrame, names: Sequence[str]
) -> dict[str, int]:
    """Return the number of posts by each alias that would make them the author's."""
    reasons = count_values(cleaned["dropped_because"])
    return cleaning_verdicts.find_unclaimed_bylines(signed_posts, names) | {
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
    cleaned: pl.DataFrame, signed_posts: pl.DataFrame, names: Sequence[str], *, slug: str
) -> list[str]:
    """Return warnings about posts by others, which would teach the twin another person's voice.

    They count the excluded posts, and name any handle that counts as the author's.

    Args:
        cleaned: `cleaned_documents` with the verdicts, so that the warnings match the cleaning.
        signed_posts: `source_id`, `source` and `byline` of all posts.
        names: the author's name and aliases.
    """
    if not names:
        return []
    warnings: list[str] = []
    posts = format_count(signed_posts.height, "post")
    foreign_bylines = count_values(cleaned.filter(dropped_because="foreign_byline")["byline"])
    if foreign_bylines:
        warnings.append(
            f"{sum(foreign_bylines.values()):,} of {posts} are excluded because somebody other "
            f"than {names[0]} signed them ({_format_counts(foreign_bylines)})"
        )
    for name, count in _count_unclaimed_posts(cleaned, signed_posts, names).items():
        facts = _BYLINE_QUESTIONS.get(name, (f"{name} signed", "that is also"))
        warnings.append(
            f"{facts[0]} {count:,} of {posts}; if {facts[1]} {names[0]}, add aliases = "
            f'["{name}"] to authors/{slug}.toml'
        )
    for name, count in cleaning_verdicts.find_adopted_handles(signed_posts, names).items():
        warnings.append(
            f"{count:,} of {posts} are signed {name}, which is taken to be {names[0]}'s handle "
            "because it appears on most posts of its source"
        )
    return warnings


def _list_first_dropped_files(dropped: pl.DataFrame) -> dict[str, list[str]]:
    """Return the first dropped files by reason, and the number of further files."""
    names_by_reason: dict[str, list[str]] = {}
    for (reason,), rows in dropped.group_by("dropped_because", maintain_order=True):
        names_by_reason[str(reason)] = _abbreviate_names(rows["source_id"].to_list())
    return names_by_reason


def _abbreviate_names(names: Sequence[str]) -> list[str]:
    """Return the first names, and the number of further ones."""
    further_count = max(0, len(names) - MAX_NAMED_FILES)
    return [*names[:MAX_NAMED_FILES], *([f"{further_count:,} more"] if further_count else [])]


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
