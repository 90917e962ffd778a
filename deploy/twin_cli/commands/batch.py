"""`twin batch`: a file of questions answered into a file.

Belongs here: what the command shows, and its exit code. Does not belong here: the batch itself
(`batches/`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from twin_cli.commands.clock import StageClock
from twin_cli.commands.subject import choose_author
from twin_resources.gateway.batches.answers import Answered, Journal, check_out
from twin_resources.gateway.batches.completing import BatchSum, complete
from twin_resources.gateway.batches.questions import read_questions
from twin_resources.processes.endpoints import read_endpoints
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings

NOT_ALL = 3  # some rows have no answer
SHOWN_BROKEN = 5


def run_batch(
    settings: Settings,
    questions: Path,
    out: Path,
    *,
    author: str,
    model: str,
    width: int,
    as_json: bool,
    console: Console,
) -> int:
    """Answer them; returns 0, or 3 when a row is broken or was refused.

    Args:
        model: overrides `twin/<author>`; an alias alone (`@base`) is put behind it.

    Raises:
        TwinError: a file cannot be read or written, no stack, or the gateway stopped answering:
            the same command goes on where it was.
    """
    check_out(out)
    rows, broken = read_questions(questions)
    endpoints = read_endpoints(settings.home)
    if not model or model.startswith("@"):
        model = f"twin/{choose_author(settings, author).slug}{model}"
    clock = StageClock(console)
    if not as_json:
        for one in broken[:SHOWN_BROKEN]:
            clock.say(f"{one.place} is left out: {one.found}", style="yellow")
        if len(broken) > SHOWN_BROKEN:
            clock.say(f"and {len(broken) - SHOWN_BROKEN} more", style="yellow")
    journal = Journal(out)
    try:
        with clock.bar("batch") as bar, clock.never_silent():

            def report(done: BatchSum, row: Answered) -> None:
                left = bar.elapsed_s / (done.answered + done.failed) * (done.questions - done.done)
                if row["error"] and not as_json:
                    clock.say(f"{row['id']}: {row['error']}", style="yellow")
                bar.update(
                    f"{done.done}/{done.questions}, ${done.cost_usd:.4f}",
                    done=float(done.done),
                    total=float(done.questions),
                    left_s=left,
                )

            total = complete(
                rows,
                journal,
                url=endpoints.gateway,
                key=endpoints.gateway_key,
                model=model,
                width=width,
                on_row=report,
            )
        journal.finish(one.fingerprint(model) for one in rows)
    finally:
        journal.close()
    if as_json:
        document = {**asdict(total), "broken": [asdict(one) for one in broken], "out": str(out)}
        console.print_json(json.dumps(document, ensure_ascii=False))
    else:
        clock.say(_said(total, out))
    return NOT_ALL if broken or total.failed else 0


def _said(total: BatchSum, out: Path) -> str:
    parts = [f"{counted(total.answered, 'answer')} in {out}"]
    if total.kept:
        parts.append(f"{total.kept} kept of an earlier run")
    if total.failed:
        parts.append(f"{total.failed} refused (column `error`)")
    routes = ", ".join(f"{name} {count}" for name, count in sorted(total.routes.items()))
    if routes:
        parts.append(f"by route: {routes}")
    parts.append(f"${total.cost_usd:.6f}")
    if total.unpriced:
        parts.append(f"the cost of {total.unpriced} is not known")
    return "; ".join(parts)
