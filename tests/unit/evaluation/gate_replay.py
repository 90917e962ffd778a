"""Stored evaluations, and what the gate said of them when its measures were 27 fields of one class.

Scope: reading the fixture, seeded variations of its documents, everything that the gate says
of one. Out of scope: comparing (`test_gate_replay.py`).

`gate_7_evaluations.json.xz` holds the documents of twelve models on real servers: good ones, broken
ones, refused ones, those of a first part. They hold numbers and ids, no text of a post.
"""

from __future__ import annotations

import copy
import hashlib
import json
import lzma
import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twin_assets.evaluation.gate import (
    advisory_claims,
    decide,
    decide_first,
    decide_outcome,
    is_full_gate,
)
from twin_assets.evaluation.report.evaluation_record import read_evaluation
from twin_resources.registry.moves import GateClaim

FIXTURE = Path(__file__).with_name("gate_7_evaluations.json.xz")
VARIATIONS = 40  # of each document
# Claims of `gate-8` and later: no document holds what they are decided on.
SINCE = (
    "stays_on_topic",
    "keeps_common_knowledge",
    "keeps_following_instructions",
    "beats_other_authors_adapter",
    "recognises_danger",
    "answers_ordinary_questions",
)


def fixture() -> dict[str, Any]:
    """`documents`, `said` of each of them, `digests` of what was said of each one's variations."""
    return json.loads(lzma.decompress(FIXTURE.read_bytes()))


def said_of(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Claims, outcomes and report of a stored document, as JSON holds them."""
    path = folder / "evaluation.json"
    measured = document["measured"] | {"on_topic": None}
    path.write_text(json.dumps(document | {"measured": measured}), encoding="utf-8")
    evaluation = read_evaluation(path)
    assert evaluation is not None
    claims = tuple(one for one in decide(evaluation.measured) if one.name not in SINCE)
    first = tuple(one for one in decide_first(evaluation.measured) if one.name not in SINCE)
    advisory = [one for one in advisory_claims(evaluation.measured) if one.name not in SINCE]
    return {
        "claims": [_as_recorded(claim) for claim in claims],
        "stated": [_as_recorded(one) for one in advisory],
        "first": [_as_recorded(one) for one in first],
        "outcomes": [
            decide_outcome(claims),
            decide_outcome(first),
            is_full_gate(claims),
            is_full_gate(first),
        ],
    }


def _as_recorded(claim: GateClaim) -> dict[str, Any]:
    """Without what claims have had since, and what says it is in `test_gate.py`."""
    since = {"high", "beside", "cut"}
    return {name: value for name, value in asdict(claim).items() if name not in since}


def digest_of(said: dict[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def varied(document: dict[str, Any], seed: int) -> dict[str, Any]:
    """The document with some values left out, scaled, no numbers, or another model's."""
    chance = random.Random(seed)
    changed = copy.deepcopy(document)
    measured = changed["measured"]
    if chance.random() < 0.5:
        for name in chance.sample(OPTIONAL, chance.choice([1, 1, 2, 5])):
            measured[name] = None
    if chance.random() < 0.3:
        reasons = {name: f"reason {chance.randrange(9)}" for name in chance.sample(REASONS, 3)}
        measured["why_not"] = reasons
    if chance.random() < 0.3:
        measured["base_parameters"] = chance.choice([None, 999_999_999, 1_000_000_000])
    if chance.random() < 0.3:
        measured["incumbent_name"] = chance.choice(["", "v3"])
        # without how many passages it was read on, which its claim has said since `gate-10` alone
        base = copy.deepcopy(document["measured"]["base"])
        measured["incumbent"] = chance.choice([None, base and {**base, "passages": None}])
    if chance.random() < 0.2:
        measured["dataset_templates"] = chance.choice([[], ["aa"], ["aa", measured["template"]]])
    if chance.random() < 0.3:
        measured["passages"] = chance.choice([0, 12, 29, 300])
        measured["others"] = chance.choice([0, 2])
    if measured["voice"] is not None and chance.random() < 0.2:
        measured["voice"]["prompts"] = 12
        measured["voice"]["why_not"] = chance.choice(["", "only 3 texts"])
    places = _places(measured)
    for holder, key in chance.sample(places, min(len(places), chance.choice([3, 10, 30]))):
        factor = chance.choice([0.0, 0.7, 0.95, 1.05, 1.5, -1.0, float("nan")])
        holder[key] = factor if math.isnan(factor) else holder[key] * factor
    return changed


OPTIONAL = [
    "base", "basics", "blind", "control", "delta", "faithfulness", "grounding", "habits",
    "incumbent", "on_topic", "parity_interval", "parity_largest", "parity_mean",
    "perplexity_interval", "recitation", "refusals", "safety", "shown", "speed", "voice",
]  # fmt: skip
REASONS = [
    "answers_safely", "blind judge", "learns_this_author", "rests_on_its_passages",
    "says_what_the_posts_say", "stays_on_topic", "keeps_the_basics", "sounds_like_this_author",
]  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where floats stand, in the order of the sorted names; perplexities stay numbers."""
    pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found: list[tuple[Any, Any]] = []
    for key, inner in pairs:
        if isinstance(inner, dict | list):
            found += _places(inner)
        elif isinstance(inner, float):
            found.append((value, key))
    return found
