"""Run `twin backup`, `twin restore`, `twin repair` and `twin pause`.

Scope: progress lines, the repair plan in words, the confirmation before a repair, and summaries.
Out of scope: saving and restoring (`twin_resources/backup/`), restoring a table's version
(`tables/table_repair.py`), and the pause file (`authors/pausing.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twin_cli.commands.console import make_console
from twin_cli.commands.first_answers import import_posts
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.terminal_questions import confirm
from twin_resources.authors import list_author_slugs
from twin_resources.authors.pausing import pause_author, pause_path, read_pause, resume_author
from twin_resources.backup.record import BackupRecord
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.errors import TwinError
from twin_resources.processes.stack import find_stack
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings
from twin_resources.slugs import make_slug
from twin_resources.storage.state.database_files import check_database, find_databases
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.storage_faults import DamagedError
from twin_resources.storage.tables.store import list_authors_with_tables, list_tables
from twin_resources.storage.tables.table_repair import TableRepair, plan_repair, repair_table
from twin_resources.storage.tables.tables import Tables


def run_backup(
    settings: Settings, location: str, *, include_secrets: bool, as_json: bool, console: Console
) -> int:
    """Back up the home; return the exit code.

    Raises:
        TwinError: see `back_up`.
    """
    report = _create_reporter(console, as_json)
    record = back_up(settings, location, secrets=include_secrets, report=report)
    _print_record(record, location, f"saved as {location}", as_json=as_json, console=console)
    if not as_json and not include_secrets:
        console.print(
            "keys are not included (use --secrets); after a restore, `twin up` creates new ones"
        )
    return 0


def run_restore(settings: Settings, location: str, *, as_json: bool, console: Console) -> int:
    """Restore the home of these settings from a backup; return the exit code.

    Raises:
        TwinError: see `restore`.
    """
    record = restore(settings, location, report=_create_reporter(console, as_json))
    message = f"restored into {settings.home}, as it was on {record.made_at}"
    _print_record(record, location, message, as_json=as_json, console=console)
    return 0


def _create_reporter(console: Console, as_json: bool) -> Callable[[str], None]:
    def report(line: str) -> None:
        if not as_json:
            console.print(line, style="dim")

    return report


def _print_record(
    record: BackupRecord, location: str, message: str, *, as_json: bool, console: Console
) -> None:
    if as_json:
        document = {
            "place": location,
            "made_at": record.made_at,
            "secrets": record.has_secrets,
            "bytes": record.bytes,
            "files": len(record.sha256),
            "tables": [
                {name: getattr(table, name) for name in ("author", "asset", "rows", "data_version")}
                for table in record.tables
            ],
        }
        console.print_json(data=document)
        return
    contents = (
        f"{format_count(len(record.tables), 'table')}, {format_count(len(record.sha256), 'file')}"
    )
    console.print(f"{message}: {contents}, the state store; {record.bytes / 1e6:,.1f} MB")


@dataclass(frozen=True)
class HomeDamage:
    """The damage in a home.

    Attributes:
        tables: planned repairs by (author, asset).
        databases: messages about damaged SQLite files, which only a backup can restore.
    """

    tables: Mapping[tuple[str, str], TableRepair]
    databases: tuple[str, ...]


def run_repair(
    settings: Settings,
    *,
    is_confirmed: bool,
    as_json: bool,
    console: Console,
    read_line: Callable[[str], str] = input,
) -> int:
    """Find damage, show the plan, ask and repair; return the exit code, 1 while damage remains.

    Args:
        is_confirmed: whether `--yes` was given; otherwise the command asks a person at a terminal.
        as_json: whether to print the plan as one JSON object without asking.

    Raises:
        TwinError: a table cannot be read or repaired for another reason.
    """
    damage = plan_home_repair(settings)
    if as_json:
        console.print_json(data=build_repair_document(damage, is_done=is_confirmed))
    else:
        for line in format_repair_plan(damage):
            console.print(line)
    if not damage.tables:
        return int(bool(damage.databases))
    if not is_confirmed and (as_json or not confirm("Repair these tables?", read_line=read_line)):
        if not as_json:
            console.print("nothing was changed; use --yes to repair")
        return 1
    with closing(open_home_state(settings)) as state:
        tables = Tables(settings.tables_base, state=state)
        for (author, asset), plan in damage.tables.items():
            with tables.lease(asset, author) as lease:
                repair_table(plan, lease, state=state)
    if not as_json:
        console.print(f"{format_count(len(damage.tables), 'table')} repaired")
    _reimport_posts(settings, sorted({author for author, _ in damage.tables}), as_json, console)
    return int(bool(damage.databases))


def plan_home_repair(settings: Settings) -> HomeDamage:
    """Return the damage in a home without changing anything.

    Raises:
        TwinError: the tables are unreadable for a reason other than damage.
    """
    base = settings.tables_base
    plans: dict[tuple[str, str], TableRepair] = {}
    for author in list_authors_with_tables(base):
        for asset in list_tables(f"{base}/{author}"):
            plan = plan_repair(f"{base}/{author}/{asset}.lance")
            if plan is not None:
                plans[author, asset] = plan
    databases: list[str] = []
    for path in find_databases(settings.home, excluded={settings.weights_dir, Path(base)}):
        try:
            check_database(path)
        except DamagedError as fault:
            databases.append(fault.found)
    return HomeDamage(plans, tuple(databases))


def format_repair_plan(damage: HomeDamage) -> list[str]:
    """Return the repair plan in words."""
    lines: list[str] = []
    for (author, asset), plan in damage.tables.items():
        lines.append(f"{asset} of {author}: {plan.problem}")
        if plan.damaged_indexes:
            lines.append("  → the index is deleted and rebuilt; all rows are kept")
        elif plan.restore_version is None:
            lines.append("  → no version is intact; the table is deleted and rebuilt")
        else:
            lines.append(
                f"  → restored to version {plan.restore_version} of {plan.written_at}, "
                f"{format_count(plan.row_count, 'row')}; deleted as unreadable: "
                f"{format_count(len(plan.broken_manifests), 'later version')}"
            )
        if plan.removed_tags:
            lines.append(f"  → pinned versions that are lost: {', '.join(plan.removed_tags)}")
    if damage.tables:
        lines.append(
            "afterwards, the posts are imported again, which rebuilds missing rows; other tables "
            "are rebuilt by their next run"
        )
    for database_damage in damage.databases:
        lines.append(
            f"{database_damage}\n  → only a backup can restore it: run `twin restore` in a new home"
        )
    return lines or ["every table and every database is intact"]


def build_repair_document(damage: HomeDamage, *, is_done: bool) -> dict[str, object]:
    """Return the `twin repair --json` object; its keys are stable (deploy/docs/json.md)."""
    return {
        "done": is_done,
        "tables": [
            {
                "author": author,
                "asset": asset,
                "problem": plan.problem,
                "back_to": plan.restore_version,
                "rows": plan.row_count,
                "indexes": list(plan.damaged_indexes),
            }
            for (author, asset), plan in damage.tables.items()
        ],
        "databases": list(damage.databases),
    }


def _reimport_posts(
    settings: Settings, authors: list[str], as_json: bool, console: Console
) -> None:
    """Import lost rows again if the stack is running; otherwise print the commands to do so."""
    stack = find_stack(settings)
    if stack is not None:
        progress_console = make_console(stderr=True) if as_json else console
        for author in authors:
            import_posts(stack, author, display=ProgressDisplay(console=progress_console))
        return
    if not as_json:
        commands = ", ".join(f"`twin import --author {author}`" for author in authors)
        console.print(f"next: `twin up`, then {commands}")


def run_pause(
    settings: Settings, author: str, *, reason: str, should_resume: bool, console: Console
) -> int:
    """Pause or resume an author; return the exit code.

    Args:
        author: the author's name or slug. The author's file is not read, so it may be invalid.
        should_resume: whether to let the author answer again.

    Raises:
        TwinError: the author does not exist, or cannot resume because it is not paused.
    """
    slugs = list_author_slugs(settings)
    slug = author if author in slugs else make_slug(author)
    if slug not in slugs:
        raise TwinError(
            f"pause {author!r}",
            found=f"this home has {', '.join(slugs) or 'no author'}",
            next_step="name one of them" if slugs else "run `twin up PATH --author NAME`",
        )
    if should_resume:
        if not resume_author(settings, slug):
            raise TwinError(
                f"let {slug} answer again",
                found="it is not paused",
                next_step="see `twin status` for the reason why it does not answer",
            )
        console.print(f"{slug} will answer again within a second")
        return 0
    pause_author(settings, slug, reason=reason)
    console.print(
        f"{slug} is paused {read_pause(pause_path(settings, slug))}; "
        f"the gateway responds with 503 within a second. To resume: twin pause {slug} --resume"
    )
    return 0
