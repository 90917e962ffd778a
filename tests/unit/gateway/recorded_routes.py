"""Generate random questions and gateway states, and record the route of each.

`test_routing_rules.py` compares the recorded outcomes with the current code. After an intended
change to the routing, run `python -m tests.unit.gateway.recorded_routes` to write the file again.
Read the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from tests.unit.gateway.exchanges import (
    DAY,
    PASSAGE,
    SERVER,
    FakeRetrieval,
    FakeRetriever,
    create_path,
    read_chat,
    served_version,
)
from tests.unit.gateway.routing.labeled_questions import PAID, fitted_policy, sample_questions
from tests.unit.gateway.test_question_routing import EASY, HARD
from twin_resources.access.account import RemainingBudget
from twin_resources.access.keys import NO_LIMITS, Key, KeyLimits
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.router.policy_file import RoutingPolicy
from twin_resources.settings import Settings, load_settings

RECORDED_ROUTES = Path(__file__).with_name("recorded_routes.json")
CASE_COUNT = 1200
QUESTIONS = ("Why does brass age?", "How do I oil a clock?", "Clocks!", "Why does politics pay?")
FLAG_FIELDS = ("checkpoint", "engine", "is_tuned", "is_elsewhere", "provider")
REMOTE_ADDRESS = "https://models.example.com/v1#large"


@dataclass(frozen=True)
class Case:
    """One question and the state of the gateway that receives it.

    Attributes:
        late_problem: the problem of the paid model that the caller of `prepare` passes.
        paid_problem: the problem of the paid model that the budget reports.
    """

    chat_request: ChatRequest
    key: Key
    snapshot: Snapshot
    vector: Any
    late_problem: str
    paid_problem: str
    paid_model: str
    budget: RemainingBudget | None


@cache
def _fitted_policies() -> Mapping[str, RoutingPolicy]:
    policy = fitted_policy(sample_questions(400, seed=0))
    earlier_models = (replace(policy.models[0], model="earlier"), *policy.models[1:])
    return {
        "plain": policy,
        "of an earlier version": replace(policy, models=earlier_models),
        "of another": replace(policy, embedder="older"),
    }


def generate_cases() -> Iterator[Case]:
    """Yield the same random cases on each call."""
    rng = random.Random(20261122)
    while True:
        yield _random_case(rng)


def _random_case(rng: random.Random) -> Case:
    def is_drawn(share: float) -> bool:
        return rng.random() < share

    alias = rng.choice((*[""] * 12, "@stable", "@canary", "@base", "@paid"))
    body: dict[str, Any] = {
        "model": f"twin/{'mara' if is_drawn(0.98) else 'zoe'}{alias}",
        "messages": [{"role": "user", "content": rng.choice(QUESTIONS)}],
        "stream": is_drawn(0.3),
    }
    if is_drawn(0.1):
        body["response_format"] = {"type": "json_object"}
    key = Key(
        f"{rng.randrange(30):016x}",
        "reader",
        frozenset({"*"} if is_drawn(0.97) else {"other"}),
        "a key",
        limits=NO_LIMITS if is_drawn(0.9) else KeyLimits(),
    )
    snapshot = _random_snapshot(rng)
    return Case(
        chat_request=read_chat(body),
        key=key,
        snapshot=snapshot,
        vector=rng.choice((HARD, HARD, HARD, EASY, EASY, None)),
        late_problem="" if is_drawn(0.9) else "budget used up",
        paid_problem="budget used up" if is_drawn(0.3) and snapshot.has_paid_route else "",
        # The unused number keeps the sequence.
        paid_model=PAID.model if (is_drawn(0.5), is_drawn(0.95))[1] else "",
        budget=rng.choice(
            (None, None, RemainingBudget(10.0, 3600.0), RemainingBudget(0.0, 3600.0))
        ),
    )


def _random_snapshot(rng: random.Random) -> Snapshot:
    author = Author(
        "mara",
        "Mara",
        answer=rng.choice(("voice", "voice")),  # keeps the sequence of random numbers unchanged
        paid=rng.random() < 0.85,
        consent="2026-01-01: by mail",
    )
    servers = {
        name: replace(SERVER, alias=name, ready=rng.random() < 0.85)
        for name in ("base", "mara/v1", "mara/v2", "mara/v3", "mara/v4")
        if rng.random() < 0.95
    }
    routing_policy = rng.choice((None, *_fitted_policies().values()))
    return Snapshot(
        {"mara": author, "other": Author("other", "Other")},
        _random_policy(rng),
        servers,
        has_paid_route=rng.random() < 0.85,
        paused={"mara": "since today: she asked"} if rng.random() < 0.02 else {},
        routing={"mara": routing_policy} if routing_policy else {},
    )


def _random_policy(rng: random.Random) -> Policy | None:
    number = rng.random()
    if number < 0.05:
        return None
    if number < 0.1:
        return Policy(authors={"mara": AuthorPolicy()})
    stable = _random_version(rng, 3, "checkpoint" if rng.random() < 0.9 else "newer")
    canary = _random_version(rng, 4, "new") if rng.random() < 0.5 else None
    share = rng.choice((0.1, 0.5, 0.9))
    return Policy(
        authors={
            "mara": AuthorPolicy(
                stable,
                canary,
                weights={"stable": 1.0 - share, "canary": share} if canary else {"stable": 1.0},
            )
        }
    )


def _random_version(rng: random.Random, number: int, checkpoint: str) -> ServedVersion:
    is_named = rng.random() < 0.15
    return served_version(
        number,
        checkpoint,
        template=DEFAULT_TEMPLATE.hash if rng.random() < 0.9 else "of-tomorrow",
        base=(REMOTE_ADDRESS if rng.random() < 0.5 else "Qwen/Large") if is_named else "",
        prose=ProseRelease("") if rng.random() < 0.5 else ProseRelease(forced=True),
        kind="answer_model" if is_named else "tuned",
    )


def compute_outcomes(home: Settings) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each case as it would be read from JSON."""
    for case in islice(generate_cases(), CASE_COUNT):
        yield json.loads(json.dumps(asyncio.run(_compute_outcome(home, case))))


