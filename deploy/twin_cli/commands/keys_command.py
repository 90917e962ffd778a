"""Run `twin keys` and `twin widget`: create, list and revoke keys, and show the usage of each.

Scope: the tables and the JSON.
Out of scope: keys and limits (`access/keys.py`), money (`access/account.py`), requests
(`gateway/api/key_limits.py`).
"""
# pyright: strict

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from rich.console import Console

from twin_cli.commands.presentation import make_table
from twin_cli.commands.subject import choose_author
from twin_resources.access.account import SpendingAccount, open_account
from twin_resources.access.keys import (
    ALL_AUTHORS,
    FREE_ALIASES,
    KeyLimits,
    Role,
    add_key,
    home_key_labels,
    list_keys,
    open_key_store,
    revoke_key,
)
from twin_resources.access.spending_limits import format_dollars
from twin_resources.gateway.api.widget import render_widget_line
from twin_resources.processes.endpoints import find_gateway
from twin_resources.registry.route_names import PAID
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State


def run_add(
    settings: Settings,
    label: str,
    *,
    authors: Sequence[str],
    role: Role,
    aliases: Sequence[str] | None,
    per_minute: int | None,
    max_concurrent: int | None,
    usd_per_day: float | None,
    as_json: bool,
    console: Console,
) -> int:
    """Create a key and print it once; return the exit code.

    Args:
        authors: names or slugs, or `*`.
        aliases: with or without `@`, or None for the free aliases.

    Raises:
        TwinError: an author or alias does not exist, a limit is invalid, or the label is in use.
    """
    slugs = [
        name if name == ALL_AUTHORS else choose_author(settings, name).slug for name in authors
    ]
    limits = KeyLimits(
        frozenset(alias.removeprefix("@") for alias in aliases) if aliases else FREE_ALIASES,
        per_minute=per_minute,
        at_once=max_concurrent,
        usd_per_day=usd_per_day,
    )
    with closing(open_key_store(settings)) as state:
        new_key = add_key(state, role=role, authors=slugs, label=label, limits=limits)
    if as_json:
        console.print_json(data={"key": new_key, "label": label})
    else:
        console.print(new_key)
        console.print("the key is not shown again; only its hash is stored", style="dim")
    return 0


def run_widget(
    settings: Settings,
    author: str,
    *,
    origins: Sequence[str],
    url: str,
    per_minute: int,
    usd_per_day: float,
    as_json: bool,
    console: Console,
) -> int:
    """Create the key of an author's site and print the HTML that contains it; return the exit code.

    Args:
        author: name or slug.
        url: the gateway's public address, or empty for that of the running gateway.

    Raises:
        TwinError: the author does not exist, an origin is invalid, its key exists, or no gateway
            runs.
    """
    chosen = choose_author(settings, author)
    url = url or find_gateway(settings)[0]
    limits = KeyLimits(
        frozenset({PAID} if usd_per_day else ()),
        per_minute=per_minute,
        usd_per_day=usd_per_day,
        origins=frozenset(origins),
    )
    label = f"{chosen.slug} at {' '.join(sorted(limits.origins))}"
    with closing(open_key_store(settings)) as state:
        key = add_key(state, role="site", authors=[chosen.slug], label=label, limits=limits)
    line = render_widget_line(url, author=chosen.slug, name=chosen.name, key=key)
    if as_json:
        console.print_json(data={"html": line, "key": key, "label": label})
    else:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
        end_line = (
            f"paste it into the site's pages; to end it: twin keys revoke {shlex.quote(label)}"
        )
        console.print(end_line, style="dim", soft_wrap=True)
    return 0


def run_list(settings: Settings, *, as_json: bool, console: Console) -> int:
    """Print every active key's entry, without the key itself, and what each key and purpose spent.

    JSON includes revoked keys.

    Raises:
        TwinError: the state store cannot be read.
    """
    with closing(open_key_store(settings)) as state:
        rows: list[dict[str, Any]] = list_keys(state)
        spending = build_spending_document(settings, state)
    if as_json:
        console.print_json(data={"keys": rows, "spending": spending})
        return 0
    active_rows = [row for row in rows if row["revoked_at"] is None]
    if not active_rows:
        console.print(
            "no keys except the two of this home; create one with twin keys add LABEL --author A"
        )
    else:
        _print_keys(active_rows, console)
    _print_spending(spending, console)
    return 0


