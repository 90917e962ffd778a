"""Run `twin doctor`: check everything that a twin needs, and print findings with remedies.

Scope: the order of the checks, the table, the JSON and the exit code.
Out of scope: the checks (the other modules of this package), and repairs.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from twin_cli.commands.doctor import machine_findings, stack_findings, stores
from twin_cli.commands.doctor.findings import DoctorFinding, run_check
from twin_resources.processes.stack import find_stack
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def run_doctor(settings: Settings, *, as_json: bool, console: Console) -> int:
    """Run all checks and print them; return 1 if any fails, else 0."""
    findings = run_checks(settings)
    has_failed = any(finding.verdict == "fail" for finding in findings)
    if as_json:
        console.print_json(data=build_doctor_document(settings, findings))
        return int(has_failed)
    for finding in findings:
        line = Text(f"{finding.verdict:<4} ", STYLES[finding.verdict])
        console.print(line.append(f"{finding.name:<13} {finding.found}", "default not bold"))
        if finding.remedy:
            console.print(f"{'':<18} → {finding.remedy}")
    console.print(format_summary(findings), style="bold")
    return int(has_failed)


def run_checks(settings: Settings) -> list[DoctorFinding]:
    """Return every finding, ordered so that causes precede their consequences."""
    stack = find_stack(settings)
    effective_settings = settings if stack is None else stack.settings
    is_running = stack is not None
    checks: list[tuple[str, Callable[[], Iterable[DoctorFinding]]]] = [
        ("forgetting", lambda: stores.check_erasures(effective_settings)),
        ("system", lambda: machine_findings.check_system(effective_settings)),
        ("packages", lambda: machine_findings.check_packages(effective_settings)),
        ("GPU", lambda: machine_findings.check_gpu(effective_settings)),
        ("disk", lambda: machine_findings.check_disk(effective_settings)),
        ("keys", lambda: machine_findings.check_keys(effective_settings)),
        ("judge", lambda: machine_findings.check_judge(effective_settings)),
        ("reranker", lambda: machine_findings.check_reranker(effective_settings)),
        ("authors", lambda: machine_findings.check_authors(effective_settings)),
        ("stack", lambda: stack_findings.check_stack(effective_settings, stack)),
        ("ports", lambda: stack_findings.check_ports(effective_settings, stack)),
        ("state", lambda: stores.check_state(effective_settings)),
        ("databases", lambda: stores.check_databases(effective_settings)),
        ("tables", lambda: stores.check_tables(effective_settings)),
        ("trace store", lambda: stores.check_traces(effective_settings, is_running=is_running)),
        ("outbox", lambda: stores.check_outbox(effective_settings, is_running=is_running)),
        ("model server", lambda: stack_findings.check_model_servers(effective_settings, stack)),
        ("gateway", lambda: stack_findings.check_gateway(effective_settings, stack)),
    ]
    if stack is not None:
        checks.append(("Dagster", lambda: stack_findings.check_dagster(stack)))
    return [finding for name, check in checks for finding in run_check(name, check)]


def build_doctor_document(settings: Settings, findings: Sequence[DoctorFinding]) -> dict[str, Any]:
    """Return the `twin doctor --json` object; its keys are stable (deploy/docs/json.md)."""
    return {
        "home": str(settings.home),
        "ok": all(finding.verdict != "fail" for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }


def format_summary(findings: Sequence[DoctorFinding]) -> str:
    """Return the last line, with the numbers of failures and warnings."""
    failure_count = sum(finding.verdict == "fail" for finding in findings)
    warning_count = sum(finding.verdict == "warn" for finding in findings)
    if not failure_count and not warning_count:
        return f"all {len(findings)} checks passed"
    return (
        f"{failure_count} failed, {format_count(warning_count, 'warning')}, "
        f"{len(findings) - failure_count - warning_count} passed"
    )
