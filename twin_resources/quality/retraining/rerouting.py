"""Where fallen classes go when no training can help: into the author's routing table.

Belongs here: choosing the place and writing it by the registry. Does not belong here: following the
table (`gateway/routing/`), finding out which classes fell (`diagnosing.py`).

    routing["divert"] = {"version": "v3", "alarm": …, "classes": {"why": "paid", "how": "v2"}}

It holds for the version that fell: the next stable one answers everything again.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.quality.retraining.earlier_versions import best_of_class
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.registry.registry import Registry
from twin_resources.router.policy_file import policy_file, read_routing_policy
from twin_resources.statistics.detector import Alarm, Fall
from twin_resources.statistics.retraining import run_key

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings

PAID = "paid"


def divert(
    registry: Registry,
    alarm: Alarm,
    falls: Sequence[Fall],
    rules: LoopRules,
    *,
    paid_gains: Collection[str],
) -> Mapping[str, str]:
    """Route the fallen classes of an alarm elsewhere; twice is once.

    To the paid model within its budget where labels say that it does better, else to the retired
    version whose own days were best in that class, if they were better than the fall.

    Args:
        paid_gains: `classes_paid_gains`.

    Returns:
        Prompt class → `paid` or the version; classes that have nowhere to go are left out.
    """
    places = {
        fall.prompt_class: place
        for fall in falls
        if (
            place := PAID
            if fall.prompt_class in paid_gains
            else best_of_class(registry, alarm, fall, rules)
        )
    }
    if places:
        registry.change_routing(alarm.author, lambda table: _with_divert(table, alarm, places))
    return places


def classes_paid_gains(settings: Settings, author: Author, registry: Registry) -> frozenset[str]:
    """Classes in which the paid model's answers are better than the stable version's, by the lower
    bound of the labels' gain; none without labels of that very version, or without a paid model."""
    path = policy_file(settings.home, author.slug)
    stable = registry.stable(author.slug)
    if not settings.has_paid_route or not author.paid or stable is None or not path.exists():
        return frozenset()
    try:
        policy = read_routing_policy(path)
    except TwinError:
        return frozenset()  # the gateway says so with every answer, and `twin routing`
    ends = (policy.models[0].model, policy.models[-1].model)
    if ends != (stable.checkpoint, settings.paid_model):
        return frozenset()
    return frozenset(row.prompt_class for row in policy.classes if row.low > 0.0)


def _with_divert(
    table: Mapping[str, Any], alarm: Alarm, places: Mapping[str, str]
) -> Mapping[str, Any]:
    standing: dict[str, Any] = table.get("divert") or {}
    same = standing.get("version") == alarm.version
    before: dict[str, str] = standing["classes"] if same else {}
    entry = {"version": alarm.version, "alarm": run_key(alarm), "classes": {**before, **places}}
    return {**table, "divert": entry}