def _print_keys(rows: list[dict[str, Any]], console: Console) -> None:
    table = make_table(
        *("label", "role", "authors", "origins", "aliases", "per minute", "concurrent"),
        *("paid per day", "created"),
        unwrapped_titles={"created"},
    )
    for row in rows:
        table.add_row(
            row["label"],
            row["role"],
            ", ".join(row["authors"]),
            " ".join(row["origins"]) or "-",
            " ".join(f"@{alias}" for alias in row["aliases"]),
            *(str(row[name] or "-") for name in ("per_minute", "at_once")),
            _format_limit(row["usd_per_day"]),
            row["made_at"][:10],
        )
    console.print(table)


def _print_spending(spending: dict[str, Any], console: Console) -> None:
    table = make_table(
        *("spent by", "paid today", "reserved", "limit per day", "this month", "paid requests"),
        unwrapped_titles={"spent by"},
    )
    for row in [*spending["keys"], *spending["purposes"], spending["home"]]:
        table.add_row(
            row["name"],
            format_dollars(row["today_usd"]),
            format_dollars(row["reserved_usd"]),
            _format_limit(row["usd_per_day"]),
            format_dollars(row["month_usd"]),
            str(row["month_requests"]),
        )
    console.print(table)
    console.print("days and months are UTC", style="dim")


def run_revoke(settings: Settings, label: str, *, as_json: bool, console: Console) -> int:
    """Revoke a key; return the exit code.

    Raises:
        TwinError: no active key has that label.
    """
    with closing(open_key_store(settings)) as state:
        revoke_key(state, label)
    if as_json:
        console.print_json(data={"revoked": label})
    else:
        console.print(f"{label}: revoked; it is refused within a second")
    return 0


def build_spending_document(settings: Settings, state: State) -> dict[str, Any]:
    """Return the field `spending` of `twin keys list --json`.

    Returns:
        `keys` (by label, including the home's keys if they have spending), `purposes` (spending
        without a key) and `home` (the total). Each entry has `name`, `today_usd`, `reserved_usd`,
        `usd_per_day` (its limit or None), `month_usd` and `month_requests`.
    """
    account = open_account(settings, state)
    rows = list_keys(state)
    limits = {str(row["id"]): row["usd_per_day"] for row in rows}
    names = {
        str(row["id"]): str(row["label"]) + (" (revoked)" if row["revoked_at"] else "")
        for row in rows
    } | home_key_labels(load_secrets(settings))
    spending_keys = {str(row["key"]) for row in account.list_spending()}
    active_keys = {str(row["id"]) for row in rows if row["revoked_at"] is None}
    return {
        "keys": [
            _build_usage_row(account, names.get(key, key), limits.get(key), key=key)
            for key in [*names, *sorted(spending_keys - set(names) - {""})]
            if key in active_keys | spending_keys
        ],
        "purposes": [
            _build_usage_row(account, purpose, None, key="", purpose=purpose)
            for purpose in sorted(
                {row["purpose"] for row in account.list_spending() if not row["key"]}
            )
        ],
        "home": _build_usage_row(account, "home", settings.budget_per_day),
    }


def _build_usage_row(
    account: SpendingAccount, name: str, limit: object, **filters: Any
) -> dict[str, Any]:
    today, month = account.sum_spending(**filters), account.sum_spending(period="month", **filters)
    return {
        "name": name,
        "today_usd": today.usd,
        "reserved_usd": today.reserved_usd,
        "usd_per_day": limit,
        "month_usd": month.usd,
        "month_requests": month.requests,
    }


def _format_limit(usd: float | None) -> str:
    return "-" if usd is None else format_dollars(usd)
