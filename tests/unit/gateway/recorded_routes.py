"""A seeded space of questions and homes, and who answers each: recorded, and as the code says now.

Scope: drawing the cases, one outcome as JSON, the file. Out of scope: tests
(`test_routing_rules.py`).

`python -m tests.unit.gateway.recorded_routes` records again: for a change that is meant, whose
difference is read before it is committed.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.unit.gateway.routing.labelled import PAID as PRICED
from tests.unit.gateway.routing.labelled import fitted_policy, sample_questions
from tests.unit.gateway.test_question_routing import EASY, HARD
from tests.unit.gateway.test_request_path import FOUND, Found, Retrieving
from twin_resources.access.keys import NO_LIMITS, Key, KeyLimits
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.found_passages import PassageFinder
from twin_resources.gateway.request.request_body import ChatRequest, read_question
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.stages import request_path
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.router.pacing import RemainingBudget
from twin_resources.router.policy_file import PricedModel, RoutingPolicy
from twin_resources.settings import Settings, load_settings

RECORDED = Path(__file__).with_name("recorded_routes.json")
CASES = 1200
DAY = date(2026, 3, 1)
QUESTIONS = ("Why does brass age?", "How do I oil a clock?", "Clocks!", "Why does politics pay?")
MARKS = ("checkpoint", "engine", "is_tuned", "is_elsewhere", "provider")
FAR = "https://models.example.com/v1#large"


@dataclass(frozen=True)
class Case:
    """One question to one home.

    Attributes:
        unpaid: as the plugin gives it where money has run out since.
        paid_problem: what the budget says when it is asked.
    """

    asked: ChatRequest
    key: Key
    snapshot: Snapshot
    vector: Any
    unpaid: str
    paid_problem: str
    paid_takes_json: bool
    paid_model: str
    money: RemainingBudget | None


@cache
def _fitted() -> Mapping[str, RoutingPolicy]:
    plain = fitted_policy(sample_questions(400, seed=0))
    larger = PricedModel("larger", "large", 0.5, 0.5, 0.0002)
    three = replace(plain, models=(plain.models[0], larger, plain.models[1]))
    return {
        "plain": plain,
        "of three": three,
        "of another": replace(plain, embedder="older"),
    }


def cases() -> Iterator[Case]:
    """The space, the same each time."""
    lot = random.Random(20261122)
    while True:
        yield _case(lot)


def _case(lot: random.Random) -> Case:
    def often(share: float) -> bool:
        return lot.random() < share

    alias = lot.choice((*[""] * 12, "@stable", "@canary", "@base", "@paid"))
    body: dict[str, Any] = {
        "model": f"twin/{'mara' if often(0.98) else 'zoe'}{alias}",
        "messages": [{"role": "user", "content": lot.choice(QUESTIONS)}],
        "stream": often(0.3),
    }
    if often(0.1):
        body["response_format"] = {"type": "json_object"}
    key = Key(
        f"{lot.randrange(30):016x}",
        "reader",
        frozenset({"*"} if often(0.97) else {"other"}),
        "a key",
        limits=NO_LIMITS if often(0.9) else KeyLimits(),
    )
    snapshot = _snapshot(lot)
    return Case(
        asked=read_question(body),
        key=key,
        snapshot=snapshot,
        vector=lot.choice((HARD, HARD, HARD, EASY, EASY, None)),
        unpaid="" if often(0.9) else "budget used up",
        paid_problem="budget used up" if often(0.3) and snapshot.has_paid_route else "",
        paid_takes_json=often(0.5),
        paid_model=PRICED.model if often(0.95) else "",
        money=lot.choice((None, None, RemainingBudget(10.0, 3600.0), RemainingBudget(0.0, 3600.0))),
    )


def _snapshot(lot: random.Random) -> Snapshot:
    author = Author(
        "mara",
        "Mara",
        answer=lot.choice(("voice", "voice")),  # the base is asked for quotations all the same
        paid=lot.random() < 0.85,
        consent="2026-01-01: by mail",
    )
    servers = {
        name: Server("http://127.0.0.1:1/v1", name, "", ready=lot.random() < 0.85, engine="llama 1")
        for name in ("base", "mara/v1", "mara/v2", "mara/v3", "mara/v4")
        if lot.random() < 0.95
    }
    fitted = lot.choice((None, *_fitted().values()))
    return Snapshot(
        {"mara": author, "other": Author("other", "Other")},
        _policy(lot),
        servers,
        has_paid_route=lot.random() < 0.85,
        paused={"mara": "since today: she asked"} if lot.random() < 0.02 else {},
        routing={"mara": fitted} if fitted else {},
    )


def _policy(lot: random.Random) -> Policy | None:
    shape = lot.random()
    if shape < 0.05:
        return None
    if shape < 0.1:
        return Policy(authors={"mara": AuthorPolicy()})
    stable = _served(lot, 3, "checkpoint" if lot.random() < 0.9 else "newer")
    canary = _served(lot, 4, "new") if lot.random() < 0.5 else None
    share = lot.choice((0.1, 0.5, 0.9))
    return Policy(
        authors={
            "mara": AuthorPolicy(
                stable,
                canary,
                weights={"stable": 1.0 - share, "canary": share} if canary else {"stable": 1.0},
            )
        }
    )


def _served(lot: random.Random, number: int, checkpoint: str) -> ServedVersion:
    is_named = lot.random() < 0.15
    return ServedVersion(
        number,
        checkpoint,
        DEFAULT_TEMPLATE.hash if lot.random() < 0.9 else "of-tomorrow",
        "",
        None,
        (FAR if lot.random() < 0.5 else "Qwen/Large") if is_named else "",
        "",
        ProseRelease("") if lot.random() < 0.5 else ProseRelease(forced=True),
        kind="answer_model" if is_named else "tuned",
    )


def outcomes(home: Settings) -> Iterator[dict[str, Any]]:
    """Who answers each case, and everything that is told of it."""
    for number, case in zip(range(CASES), cases(), strict=False):
        trace_id = f"{random.Random(number).getrandbits(128):032x}"  # by it some are sent by lot
        with patch.object(request_path, "new_trace_id", lambda trace_id=trace_id: trace_id):
            yield json.loads(json.dumps(asyncio.run(_outcome(home, case))))


async def _outcome(home: Settings, case: Case) -> dict[str, Any]:
    live = LiveConfig(home)
    live.current = case.snapshot
    found = Found((replace(FOUND, cosine=0.5),), vector=case.vector)
    retriever: Any = Retrieving(lambda: found)
    path = RequestPath(
        live,
        PassageFinder(lambda: retriever),
        usd_per_hour=0.02,
        paid_problem=lambda _key, _author: case.paid_problem,
        paid_supports_json=case.paid_takes_json,
        paid_model=case.paid_model,
        router=QuestionRouter(case.paid_model, lambda _: case.money),
    )
    try:
        return _told(await path.prepare(case.asked, case.key, today=DAY, paid_problem=case.unpaid))
    except RefusedError as refused:
        return {"refused": [refused.status, refused.code]}


def _told(answering: RequestRecord) -> dict[str, Any]:
    """What is empty is left out, and so is a propensity of 1."""
    chosen = answering.decision
    routing, fallback = answering.exchange.decision.routing_note, answering.fallback
    told = {
        "route": chosen.route,
        "server": chosen.server_key,
        "version": chosen.version,
        "propensity": round(chosen.propensity, 9) if chosen.propensity != 1.0 else None,
        "forms": len(chosen.prose_release.forms),
        "marks": [name for name in MARKS if getattr(chosen, name)],
        "degraded": answering.degraded,
        "template": answering.template.removeprefix(DEFAULT_TEMPLATE.hash),
        "meter": answering.cost.meter is not None,
        "provider": answering.provider,
        "fixed": bool(answering.exchange.fixed_answer),
        "fallback": [fallback.decision.route, fallback.template.removeprefix(DEFAULT_TEMPLATE.hash)]
        if fallback
        else [],
    }
    if routing:
        told["why"] = [
            routing.reason,
            None if routing.gain is None else round(routing.gain, 4),
            routing.other_model,
            round(routing.other_usd_per_million, 6),
        ]
    return {name: value for name, value in told.items() if value}


def recorded() -> list[dict[str, Any]]:
    """The outcomes of the file."""
    document = json.loads(RECORDED.read_text(encoding="utf-8"))
    return [document["outcomes"][index] for index in document["cases"]]


def record() -> None:
    """Write the file: each outcome once, and which one each case has."""
    with tempfile.TemporaryDirectory() as folder:
        home = load_settings().model_copy(update={"home": Path(folder)})
        told = [json.dumps(outcome, ensure_ascii=False) for outcome in outcomes(home)]
    distinct = list(dict.fromkeys(told))
    place = {one: number for number, one in enumerate(distinct)}
    lines = ",\n".join(distinct)
    numbers = json.dumps([place[one] for one in told])
    RECORDED.write_text(f'{{"outcomes": [\n{lines}\n],\n"cases": {numbers}}}\n', encoding="utf-8")


if __name__ == "__main__":
    record()
