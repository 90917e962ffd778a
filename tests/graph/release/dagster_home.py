"""Prepare a home for release tests: its registry, its judges' certificates and shadow pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.graph.release.releases import AUTHOR
from tests.model_versions import register_version
from tests.stored_rows import store_rows
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_assets.evaluation.gate import GATE_VERSION
from twin_resources.authors import Author, write_author
from twin_resources.quality.judges import pairs as shadow_pairs
from twin_resources.quality.judges.stored_results import CERTIFICATE_TABLE
from twin_resources.quality.release import trial
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.statistics.judges import JudgeCertificate
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

JUDGES = {"topic": "topic@1", "voice": "voice@1"}


def create_registry(home: Settings, *, release_mode: str = "shadow") -> Registry:
    write_author(
        home,
        Author(
            AUTHOR, "Mara", release_mode=release_mode, consent="2020-01-01: the test's own author"
        ),
    )
    return Registry(State.open(home.state_address), policy_path=home.policy_path)


def register_passed_candidate(registry: Registry, checkpoint: str, *, high: float = 0.99) -> None:
    """Register a candidate that passed the current gate.

    Args:
        high: the upper end of the interval of its ratio to the stable version, if there is one.
    """
    register_version(registry, AUTHOR, checkpoint, folder=str(Path("/checkpoints") / checkpoint))
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
    claims = (claim, *make_stable_claims(registry, AUTHOR, high=high))
    verdict = Verdict(AUTHOR, checkpoint, GATE_VERSION, "passed", claims, "2026-01-01")
    registry.record_verdict(verdict)


def open_tables(registry: Registry, home: Settings) -> Tables:
    return Tables(home.tables_base, state=registry.state)


def write_certificates(tables: Tables, *, certified: bool = True, revision: str = "1") -> None:
    """Write certificates of the judges in `JUDGES`."""
    rows = [
        {
            "name": claim,
            "inputs": f"{certified} {revision}",
            "document": json.dumps(
                asdict(JudgeCertificate(f"{claim}@{revision}", claim, certified, {}, {}, "a test"))
            ),
        }
        for claim in JUDGES
    ]
    store_rows(tables, CERTIFICATE_TABLE, AUTHOR, rows, key="name")


def write_shadow_pairs(registry: Registry, tables: Tables, differences: Sequence[float]) -> str:
    """Write one row per difference between the compared versions, and return the trial's id."""
    compared = trial.compared_versions(registry.state, AUTHOR)
    assert compared is not None
    comparison = shadow_pairs.JudgedComparison(
        compared.candidate.checkpoint,
        compared.incumbent.checkpoint,
        tuple(JUDGES.values()),
        "a test",
    )
    rows = [
        comparison.build_row(number, shadow_pairs.RECORDED, f"prompt {number}")
        | {
            "scores": [
                {
                    "claim": claim,
                    "judge": judge,
                    "candidate": 0.5 + difference / 2,
                    "incumbent": 0.5 - difference / 2,
                }
                for claim, judge in JUDGES.items()
            ]
        }
        for number, difference in enumerate(differences, start=1)
    ]
    store_rows(tables, shadow_pairs.TABLE, AUTHOR, rows, key="pair_id", schema=shadow_pairs.COLUMNS)
    return comparison.id
