"""`twin repair`: damaged tables back to their newest whole version, said before it is done.

Belongs here: the plan in words, the question, who makes the lost rows anew. Does not belong here:
finding and going back to a version (`tables/mending.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twin_cli.commands.asking_consent import at_a_terminal
from twin_cli.commands.clock import StageClock
from twin_cli.commands.first_answers import import_posts
from twin_resources.errors import TwinError
from twin_resources.processes.stack import find_stack
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings
from twin_resources.storage.state.database_files import check_database, databases_in
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import Damaged
from twin_resources.storage.tables.mending import TableRepair, plan_repair, repair
from twin_resources.storage.tables.store import table_folders, tables_in
from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class HomeRepair:
    """Everything that is damaged in a home.

    Attributes:
        tables: (author, asset) → what is done about it.
        databases: found words of SQLite files, which only a backup brings back.
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
    """Look, say, ask, mend; returns the exit code: 1 while something is damaged.

    Args:
        agreed: `--yes`; else a person at a terminal is asked.
        as_json: print the plan as one JSON object; nothing is asked.

    Raises:
        TwinError: a table can be neither read nor mended for another cause, or lies in a bucket.
    """
    found = plan_home(settings)
    if as_json:
        console.print_json(json.dumps(document(found, done=agreed)))
    else:
        for line in lines_of(found):
            console.print(line, markup=False, soft_wrap=True)
    if not found.tables:
        return int(bool(found.databases))
    if not agreed and (as_json or not _agrees(console, read)):
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
    """What is damaged; nothing is changed.

    Raises:
        TwinError: the tables lie in a bucket, or something else keeps them from being read.
    """
    base = settings.tables_base
    if "://" in base:
        raise TwinError(
            f"mend the tables of {base}",
            found="a bucket, whose objects this command does not delete",
            next_step="`twin doctor` names the damaged ones: bring back their objects' former "
            "versions, or restore a backup into a new prefix",
        )
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
    """The plan in words."""
    lines: list[str] = []
    for (author, asset), plan in found.tables.items():
        lines.append(f"{asset} of {author}: {plan.problem}")
        if plan.indexes:
            lines.append("  → the index goes and is made anew; every row stays")
        elif plan.back_to is None:
            lines.append("  → no version is whole: the table goes and is made anew")
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
            "then the posts are imported again, which makes what is missing anew; other tables "
            "follow with their next run"
        )
    for words in found.databases:
        lines.append(f"{words}\n  → only a backup brings it back: `twin restore` into a new home")
    return lines or ["every table and every database is whole"]


def document(found: HomeRepair, *, done: bool) -> dict[str, object]:
    """What `twin repair --json` prints; its keys stay (deploy/docs/command.md)."""
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


def _agrees(console: Console, read: Callable[[str], str]) -> bool:
    if not at_a_terminal():
        return False
    try:
        return " ".join(read("Do this? yes/no [no]: ").split()).casefold() in {"y", "yes"}
    except EOFError:
        console.print()
        return False


def _import_again(settings: Settings, authors: list[str], as_json: bool, console: Console) -> None:
    """Make lost rows anew where the stack runs; else say how."""
    stack = find_stack(settings)
    if stack is not None:
        quiet = Console(stderr=True) if as_json else console
        for author in authors:
            import_posts(stack, author, clock=StageClock(console=quiet))
        return
    if not as_json:
        commands = ", ".join(f"`twin import --author {author}`" for author in authors)
        console.print(f"next: `twin up`, then {commands}", markup=False)
