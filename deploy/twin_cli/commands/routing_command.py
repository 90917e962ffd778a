"""Run `twin routing`: show which model answers which questions, why, and the savings.

Scope: the tables and the JSON.
Out of scope: fitting a policy (`routing_policy`), scoring a question (`router/`), and counting
answers (`ledger/routed_answers.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import math
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from twin_cli.commands.presentation import make_table
from twin_cli.commands.subject import choose_author
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.access.spending_limits import format_dollars
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.gateway.costs.cost import (
    break_even_utilization,
    self_hosted_usd_per_million_tokens,
)
from twin_resources.gateway.routing.decision import PROMPT_SHARE
from twin_resources.quality.judges.label_payback import estimate_payback
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.routed_answers import (
    RoutedAnswers,
    count_routed_answers,
    estimate_savings_usd,
    month_start,
)
from twin_resources.registry.policy import read_policy
from twin_resources.registry.route_names import PAID
from twin_resources.router.learning_decision import (
    LABEL_TOKENS,
    PAYBACK_DAYS,
    ComparedModels,
    Payback,
)
from twin_resources.router.policy_file import RoutingPolicy, policy_path, read_routing_policy
from twin_resources.settings import Settings
from twin_resources.statistics.promotion import expected_pairs
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


def run_routing(settings: Settings, *, author: str, as_json: bool, console: Console) -> int:
    """Print an author's routing; return the exit code.

    Raises:
        TwinError: the author does not exist, or the policy file is damaged.
    """
    chosen_author = choose_author(settings, author)
    summary = build_routing_summary(settings, chosen_author)
    if as_json:
        console.print_json(data=summary)
    else:
        print_summary(summary, chosen_author, console)
    return 0


def print_summary(summary: dict[str, Any], author: Author, console: Console) -> None:
    """Print the object of `build_routing_summary` as text."""
    if summary["payback"]:
        console.print(f"{author.name}: {summary['payback']['said']}")
    console.print(f"{author.name}: {summary['why']}")
    if summary["classes"]:
        table = make_table("class", "gain of paid, 95 %", "labels", "own", "paid")
        for row in summary["classes"]:
            gain_text = "–"
            if row["gain"] is not None:
                gain_text = f"{row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            counts = (str(row[name]) for name in ("labels", "own", "paid"))
            table.add_row(row["class"], gain_text, *counts)
        console.print(table)
    if summary["paid_model"]:
        for line in _summary_lines(summary):
            console.print(line)


def build_routing_summary(settings: Settings, author: Author) -> dict[str, Any]:
    """Return the `twin routing --json` object with this month's figures from the ledger."""
    summary: dict[str, Any] = {
        "author": author.slug,
        "paid_model": settings.paid_model if settings.has_paid_route else "",
        "routed": False,
        "why": "your own model answers every question, because no paid model is configured "
        "(TWIN_PAID_MODEL, TWIN_PAID_BUDGET_PER_DAY)",
        "margin": settings.quality_margin,
        "labels": 0,
        "classes": [],
        "point": None,
        "frontier": [],
        "saved_usd": None,
        "payback": None,
        "minutes_margin_not_held": 0,
        "utilisation": 0.0,
        "break_even_utilisation": None,
    }
    if not settings.has_paid_route:
        return summary
    path = policy_path(settings.home, author.slug)
    policy = read_routing_policy(path) if path.exists() else None
    answers, answers_under_policy, payback = _read_answers(settings, author.slug, policy)
    tokens_per_second = _read_fastest_tokens_per_second(settings)
    break_even = _compute_break_even_utilization(settings, tokens_per_second)
    summary |= {
        "why": _routing_reason(settings, author, policy),
        "payback": _payback_json(payback),
        "classes": _build_class_rows(policy, answers),
        "minutes_margin_not_held": answers.minutes_without_margin,
        "utilisation": round(answers.utilization, 4),
        "break_even_utilisation": break_even,
    }
    if policy is None:
        return summary
    usd, low, high = estimate_savings_usd(
        answers_under_policy.own, [float(usd) for usd in policy.avoided_usd]
    )
    return summary | {
        "routed": author.paid and not _lapse_reason(settings, author, policy),
        "labels": len(policy.label_ids),
        "margin": policy.margin,
        "point": _operating_point(policy, policy.active_step_index),
        "frontier": [_operating_point(policy, index) for index in range(len(policy.steps))],
        "saved_usd": {"value": usd, "low": low, "high": high},
    }


