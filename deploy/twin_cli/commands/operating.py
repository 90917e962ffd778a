"""Run `twin backup`, `twin restore`, `twin doctor --repair` and `twin pause`."""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.console import Console

from twin_cli.commands.terminal_questions import confirm
from twin_resources.authors import list_author_slugs
from twin_resources.authors.pausing import pause_author, pause_path, read_pause, resume_author
from twin_resources.backup.record import BackupRecord
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.errors import TwinError
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
        TwinError: a table cannot be read or repaired for another reason than damage.
    """
    base = settings.tables_base
    plans: dict[tuple[str, str], TableRepair] = {}
    for author in list_authors_with_tables(base):
        for asset in list_tables(f"{base}/{author}"):
            plan = plan_repair(f"{base}/{author}/{asset}.lance")
            if plan is not None:
                plans[author, asset] = plan
    database_faults: list[str] = []
    for path in find_databases(settings.home, excluded={settings.weights_dir, Path(base)}):
        try:
            check_database(path)
        except DamagedError as fault:
            database_faults.append(fault.found)
    if as_json:  # the keys are stable (deploy/docs/json.md)
        rows = [
            {
                "author": author,
                "asset": asset,
                "problem": plan.problem,
                "back_to": plan.restore_version,
                "rows": plan.row_count,
                "indexes": list(plan.damaged_indexes),
            }
            for (author, asset), plan in plans.items()
        ]
        document = {"done": is_confirmed, "tables": rows, "databases": database_faults}
        console.print_json(data=document)
    else:
        for (author, asset), plan in plans.items():
            console.print(f"{asset} of {author}: {plan.problem}")
            console.print(f"  → {_describe_repair(plan)}")
        for fault in database_faults:
            remedy = "only a backup can restore it: run `twin restore` in a new home"
            console.print(f"{fault}\n  → {remedy}")
        if not (plans or database_faults):
            console.print("every table and every database is intact")
    if not plans:
        return int(bool(database_faults))
    if not is_confirmed and (as_json or not confirm("Repair these tables?", read_line=read_line)):
        if not as_json:
            console.print("nothing was changed; use --yes to repair")
        return 1
    with closing(open_home_state(settings)) as state:
        tables = Tables(base, state=state)
        for (author, asset), plan in plans.items():
            with tables.lease(asset, author) as lease:
                repair_table(plan, lease, state=state)
    if not as_json:
        imports = ", ".join(
            f"`twin import --author {author}`" for author in dict.fromkeys(row[0] for row in plans)
        )
        console.print(
            f"{format_count(len(plans), 'table')} repaired; next: `twin up`, then {imports}, which "
            "computes missing rows again; other tables are rebuilt by their next run"
        )
    return int(bool(database_faults))


def _describe_repair(plan: TableRepair) -> str:
    if plan.damaged_indexes:
        return "the index is deleted and rebuilt; all rows are kept"
    if plan.restore_version is None:
        return "no version is intact; the table is deleted and rebuilt"
    tags = f"; pinned versions that are lost: {', '.join(plan.lost_tags)}" if plan.lost_tags else ""
    return (
        f"restored to version {plan.restore_version}, {format_count(plan.row_count, 'row')}; "
        f"deleted as unreadable: {format_count(plan.lost_version_count, 'later version')}{tags}"
    )


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