async def _compute_outcome(home: Settings, case: Case) -> dict[str, Any]:
    retrieval = FakeRetrieval((replace(PASSAGE, cosine=0.5),), vector=case.vector)
    options = {
        "paid_problem": lambda _key, _author: case.paid_problem,
        "paid_model": case.paid_model,
        "router": QuestionRouter(case.paid_model, lambda _: case.budget),
    }
    path = create_path(home, FakeRetriever(lambda: retrieval), options=options)
    path.live_config.current = case.snapshot
    try:
        prepared = await path.prepare(
            case.chat_request, case.key, today=DAY, paid_problem=case.late_problem
        )
    except RefusedError as error:
        return {"refused": [error.status, error.code]}
    return _describe(prepared)


def _describe(prepared: RequestRecord) -> dict[str, Any]:
    """Return the outcome without empty fields and without a propensity of 1."""
    decision = prepared.decision
    routing, fallback = prepared.exchange.decision.routing_note, prepared.exchange.fallback
    outcome = {
        "route": decision.route,
        "server": decision.server_key,
        "version": decision.version,
        "propensity": round(decision.propensity, 9) if decision.propensity != 1.0 else None,
        "forms": len(decision.prose_release.forms),
        "marks": [name for name in FLAG_FIELDS if getattr(decision, name)],
        "degraded": prepared.degraded,
        "template": prepared.exchange.template.hash.removeprefix(DEFAULT_TEMPLATE.hash),
        "meter": prepared.meter is not None,
        "provider": prepared.exchange.provider,
        "fixed": bool(prepared.exchange.fixed_answer),
        "fallback": [
            fallback.decision.route,
            fallback.template.hash.removeprefix(DEFAULT_TEMPLATE.hash),
        ]
        if fallback
        else [],
    }
    if routing:
        outcome["why"] = [
            routing.reason,
            None if routing.gain is None else round(routing.gain, 4),
            routing.other_model,
            round(routing.other_usd_per_million, 6),
        ]
    return {name: value for name, value in outcome.items() if value}


def read_recorded_outcomes() -> list[dict[str, Any]]:
    """Read the recorded outcome of each case."""
    document = json.loads(RECORDED_ROUTES.read_text(encoding="utf-8"))
    return [document["outcomes"][index] for index in document["cases"]]


def write_recorded_outcomes() -> None:
    """Write each distinct outcome once, and the index of each case's outcome."""
    with tempfile.TemporaryDirectory() as folder:
        home = load_settings().model_copy(update={"home": Path(folder)})
        lines_by_case = [json.dumps(case, ensure_ascii=False) for case in compute_outcomes(home)]
    distinct_lines = list(dict.fromkeys(lines_by_case))
    indexes = {line: index for index, line in enumerate(distinct_lines)}
    lines = ",\n".join(distinct_lines)
    numbers = json.dumps([indexes[line] for line in lines_by_case])
    text = f'{{"outcomes": [\n{lines}\n],\n"cases": {numbers}}}\n'
    RECORDED_ROUTES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_recorded_outcomes()
