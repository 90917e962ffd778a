"""Run `twin backup`, `twin restore`, `twin repair` and `twin pause`.

Scope: progress, plans in words, the question before a repair, summaries.
Out of scope: saving and restoring (`twin_resources/backup/`), going back to a version
(`tables/mending.py`), the file of a pause (`authors/pausing.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twin_cli.commands.clock import StageClock
from twin_cli.commands.first_answers import import_posts
from twin_cli.commands.terminal_questions import at_a_terminal, says_yes
from twin_resources.authors import author_slugs
from twin_resources.authors.pausing import pause, pause_file, paused_because, resume
from twin_resources.backup.backup_record import BackupRecord
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.errors import TwinError
from twin_resources.processes.stack import find_stack
from twin_resources.processes.wording import counted
from twin_resources.registry.shared_files import share_file
from twin_resources.settings import Settings
from twin_resources.slugs import slug_of
from twin_resources.storage.state.database_files import check_database, databases_in
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import Damaged
from twin_resources.storage.tables.mending import TableRepair, plan_repair, repair
from twin_resources.storage.tables.store import table_folders, tables_in
from twin_resources.storage.tables.tables import Tables


def run_backup(
    settings: Settings, place: str, *, secrets: bool, as_json: bool, console: Console
) -> int:
    """Save the home; return the exit code.

    Raises:
        TwinError: see `back_up`.
    """
    record = back_up(settings, place, secrets=secrets, report=_reporter(console, as_json))
    _tell(record, place, f"saved as {place}", as_json=as_json, console=console)
    if not as_json and not secrets:
        console.print("without keys: `twin up` makes new ones after a restore (--secrets)")
    return 0


def run_restore(settings: Settings, place: str, *, as_json: bool, console: Console) -> int:
    """Restore these settings' home from a backup; return the exit code.

    Raises:
        TwinError: see `restore`.
    """
    record = restore(settings, place, report=_reporter(console, as_json))
    said = f"restored into {settings.home}, every value as it was on {record.made_at}"
    _tell(record, place, said, as_json=as_json, console=console)
    return 0


def _reporter(console: Console, as_json: bool) -> Callable[[str], None]:
    def report(line: str) -> None:
        if not as_json:
            console.print(line, markup=False, style="dim")

    return report


def _tell(record: BackupRecord, place: str, said: str, *, as_json: bool, console: Console) -> None:
    if as_json:
        document = {
            "place": place,
            "made_at": record.made_at,
            "secrets": record.has_secrets,
            "bytes": record.bytes,
            "files": len(record.files),
            "tables": [
                {
                    "author": table.author,
                    "asset": table.asset,
                    "rows": table.rows,
                    "data_version": table.data_version,
                }
                for table in record.tables
            ],
        }
        console.print_json(data=document)
        return
    held = f"{counted(len(record.tables), 'table')}, {counted(len(record.files), 'file')}"
    console.print(f"{said}: {held}, the state store; {record.bytes / 1e6:,.1f} MB", markup=False)


@dataclass(frozen=True)
class HomeRepair:
    """Everything that is damaged in a home.

    Attributes:
        tables: (author, asset) → the planned repair.
        databases: messages about damaged SQLite files, which only a backup restores.
    """

    tables: Mapping[tuple[str, str], TableRepair]
    databases: tuple[str, ...]


def run_repair(
    settings: Settings,
    *,
    agreed: bool,
    as_json: bool,
    console: Console,
    read: Callable[[str], str] = input,
) -> int:
    """Find damage, show the plan, ask and repair; return the exit code, 1 while damage remains.

    Args:
        agreed: whether `--yes` was given; otherwise a person at a terminal is asked.
        as_json: whether to print the plan as one JSON object and ask nothing.

    Raises:
        TwinError: a table can be neither read nor repaired for another reason.
    """
    found = plan_home(settings)
    if as_json:
        console.print_json(data=document(found, done=agreed))
    else:
        for line in lines_of(found):
            console.print(line, markup=False, soft_wrap=True)
    if not found.tables:
        return int(bool(found.databases))
    if not agreed and (as_json or not _agrees(read)):
        if not as_json:
            console.print("nothing was changed; with --yes it is done")
        return 1
    with closing(State.open(settings.state_address)) as state:
        tables = Tables(settings.tables_base, state=state)
        for (author, asset), plan in found.tables.items():
            with tables.lease(asset, author) as lease:
                repair(plan, lease, state=state)
    if not as_json:
        console.print(f"{counted(len(found.tables), 'table')} mended", markup=False)
    _import_again(settings, sorted({author for author, _ in found.tables}), as_json, console)
    return int(bool(found.databases))


def plan_home(settings: Settings) -> HomeRepair:
    """Return what is damaged; change nothing.

    Raises:
        TwinError: something other than damage makes the tables unreadable.
    """
    base = settings.tables_base
    plans: dict[tuple[str, str], TableRepair] = {}
    for author in table_folders(base):
        for asset in tables_in(f"{base}/{author}", storage_options=None):
            plan = plan_repair(f"{base}/{author}/{asset}.lance")
            if plan is not None:
                plans[author, asset] = plan
    databases: list[str] = []
    for path in databases_in(settings.home, but={settings.weights_dir, Path(base)}):
        try:
            check_database(path)
        except Damaged as fault:
            databases.append(fault.found)
    return HomeRepair(plans, tuple(databases))


def lines_of(found: HomeRepair) -> list[str]:
    """Return the plan in words."""
    lines: list[str] = []
    for (author, asset), plan in found.tables.items():
        lines.append(f"{asset} of {author}: {plan.problem}")
        if plan.indexes:
            lines.append("  → the index goes and is rebuilt; every row stays")
        elif plan.back_to is None:
            lines.append("  → no version is whole: the table goes and is rebuilt")
        else:
            lines.append(
                f"  → back to version {plan.back_to} of {plan.written_at}, "
                f"{counted(plan.rows, 'row')}; {counted(len(plan.broken), 'later version')} cannot "
                "be read and goes"
            )
        if plan.untagged:
            lines.append(f"  → pinned versions among them: {', '.join(plan.untagged)}")
    if found.tables:
        lines.append(
            "then the posts are imported again, which rebuilds what is missing; other tables "
            "follow with their next run"
        )
    for words in found.databases:
        lines.append(f"{words}\n  → only a backup brings it back: `twin restore` into a new home")
    return lines or ["every table and every database is whole"]


def document(found: HomeRepair, *, done: bool) -> dict[str, object]:
    """Return what `twin repair --json` prints; its keys are stable (deploy/docs/json.md)."""
    return {
        "done": done,
        "tables": [
            {
                "author": author,
                "asset": asset,
                "problem": plan.problem,
                "back_to": plan.back_to,
                "rows": plan.rows,
                "indexes": list(plan.indexes),
            }
            for (author, asset), plan in found.tables.items()
        ],
        "databases": list(found.databases),
    }


def _agrees(read: Callable[[str], str]) -> bool:
    question = "Do this? yes/no [no]: "
    return at_a_terminal() and bool(says_yes(question, "Do this?", read=read))


def _import_again(settings: Settings, authors: list[str], as_json: bool, console: Console) -> None:
    """Import lost rows again if the stack runs; otherwise print how to."""
    stack = find_stack(settings)
    if stack is not None:
        quiet = Console(stderr=True) if as_json else console
        for author in authors:
            import_posts(stack, author, clock=StageClock(console=quiet))
        return
    if not as_json:
        commands = ", ".join(f"`twin import --author {author}`" for author in authors)
        console.print(f"next: `twin up`, then {commands}", markup=False)


def run_pause(
    settings: Settings, author: str, *, reason: str, again: bool, console: Console
) -> int:
    """Pause or resume an author; return the exit code.

    Args:
        author: the author's name or slug; its file is not read, so a broken one does no harm.
        again: whether to let the author answer again.

    Raises:
        TwinError: the author does not exist, or is to resume without being paused.
    """
    slugs = author_slugs(settings)
    slug = author if author in slugs else slug_of(author)
    if slug not in slugs:
        raise TwinError(
            f"pause {author!r}",
            found=f"no such author; this home has {', '.join(slugs) or 'none'}",
            next_step="name one of them",
        )
    if again:
        if not resume(settings, slug):
            raise TwinError(
                f"let {slug} answer again",
                found="that nothing is paused",
                next_step="`twin status` says why there are no answers",
            )
        share_file(settings, pause_file(settings, slug), gone=True)
        console.print(f"{slug} answers again, within a second", markup=False)
        return 0
    share_file(settings, pause(settings, slug, reason=reason))
    console.print(
        f"{slug} is paused {paused_because(pause_file(settings, slug))}; the gateway answers 503 "
        f"within a second. Again: twin pause {slug} --resume",
        markup=False,
    )
    return 0
