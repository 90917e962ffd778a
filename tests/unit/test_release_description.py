"""Test that README, page, `twin ask`, model list and report describe a release in the same words.

The test records a verdict with one failing claim. The registry, the policy file and the gateway
pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from twin_cli.commands.presentation import build_versions_table
from twin_cli.commands.questions import EndpointAnswer, format_release

from tests.model_versions import register_version
from tests.unit.evaluation.report.test_evaluation_record import EVALUATION
from tests.unit.gateway.exchanges import change_snapshot, prepare
from tests.unit.gateway.test_quoting import create_quoting_path
from twin_assets.evaluation.measures import sentence_faithfulness
from twin_assets.evaluation.report.markdown import render_report
from twin_resources.gateway.routing.model_names import model_fields
from twin_resources.page.footnotes import describe_prose, render_answer_details
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

README = Path(__file__).parents[2] / "README.md"
UNSUPPORTED_RATE = "92 % of sentences unsupported, limit 10 %"
DESCRIPTION = f"quotations alone: {UNSUPPORTED_RATE}"
FAILED_CLAIM = GateClaim(
    sentence_faithfulness.CLAIM,
    False,
    0.92,
    sentence_faithfulness.MAX_UNSUPPORTED,
    "…",
    blocks=sentence_faithfulness.BLOCKED_FORM,
)


def release_without_prose(state: State, home: Settings) -> tuple[Registry, Verdict]:
    """Release a version that has passed the gate except for the claim about prose."""
    registry = Registry(state, policy_path=home.policy_path)
    register_version(registry, "ann", "c1", template=DEFAULT_TEMPLATE.hash, actor="test")
    verdict = Verdict("ann", "c1", "g", "passed", (FAILED_CLAIM,), "2026-11-25")
    registry.record_verdict(verdict)
    registry.move("ann", 1, "stable", actor="test", reason="passed", gate_version="g")
    return registry, verdict


async def read_answer_facts(home: Settings) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the `twin` field of an answer and of the model's entry in the list of models."""
    path = create_quoting_path(home)
    servers = path.live_config.current.servers
    servers = {**servers, "ann/v1": servers["base"]}
    change_snapshot(path, policy=read_policy(home.policy_path), servers=servers)
    prepared = await prepare(path)
    return prepared.twin_field(), model_fields(path.live_config.current, "twin/ann")


async def test_a_release_has_the_same_description_everywhere(home: Settings) -> None:
    with closing(open_home_state(home)) as state:
        registry, verdict = release_without_prose(state, home)
        twin, entry = await read_answer_facts(home)
        table = build_versions_table(registry.versions("ann"), {"c1": verdict}, [])

        assert twin["answer"] == entry["answer"] == "quote"
        assert twin["release"] == entry["release"] == DESCRIPTION
        assert twin["released_for"] == entry["released_for"] == ["quote"]
        answer = EndpointAnswer("?", "", release=twin["release"], prose=twin["prose"])
        assert format_release(answer) == f"released for {DESCRIPTION}; for a draft: --model @voice"
        assert f"<dt>Released for</dt><dd>{DESCRIPTION}</dd>" in render_answer_details(twin)
        assert describe_prose(twin) == f"not shown: {UNSUPPORTED_RATE}"
        assert f"Released for {DESCRIPTION}." in render_report(EVALUATION, verdict)
        assert DESCRIPTION in [str(cell) for column in table.columns for cell in column.cells]

        readme = " ".join(README.read_text(encoding="utf-8").split())
        limit = f"{100 * sentence_faithfulness.MAX_UNSUPPORTED:.0f} %"
        assert (
            f"only where the gate has shown that at most {limit} of a version's sentences that pass"
            in readme
        )
        assert f"(`{sentence_faithfulness.CLAIM}`)" in readme

        registry.force_prose("ann", 1, actor="test", reason="I have read fifty")
        assert registry.moves("ann")[-1].reason == "I have read fifty"
        item = registry.stable_version("ann")
        assert item is not None
        assert not item.forced, "the version itself was forced"
        stable = read_policy(home.policy_path).authors["ann"].stable
        assert stable is not None
        assert (stable.prose.forced, stable.prose.why_not) == (True, UNSUPPORTED_RATE)
        twin, _ = await read_answer_facts(home)
        assert twin["answer"] == "quote", "forced prose replaced the quotation"
