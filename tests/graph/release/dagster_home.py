"""Prepare a home for release tests: its registry, its judges' certificates and shadow pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from tests.graph.release.releases import AUTHOR
from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.quality.judges import pairs as shadow_pairs
from twin_resources.quality.judges.stored_results import CERTIFICATES, JUDGES_TABLE
from twin_resources.quality.release import trial
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.statistics.judge_certification import JudgeCertificate
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

JUDGES = {"topic": "topic@1", "voice": "voice@1"}


def create_registry(home: Settings, *, release_mode: str = "shadow") -> Registry:
    write_author(
        home,
        Author(
            AUTHOR, "Mara", release_mode=release_mode, consent="2020-01-01: the test's own author"
        ),
    )
    return Registry(open_home_state(home), policy_path=home.policy_path)


def write_certificates(tables: Tables, *, revision: str = "1") -> None:
    """Write certificates of the judges in `JUDGES`."""
    rows = [
        {
            "key": f"{CERTIFICATES}/{claim}",
            "inputs": revision,
            "document": json.dumps(
                asdict(JudgeCertificate(f"{claim}@{revision}", claim, True, {}, {}, "a test"))
            ),
        }
        for claim in JUDGES
    ]
    store_rows(tables, JUDGES_TABLE, AUTHOR, rows, key="key")


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