def _routing_reason(settings: Settings, author: Author, policy: RoutingPolicy | None) -> str:
    if not settings.has_paid_route:
        return "no paid model is configured (TWIN_PAID_MODEL, TWIN_PAID_BUDGET_PER_DAY)"
    if not author.paid:
        return "no question is routed: the author's file contains paid = false"
    if policy is not None and (lapse_reason := _lapse_reason(settings, author, policy)):
        return (
            f"no question is routed: {lapse_reason}; the nightly job `learn_routing` refits the "
            "policy"
        )
    if policy is not None:
        step = policy.step
        return (
            f"{1 - step.kept:.0%} of the questions go to your own model, the others to "
            f"{policy.models[-1].model}; quality loss at most {-step.lower:.3f} "
            f"({policy.margin:g} is allowed)"
        )
    max_labels = settings.routing_labels
    usd = answer_price_usd(
        settings.paid_model, prompt_tokens=LABEL_TOKENS[0], answer_tokens=LABEL_TOKENS[1]
    )
    min_labels = math.ceil(expected_pairs(0.0, margin=settings.quality_margin))
    return (
        f"no question is routed: no policy is certified at margin {settings.quality_margin:g}. "
        f"That takes at least {min_labels:,} labels; at most {max_labels:,} are bought, at about "
        f"{format_dollars(usd)} each. Set TWIN_LABEL_BUDGET_PER_MONTH; labels are then bought "
        "every night, or when you run the job `learn_routing`. The metadata of `routing_policy` "
        "show how many are missing"
    )


def _lapse_reason(settings: Settings, author: Author, policy: RoutingPolicy) -> str:
    """Return why the gateway ignores the routing policy, or an empty string if it does not.

    Without a file at `settings.policy_path`, versions are not checked.

    Raises:
        TwinError: the file at `settings.policy_path` is damaged.
    """
    if policy.models[-1].model != settings.paid_model:
        return f"its labels are for {policy.models[-1].model}"
    if not settings.policy_path.exists():
        return ""
    served_author = read_policy(settings.policy_path).authors.get(author.slug)
    stable = served_author.stable.checkpoint if served_author and served_author.stable else ""
    return "" if policy.models[0].model == stable else "its labels are for another version"


def _payback_json(payback: Payback) -> dict[str, Any]:
    value, low, high = payback.saved_usd()
    breaks_even = math.isfinite(payback.break_even_questions)
    return {
        "said": payback.summary,
        "pays": payback.is_worthwhile,
        "questions": math.ceil(payback.break_even_questions) if breaks_even else None,
        "least_a_day": math.ceil(payback.min_questions_per_day) if breaks_even else None,
        "asked_a_day": round(payback.question_count / PAYBACK_DAYS, 1),
        "saved_usd_a_month": {"value": value, "low": low, "high": high},
    }


def _models_to_compare(settings: Settings, author: str) -> ComparedModels | None:
    """Return the models that new labels would compare, or None without a version or embedder."""
    from twin_resources.models.embedder.embedder import find_prepared_embedder

    if not settings.policy_path.exists():
        return None
    served_author = read_policy(settings.policy_path).authors.get(author)
    if served_author is None or served_author.stable is None:
        return None
    try:
        revision = find_prepared_embedder(settings)[1].revision
    except TwinError:
        return None
    return ComparedModels(served_author.stable.checkpoint, settings.paid_model, revision)


