"""Run `twin doctor`: check everything a running twin needs, each finding with its remedy.

Scope: the order of the checks, the table, the JSON, the exit code.
Out of scope: the checks (the other modules of this package), repairs.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from twin_cli.commands.doctor import machine_findings, stores
from twin_cli.commands.doctor import stack_findings as stack_looks
from twin_cli.commands.doctor.findings import Diagnostic, looked
from twin_resources.processes.stack import find_stack
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def run_doctor(settings: Settings, *, as_json: bool, console: Console) -> int:
    """Run all checks and print them; return 1 if any fails, or 0 with warnings at most."""
    findings = examine(settings)
    failed = any(finding.verdict == "fail" for finding in findings)
    if as_json:
        console.print_json(data=document(settings, findings))
        return int(failed)
    for finding in findings:
        line = Text(f"{finding.verdict:<4} ", STYLES[finding.verdict])
        console.print(line.append(f"{finding.name:<13} {finding.found}", "default not bold"))
        if finding.remedy:
            console.print(Text(f"{'':<18} → {finding.remedy}"))
    console.print(Text(summary(findings), "bold"))
    return int(failed)


def examine(settings: Settings) -> list[Diagnostic]:
    """Return every finding, ordered so that one fault explains the next."""
    stack = find_stack(settings)
    chosen = settings if stack is None else stack.settings
    running = stack is not None
    looks: list[tuple[str, Callable[[], Iterable[Diagnostic]]]] = [
        ("system", lambda: machine_findings.look_at_system(chosen)),
        ("packages", lambda: machine_findings.look_at_packages(chosen)),
        ("GPU", lambda: machine_findings.look_at_gpu(chosen)),
        ("disk", lambda: machine_findings.look_at_disk(chosen)),
        ("keys", lambda: machine_findings.look_at_keys(chosen)),
        ("judge", lambda: machine_findings.look_at_judge(chosen)),
        ("reranker", lambda: machine_findings.look_at_reranker(chosen)),
        ("authors", lambda: machine_findings.look_at_authors(chosen)),
        ("stack", lambda: stack_looks.look_at_stack(chosen, stack)),
        ("ports", lambda: stack_looks.look_at_ports(chosen, stack)),
        ("state", lambda: stores.look_at_state(chosen)),
        ("databases", lambda: stores.look_at_databases(chosen)),
        ("tables", lambda: stores.look_at_tables(chosen)),
        ("trace store", lambda: stores.look_at_traces(chosen, is_running=running)),
        ("outbox", lambda: stores.look_at_outbox(chosen, is_running=running)),
        ("model server", lambda: stack_looks.look_at_models(chosen, stack)),
        ("trainer", lambda: stores.look_at_trainer(chosen)),
    ]
    if stack is not None:
        looks += [
            ("Dagster", lambda: stack_looks.look_at_dagster(stack)),
            ("gateway", lambda: stack_looks.look_at_gateway(stack)),
        ]
    return [finding for name, look in looks for finding in looked(name, look)]


def document(settings: Settings, findings: Sequence[Diagnostic]) -> dict[str, Any]:
    """Return what `twin doctor --json` prints; its keys are stable (deploy/docs/json.md)."""
    return {
        "home": str(settings.home),
        "ok": all(finding.verdict != "fail" for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }


def summary(findings: Sequence[Diagnostic]) -> str:
    """Return the last line: the number of failures and of warnings."""
    failed = sum(finding.verdict == "fail" for finding in findings)
    warned = sum(finding.verdict == "warn" for finding in findings)
    if not failed and not warned:
        return f"all {len(findings)} hold"
    return f"{failed} failed, {warned} to know of, {len(findings) - failed - warned} hold"
