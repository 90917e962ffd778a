"""Preview the posts before anything is prepared, trained or stored.

Scope: requesting the preview, showing it, and deciding whether the content suffices for training.
Out of scope: reading posts (`twin_assets/corpus/preview.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.subject import SelectedAuthor
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview
    from twin_resources.storage.tables.tables import Tables

NOTHING_USABLE_EXIT_CODE = 3  # if no post is usable or most files with text are skipped
# A thousand words yield 9 to 11 samples, regardless of the number of posts (measured for three
# bundled authors and two others). A fifth of the samples is held out, and the gate needs 30 of
# those to decide, so it takes 150 samples. With fewer words, the gate would refuse the trained
# model as "not decided".
MIN_WORDS = 15_000
REDRAWN_POSTS = 25  # posts between two drawings of a bar
LOG_INTERVAL_S = 3.0  # a log gets a line as often, so that it is never silent for 5 s
MIN_POSTS = 2  # one for training and one held out


def run_preview(
    settings: Settings, subject: SelectedAuthor, display: ProgressDisplay, tables: Tables
) -> Preview:
    """Import the author's posts into a preview's tables, with a bar for each stage.

    Raises:
        TwinError: nothing in the folder can be imported; the error describes its content.
    """
    from twin_assets.corpus.preview import preview

    stage = "reading the sources"
    with (
        display.bar(stage, log_interval_s=LOG_INTERVAL_S) as bar,
        display.report_waits(stage),
    ):

        def show_progress(next_stage: str, done: int, total: int) -> None:
            nonlocal stage
            if next_stage != stage:
                stage = next_stage
                bar.begin_phase(stage)
            if total and done % REDRAWN_POSTS == 0:
                bar.update(f"{done:,} of {total:,}", done=done, total=total)

        return preview(subject.author, tables, settings, on_progress=show_progress)


def too_small_reason(post_count: int, word_count: int) -> str:
    """Return why a corpus is too small for training, or an empty string if it is large enough."""
    if has_enough_text(post_count, word_count):
        return ""
    amount = f"{format_count(post_count, 'usable post')}, {format_count(word_count, 'word')}"
    return f"{amount}; training needs at least {MIN_WORDS:,} words in {MIN_POSTS} posts"


def has_enough_text(post_count: int, word_count: int) -> bool:
    """Return whether this many usable posts and words suffice for training."""
    return post_count >= MIN_POSTS and word_count >= MIN_WORDS


def preview_exit_code(preview: Preview) -> int:
    """Return 0, or 3 if no post is usable or most files with text were not read."""
    return 0 if preview.kept and not preview.mostly_unread else NOTHING_USABLE_EXIT_CODE


def show_preview(display: ProgressDisplay, preview: Preview) -> None:
    """Print the numbers of found, usable and dropped posts, the reasons, and the warnings."""
    dates = " to ".join(date[:10] for date in preview.dates) or "no dates"
    languages = ", ".join(f"{code} {count}" for code, count in preview.languages.items())
    display.log(
        f"{preview.author or 'these posts'}: {format_count(preview.found, 'post')} found, "
        f"{preview.kept:,} usable, "
        f"{format_count(preview.words, 'word')}, {dates}, language {languages or 'unknown'}"
    )
    for encoding, count in preview.converted.items():
        display.log_detail(f"converted {format_count(count, 'post')} from {encoding} to UTF-8")
    for reason, count in sorted(preview.dropped.items(), key=lambda item: -item[1]):
        files = f" ({', '.join(preview.named[reason])})" if preview.named.get(reason) else ""
        remedy = f"; {preview.cures[reason]}" if preview.cures.get(reason) else ""
        display.log(f"dropped {count:,}: {reason.replace('_', ' ')}{files}{remedy}")
    if preview.repeated["documents"]:
        lines = ", ".join(f"“{line}” ({n:,})" for line, n in preview.repeated["lines"].items())
        display.log(
            f"left out of {format_count(preview.repeated['documents'], 'post')}: "
            f"{format_count(preview.repeated['words'], 'word')} in lines that repeat across posts: "
            f"{lines}"
        )
    for reason, count in preview.skipped.items():
        display.log_detail(f"skipped {format_count(count, 'file')}: {reason.replace('_', ' ')}")
    for failed_source in preview.failed:
        display.log(f"failed source: {failed_source}", style="yellow")
    if preview.bylines:
        names = ", ".join(f"{name} ({count:,})" for name, count in preview.bylines.items())
        display.log_detail(f"bylines: {names}")
    for title in preview.titles:
        display.log_detail(f"  · {title}")
    if preview.changes is not None:
        display.log(format_changes(preview.changes))
    for warning in preview.warnings:
        display.log(f"warning: {warning}", style="yellow")


def format_changes(changes: Mapping[str, int]) -> str:
    """Return `since the last import: 3 added, 1 edited, 0 deleted`."""
    counts = ", ".join(
        f"{changes.get(kind, 0):,} {kind}" for kind in ("added", "edited", "deleted")
    )
    return f"since the last import: {counts}"
