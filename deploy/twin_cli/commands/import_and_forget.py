"""Run `twin import` and `twin forget`: import posts, and erase posts, authors and readers.

Scope: turning command-line arguments into a run or a journal request, and printing messages.
Out of scope: the import (`twin_assets/corpus`), erasure (`erasure/`), and its job
(`twin_sensors/erasure_runs.py`).

If a stack is running, the job `forget` erases the data. Otherwise, the command erases it in its own
process, which imports Dagster in order to erase Dagster's records.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from twin_cli.commands.author_progress import compute_fingerprint, read_progress, write_progress
from twin_cli.commands.console import make_console
from twin_cli.commands.first_answers import follow_import, launch_import
from twin_cli.commands.preview_report import preview_exit_code, run_preview, show_preview
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import LAUNCHED_BY_COMMAND, LAUNCHED_BY_TAG, follow_run
from twin_cli.commands.services import publish_endpoints, require_stack
from twin_cli.commands.subject import (
    SelectedAuthor,
    add_opt_ins,
    choose_author,
    choose_subject,
    parse_address,
    save_subject,
)
from twin_cli.commands.terminal_questions import add_aliases, confirm, is_interactive_terminal
from twin_cli.commands.versions import current_actor
from twin_resources.access.keys import reader_id_for_key
from twin_resources.authors import list_author_slugs
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, read_certificate
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.erasure.post_names import PostForgottenError, find_post
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.stack import find_stack
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings
from twin_resources.slugs import make_slug
from twin_resources.storage.state.home_state import open_home_state

if TYPE_CHECKING:
    from twin_resources.erasure.dagster_records import DagsterRecords
    from twin_resources.erasure.data_store import Installation
    from twin_resources.processes.stack import Stack


def run_import(
    settings: Settings,
    path: Path | None,
    *,
    author: str,
    dry_run: bool,
    as_json: bool,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> int:
    """Preview and import posts; return the exit code.

    The code is 3 if no post is usable or more files with text were skipped than read, else 0.

    Args:
        path: a folder of posts, file, export or address, or None for the author's known sources.
        dry_run: whether to stop after the preview, which needs no stack and no author; a person at
            a terminal is asked whether to import the posts after all.
        include: opt-ins to store in the author's settings.
        exclude: globs of folders and files to leave out, stored in the author's settings.
        as_json: whether to print the preview as one JSON object (`found`, `kept`, `dropped` …).

    Raises:
        TwinError: the input is unusable, no stack is running, or the run failed.
    """
    from twin_assets.corpus.preview_tables import open_preview_tables

    display = ProgressDisplay()
    subject = choose_subject(settings, path, name=author, allow_unnamed=dry_run)
    subject = add_opt_ins(subject, include or (), exclude or ())
    # Nothing but the object may be printed.
    silent_display = ProgressDisplay(Console(quiet=True))
    with open_preview_tables(settings) as tables:
        preview = run_preview(settings, subject, silent_display if as_json else display, tables)
        if as_json:
            display.console.print_json(data=preview.to_json_document())
        else:
            show_preview(display, preview)
        is_interactive = is_interactive_terminal() and not as_json
        can_import = subject.slug and preview.kept and is_interactive and find_stack(settings)
        question = f"Import these posts of {preview.author} now?"
        if dry_run and not (can_import and confirm(question, read_line=input)):
            return preview_exit_code(preview)
        subject, preview = add_aliases(
            settings, subject, preview, tables, display=display, is_interactive=is_interactive
        )
        if settings.has_shared_state and find_stack(settings) is None:
            _leave_import_to_other_hosts(settings, subject, display)
            return preview_exit_code(preview)
        stack = require_stack(settings)
        save_subject(settings, subject)
        source_fingerprint = compute_fingerprint(subject.author, settings)
        run_id = launch_import(stack, subject.slug, preview=preview, display=display)
        followed_run = follow_import(stack, subject.slug, run_id, display=display)
    progress = read_progress(settings, subject.slug)
    write_progress(
        settings,
        subject.slug,
        replace(
            progress,
            fingerprint=source_fingerprint,
            kept=preview.kept,
            words=preview.words,
            questions=progress.questions or tuple(preview.questions),
        ),
    )
    publish_endpoints(stack, first_author=subject.slug)
    display.log(f"run {followed_run.run.run_id}; no retraining starts automatically")
    return preview_exit_code(preview)


def _leave_import_to_other_hosts(
    settings: Settings, subject: SelectedAuthor, display: ProgressDisplay
) -> None:
    """Share the author's file; on the host with Dagster, the sensor `new_posts` imports the posts.

    Raises:
        TwinError: the posts are in a folder, which other hosts cannot read.
    """
    if folders := [source for source in subject.author.sources if not parse_address(Path(source))]:
        raise TwinError(
            f"import the posts of {subject.author.name} on another host",
            found=f"{', '.join(folders)}, which other hosts cannot read",
            next_step="copy the posts to a bucket and name its address, s3://bucket/prefix",
        )
    save_subject(settings, subject)
    display.log("the deployment's sensor new_posts imports this within minutes")


ERASURE_JOB, ERASURE_OP, REQUEST_TAG = "forget", "forget_subject", "twin/forget_request"
_READER_ID_PATTERN = re.compile(r"[0-9a-f]{16}")
_KEY_PREFIX = "sk-twin-"


def run_forget(
    settings: Settings,
    *,
    post: str,
    author: str,
    reader: str,
    dry_run: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Erase the subject's data, or list its locations; return the exit code.

    Args:
        post: the post's id, address, path or title (`erasure/post_names.py`).
        author: the author's name or slug; without `post`, all data of the author is erased.
        reader: the 16 digits that identify a reader in traces, or the reader's key.
        dry_run: whether only to list the locations.

    Raises:
        TwinError: the options name no subject, several subjects or an unknown subject. It is also
            raised if the erasure did not finish; the same command then resumes the open request.
    """
    try:
        subject, key_hash = resolve_subject(settings, post=post, author=author, reader=reader)
    except PostForgottenError as error:
        if as_json:
            console.print_json(data={"kind": "post", "forgotten_on": error.day})
        else:
            console.print(f"the post {post} was forgotten on {error.day}")
        return 0
    if post and not as_json:
        console.print(f"the post {subject.name} of {subject.author}")
    if dry_run:
        from twin_resources.erasure.erasing import preview_erasure

        with _open_erasure(settings) as (installation, records):
            locations_by_store = preview_erasure(installation, subject, dagster=records)
        if as_json:
            console.print_json(data=locations_by_store)
        else:
            for store, locations in locations_by_store.items():
                console.print(f"{store}: {len(locations) or 'nothing'}")
            console.print("nothing was changed")
        return 0
    with closing(open_home_state(settings)) as state:
        request_number = journal.open_request(
            state, subject, asked_by=current_actor(), key_hash=key_hash
        )
    stack = find_stack(settings)
    if stack is None:
        from twin_resources.erasure.erasing import run_erasure

        with _open_erasure(settings) as (installation, records):
            run_erasure(installation, request_number, dagster=records)
    else:
        # With --json, only the JSON object is printed to stdout.
        _erase_in_stack(stack, request_number, make_console(stderr=True) if as_json else console)
    certificate = certificate_path(settings.home, request_number)
    _print_certificate(
        read_certificate(certificate), str(certificate), as_json=as_json, console=console
    )
    return 0


