"""Where fallen classes may go to the paid model: only where labels say that it does better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.registered import register_version
from tests.unit.gateway.routing.labelled import PAID, drawn, fitted_policy
from twin_resources.authors import Author
from twin_resources.quality.retraining.rerouting import classes_paid_gains
from twin_resources.registry.registry import Registry
from twin_resources.router.policy_file import policy_file, write_routing_policy
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

MARA = Author("mara", "Mara")


def test_only_a_class_whose_lower_bound_is_above_zero(home: Settings) -> None:
    settings = home.model_copy(update={"paid_model": PAID.model, "paid_budget_per_day": 1.0})
    registry = Registry(State.open(home.state_address), policy_path=home.policy_path)
    values: dict[str, Any] = {"folder": "", "adapter_gguf": None, "base": "", "base_gguf": ""}
    register_version(registry, "mara", "checkpoint", **values)
    registry.move("mara", 1, "refused", actor="test", reason="to force it")
    registry.move("mara", 1, "stable", actor="test", reason="by hand", force=True)
    assert classes_paid_gains(settings, MARA, registry) == frozenset()
    policy = fitted_policy(drawn(400, seed=0))
    path = policy_file(home.home, "mara")
    write_routing_policy(path, policy)
    assert classes_paid_gains(settings, MARA, registry) == {"hard"}
    assert classes_paid_gains(home, MARA, registry) == frozenset()
    assert classes_paid_gains(settings, replace(MARA, paid=False), registry) == frozenset()
    older = replace(policy, models=(replace(policy.models[0], model="older"), policy.models[1]))
    write_routing_policy(path, older)
    assert classes_paid_gains(settings, MARA, registry) == frozenset()
    path.write_bytes(b"PK")
    assert classes_paid_gains(settings, MARA, registry) == frozenset()