def _read_answers(
    settings: Settings, author: str, policy: RoutingPolicy | None
) -> tuple[RoutedAnswers, RoutedAnswers, Payback]:
    """Return this month's answers, those under the current policy, and the payback of labels."""
    with closing(open_home_state(settings)) as state:
        ledger_tables.open_tables(state)
        month = month_start()
        with state.read_transaction() as connection:
            answers = count_routed_answers(connection, author, since=month)
            _, payback = estimate_payback(
                settings, author,
                label_models=_models_to_compare(settings, author), policy=policy,
                tables=Tables(settings.tables_base, state=state),
                connection=connection, now=datetime.now(UTC),
            )  # fmt: skip
            if policy is None:
                return answers, RoutedAnswers(), payback
            policy_written_at = datetime.fromisoformat(policy.written_at)
            answers_under_policy = count_routed_answers(
                connection, author, since=max(month, policy_written_at)
            )
            return answers, answers_under_policy, payback


def _build_class_rows(policy: RoutingPolicy | None, answers: RoutedAnswers) -> list[dict[str, Any]]:
    gains = {row.prompt_class: row for row in policy.classes} if policy else {}
    classes: list[dict[str, Any]] = []
    for name in sorted({*gains, *answers.classes}):
        row: dict[str, Any] = {"class": name, "labels": 0, "own": 0, "paid": 0}
        row |= dict.fromkeys(("gain", "low", "high"))
        if class_gain := gains.get(name):
            row["labels"] = class_gain.labels
            row |= {key: round(getattr(class_gain, key), 4) for key in ("gain", "low", "high")}
        if class_answers := answers.classes.get(name):
            row |= {"own": class_answers.own, "paid": class_answers.paid}
        classes.append(row)
    return classes


def _operating_point(policy: RoutingPolicy, index: int) -> dict[str, Any]:
    step = policy.steps[index]
    return {
        "to_own": round(1.0 - step.kept, 4),
        "usd_per_1000_answers": round(1_000 * step.usd, 6),
        "loss": round(-step.value, 4),
        "loses_at_most": round(-step.lower, 4),
        "certified": step.certified,
        "in_force": index == policy.active_step_index,
    }


def _read_fastest_tokens_per_second(settings: Settings) -> float:
    """Return the tokens per busy second of the user's fastest server, or 0 if not measured."""
    try:
        text = (settings.home / "gateway" / "throughput.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0.0
    servers: dict[str, dict[str, float]] = json.loads(text)["servers"]
    return max(
        (server["tokens_per_second"] for name, server in servers.items() if name != PAID),
        default=0.0,
    )


def _compute_break_even_utilization(settings: Settings, tokens_per_second: float) -> float | None:
    """Return the utilization above which self-hosting is cheaper, or None if it is unknown."""
    if tokens_per_second <= 0:
        return None
    prompt_tokens = round(PROMPT_SHARE * 1e6)
    paid_usd = answer_price_usd(
        settings.paid_model, prompt_tokens=prompt_tokens, answer_tokens=1_000_000 - prompt_tokens
    )
    if paid_usd <= 0:
        return None
    full_load_usd = self_hosted_usd_per_million_tokens(
        settings.self_hosted_usd_per_hour, tokens_per_second=tokens_per_second
    )
    return round(break_even_utilization(full_load_usd, paid_usd=paid_usd), 4)


def _summary_lines(summary: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    operating_point, savings = summary["point"], summary["saved_usd"]
    if operating_point is not None:
        lines.append(
            f"current policy: {operating_point['to_own']:.0%} to your own model, "
            f"{format_dollars(operating_point['usd_per_1000_answers'])} for 1,000 answers, loss "
            f"{operating_point['loss']:.3f}"
        )
    if savings is not None:
        lines.append(
            f"saved this month: {format_dollars(savings['value'])} "
            f"({format_dollars(savings['low'])} to {format_dollars(savings['high'])})"
        )
    if summary["minutes_margin_not_held"]:
        lines.append(
            f"margin not met for {summary['minutes_margin_not_held']} minutes, because the budget "
            "allowed no certified operating point"
        )
    break_even = summary["break_even_utilisation"]
    if break_even is not None:
        lines.append(
            f"break-even: your own machine is cheaper above {break_even:.1%} utilization "
            f"(measured: {summary['utilisation']:.1%})"
        )
    return lines
