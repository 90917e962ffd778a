"""The preview: what a folder holds, before anything is prepared, trained or stored.

Belongs here: running `python -m twin_assets.corpus.preview` and showing what it says.
Does not belong here: reading posts (`twin_assets/corpus`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twin_cli.commands.clock import StageClock
from twin_cli.commands.subject import AuthorToServe
from twin_cli.commands.subprocesses import run_module
from twin_resources.errors import TwinError
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings

# Less than this leaves fewer held-out passages than the gate needs to decide (30).
FEWEST_POSTS = 20
NOTHING_USABLE = 3  # exit code: there are posts, and every one of them is left out
FEWEST_WORDS = 5_000


@dataclass(frozen=True)
class Preview:
    """What was found in a folder of posts.

    Attributes:
        found, kept: posts; `found == kept + sum(dropped.values())`.
        dropped: reason → posts.
        skipped: reason → files that are no posts.
        words: of the kept posts.
        dates: first and last date, ISO 8601; empty when no post has one.
        languages: ISO 639-1 code → posts.
        bylines: name → posts that carry it.
        titles: three examples.
        questions: three that a reader might ask.
        warnings: sentences for the person who runs this.
        failed: sources that could not be read, and why; their posts stay as they were.
        changes: added, edited, deleted against the last import; None when there was none.
        named: reason → some of the files that are dropped for it; cures: what to do about them.
        converted: encoding → posts that are converted from it to UTF-8.
    """

    found: int
    kept: int
    dropped: Mapping[str, int]
    skipped: Mapping[str, int]
    words: int
    dates: tuple[str, ...]
    languages: Mapping[str, int]
    bylines: Mapping[str, int]
    titles: tuple[str, ...]
    questions: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: Mapping[str, int] | None
    failed: tuple[str, ...] = ()
    named: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    cures: Mapping[str, str] = field(default_factory=dict[str, str])
    converted: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def too_small(self) -> str:
        """Why this corpus is not trained on; empty when it is large enough."""
        if self.kept < FEWEST_POSTS:
            return f"{counted(self.kept, 'usable post')}; training needs {FEWEST_POSTS}"
        if self.words < FEWEST_WORDS:
            return f"{counted(self.words, 'word')}; training needs {FEWEST_WORDS:,}"
        return ""


def run_preview(settings: Settings, subject: AuthorToServe) -> Preview:
    """Preview every source of the author.

    Raises:
        TwinError: the folder holds nothing that can be imported; says what it holds instead.
    """
    return preview_of(preview_document(settings, subject))


def preview_document(settings: Settings, subject: AuthorToServe) -> dict[str, Any]:
    """The preview as the module prints it (JSON).

    Raises:
        TwinError: as `run_preview`.
    """
    found = run_module(
        settings,
        "twin_assets.corpus.preview",
        *subject.author.sources,
        "--author",
        subject.author.name,
        "--embedder",
        settings.embedder,
        *(["--include", *subject.author.include] if subject.author.include else []),
        "--json",
    )
    tried = f"preview the posts in {subject.folder}"
    try:
        document: dict[str, Any] = json.loads(found.output)
    except json.JSONDecodeError as error:
        raise TwinError(
            tried,
            found=found.errors or f"exit code {found.code} and no answer",
            next_step="report this with the folder's layout",
        ) from error
    if "error" in document:
        raise _refusal(tried, document["error"])
    return document


def show_preview(clock: StageClock, preview: Preview, subject: AuthorToServe) -> None:
    """Print what was found, what was dropped and why, and warnings."""
    dates = " to ".join(date[:10] for date in preview.dates) or "no dates"
    languages = ", ".join(f"{code} {count}" for code, count in preview.languages.items())
    clock.say(
        f"{subject.author.name or 'these posts'}: {counted(preview.found, 'post')} found, "
        f"{preview.kept:,} usable, "
        f"{counted(preview.words, 'word')}, {dates}, language {languages or 'unknown'}"
    )
    for encoding, count in preview.converted.items():
        clock.say(f"converted {counted(count, 'post')} from {encoding} to UTF-8")
    for reason, count in sorted(preview.dropped.items(), key=lambda item: -item[1]):
        files = f" ({', '.join(preview.named[reason])})" if preview.named.get(reason) else ""
        cure = f"; {preview.cures[reason]}" if preview.cures.get(reason) else ""
        clock.say(f"dropped {count:,}: {reason.replace('_', ' ')}{files}{cure}")
    for reason, count in preview.skipped.items():
        clock.say(f"skipped {counted(count, 'file')}: {reason.replace('_', ' ')}")
    for failed in preview.failed:
        clock.say(f"failed source: {failed}", style="yellow")
    if preview.bylines:
        names = ", ".join(f"{name} ({count:,})" for name, count in preview.bylines.items())
        clock.say(f"bylines: {names}")
    for title in preview.titles[:3]:
        clock.say(f"  · {title}")
    if preview.changes is not None:
        clock.say(changes_line(preview.changes))
    for warning in preview.warnings:
        clock.say(f"warning: {warning}", style="yellow")


def changes_line(changes: Mapping[str, int]) -> str:
    """`since the last import: 3 added, 1 edited, 0 deleted`."""
    counts = ", ".join(
        f"{changes.get(kind, 0):,} {kind}" for kind in ("added", "edited", "deleted")
    )
    return f"since the last import: {counts}"


def preview_of(document: Mapping[str, Any]) -> Preview:
    """The values of a preview's JSON."""
    return Preview(
        found=document["found"],
        kept=document["kept"],
        dropped=document.get("dropped") or {},
        skipped=document.get("skipped") or {},
        words=document.get("words", 0),
        dates=tuple(filter(None, document.get("dates") or ())),
        languages=document.get("languages") or {},
        bylines=document.get("bylines") or {},
        titles=tuple(document.get("titles") or ()),
        questions=tuple(document.get("questions") or ()),
        warnings=tuple(document.get("warnings") or ()),
        changes=document.get("changes"),
        failed=tuple(document.get("failed") or ()),
        named=document.get("named") or {},
        cures=document.get("cures") or {},
        converted=document.get("converted") or {},
    )


def _refusal(tried: str, error: Any) -> TwinError:
    if isinstance(error, dict):
        facts: dict[str, str] = error  # pyright: ignore[reportUnknownVariableType]
        return TwinError(
            facts.get("tried", tried),
            found=facts.get("found", str(facts)),
            next_step=facts.get("next_step", "name another folder"),
        )
    return TwinError(tried, found=str(error), next_step="name another folder")