def resolve_subject(
    settings: Settings, *, post: str, author: str, reader: str
) -> tuple[ErasureSubject, str]:
    """Return the subject that the options name, and the hash of a given reader's key, or "".

    Raises:
        TwinError: the options name no subject or several, or the reader is neither a key nor 16
            digits.
    """
    if reader and not (post or author):
        if reader.startswith(_KEY_PREFIX):
            key_hash = hashlib.sha256(reader.encode()).hexdigest()
            return ErasureSubject("reader", "", reader_id_for_key(reader)), key_hash
        if _READER_ID_PATTERN.fullmatch(reader):
            return ErasureSubject("reader", "", reader), ""
        raise TwinError(
            "forget a reader",
            found="neither a key nor a reader's 16 digits",
            next_step="pass the reader's key, or the `reader` value in one of the reader's traces",
        )
    if post and not reader:
        from twin_resources.erasure.data_store import Installation

        slugs = [_find_known_slug(settings, author)] if author else []
        installation = Installation.for_settings(settings)
        with closing(installation.state):
            authors = slugs or list_author_slugs(settings)
            return find_post(installation, post, authors), ""
    if author and not reader:
        slug = _find_known_slug(settings, author)
        return ErasureSubject("author", slug, slug), ""
    raise TwinError(
        "choose what to forget",
        found="no subject, or more than one",
        next_step="name one: --post ID, --author SLUG without --post, or --reader KEY",
    )


def _find_known_slug(settings: Settings, author: str) -> str:
    """Return the author's slug, even if an open request has already deleted the author's file."""
    with closing(open_home_state(settings)) as state:
        slugs_being_erased = {
            request.subject.author
            for request in journal.list_unfinished_requests(state)
            if request.subject
        }
    for slug in (author, make_slug(author)):
        if slug in slugs_being_erased:
            return slug
    return choose_author(settings, author).slug


@contextmanager
def _open_erasure(settings: Settings) -> Generator[tuple[Installation, DagsterRecords]]:
    """Open this home's stores and Dagster's records, yield them, and close them."""
    from twin_resources.erasure.dagster_records import open_records
    from twin_resources.erasure.data_store import Installation

    installation = Installation.for_settings(settings)
    try:
        with open_records(installation) as records:
            yield installation, records
    finally:
        installation.state.close()


def _erase_in_stack(stack: Stack, request_number: int, console: Console) -> None:
    dagster = DagsterHTTP.for_home(stack.settings)
    tags = {REQUEST_TAG: str(request_number), LAUNCHED_BY_TAG: LAUNCHED_BY_COMMAND}
    run_id = dagster.launch(
        ERASURE_JOB, "", tags=tags, config={ERASURE_OP: {"request": request_number}}
    )
    display = ProgressDisplay(console=console)
    finished_run = follow_run(dagster, run_id, display=display, title="forgetting", stack=stack)
    if not finished_run.succeeded:
        raise TwinError(
            "erase data",
            found=finished_run.failure,
            next_step="run the command again to continue",
        )


def _print_certificate(
    report: dict[str, Any], path: str, *, as_json: bool, console: Console
) -> None:
    if as_json:
        console.print_json(data=report | {"certificate": path})
        return
    count_by_store = cast("dict[str, int]", report["places"])
    erased_text = ", ".join(f"{store} {count}" for store, count in count_by_store.items())
    console.print(f"forgotten ({report['kind']}): {erased_text}")
    console.print("all stores were then decoded and checked; none contains the erased data")
    if report["tainted"]:
        console.print(
            f"{format_count(len(report['tainted']), 'checkpoint')} trained on the erased data; the "
            "base model with retrieval answers until a model retrained without that data passes "
            "the gate"
        )
    for external_place in report["elsewhere"]:
        console.print(
            f"outside this home, by {external_place['deadline']}: {external_place['what']}: "
            f"{external_place['how']}"
        )
    console.print(f"certificate: {path}")
