"""`twin import`: bring an author's new, edited and deleted posts into the running stack.

Belongs here: the command's two forms, dry and real. Does not belong here: the import itself.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from twin_cli.commands.asking_aliases import with_aliases
from twin_cli.commands.asking_consent import at_a_terminal
from twin_cli.commands.author_progress import fingerprint, read_progress, write_progress
from twin_cli.commands.clock import StageClock
from twin_cli.commands.first_answers import import_posts
from twin_cli.commands.preview_report import exit_code, run_preview, show_preview
from twin_cli.commands.services import publish_endpoints, stack_in_use
from twin_cli.commands.subject import choose_subject, remember_subject, with_opt_ins
from twin_resources.settings import Settings


def run_import(
    settings: Settings,
    path: Path | None,
    *,
    author: str,
    dry_run: bool,
    as_json: bool,
    include: Sequence[str] = (),
) -> int:
    """Preview, then import; returns the exit code: 0, or 3 when no post can be used or more
    files with text were left out than read.

    Args:
        path: folder of posts, file, export or address; None: the author's known sources.
        dry_run: only the preview; needs no stack and no author.
        include: opt-ins to keep in the author's settings from now on.
        as_json: print the preview as one JSON object (`found`, `kept`, `dropped` and more).

    Raises:
        TwinError: unusable input, no running stack, or the run failed.
    """
    clock = StageClock()
    subject = choose_subject(settings, path, name=author, unnamed=dry_run)
    subject = with_opt_ins(subject, include)
    preview = run_preview(settings, subject)
    if as_json:
        clock.console.print_json(json.dumps(preview.document(), ensure_ascii=False))
    else:
        show_preview(clock, preview)
    asks = at_a_terminal() and not (dry_run or as_json)
    subject, preview = with_aliases(settings, subject, preview, clock=clock, asks=asks)
    if dry_run:
        return exit_code(preview)
    stack = stack_in_use(settings)
    remember_subject(settings, subject)
    mark = fingerprint(subject.author, settings)
    followed = import_posts(stack, subject.slug, clock=clock)
    progress = read_progress(settings, subject.slug)
    write_progress(
        settings,
        subject.slug,
        replace(
            progress,
            fingerprint=mark,
            kept=preview.kept,
            words=preview.words,
            questions=progress.questions or tuple(preview.questions),
        ),
    )
    publish_endpoints(stack, first=subject.slug)
    clock.say(f"run {followed.run.run_id}; nothing is retrained by itself")
    return exit_code(preview)
