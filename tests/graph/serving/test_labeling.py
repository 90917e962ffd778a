"""Test buying labels from a simulated paid model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.http_server import Request, Response, http_server
from tests.materialization import create_instance, materialize_assets
from tests.model_versions import build_version
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior
from twin_assets.serving import labeling
from twin_assets.serving.routing_labels import routing_labels
from twin_assets.serving.shadow_prompts import ShadowPrompt
from twin_resources.access.account import NANO_PER_DOLLAR, SpendingAccount
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.gateway.costs.paid_model_client import PaidModelClient
from twin_resources.prompt.shown_passages import PromptPassage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges.judge import JudgedAnswer, judge_id
from twin_resources.quality.judges.label_rows import build_label_arrays, count_labels
from twin_resources.quality.judges.language_model import LanguageModelJudge
from twin_resources.quality.judges.negative_probes import AuthorAnswer, create_negative_probes
from twin_resources.quality.judges.panel import Panel, PanelJudge, probe_differences
from twin_resources.quality.judges.terms import JudgeTerms
from twin_resources.registry.moves import ModelVersion
from twin_resources.settings import Settings
from twin_resources.statistics import judge_certification
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

MODEL = "openai/gpt-4o-mini"
ADA = Author("ada", "Ada", max_tokens=50, consent="2026-01-01: by mail")
VERSION = build_version(checkpoint="c1", template=DEFAULT_TEMPLATE.hash)
PROMPTS = [
    ShadowPrompt(
        "recorded" if n % 2 else "held_out",
        f"{n:032x}",
        f"Why is clock number {n} slow, and what of its oil? I am ann@brookmill.net.",
        (PromptPassage(f"d{n}", "On oil", f"Oil thickens, case {n}.", None),),
    )
    for n in range(25)
]
HELD_OUT_ANSWERS = [
    AuthorAnswer(
        f"s{n}", f"d{n}", f"Which oil for clock {n}?", f"oil oil watch {n} spring", ("oil",)
    )
    for n in range(60)
]


class OilJudge:
    """A judge that gives answers about oil the score `oil_score`, which tests can change."""

    name, revision, claim = "oil", "1", "general"

    def __init__(self) -> None:
        self.oil_score = 1.0

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        return [self.oil_score if "oil" in item.answer else 0.2 for item in answers]


def build_panel(judge: OilJudge) -> Panel:
    probes = create_negative_probes(
        HELD_OUT_ANSWERS,
        training_passages=[("x", "wheel and case")],
        other_passages=["somebody else"],
    )
    off_topic = [
        probe for probe in probes if "oil" not in probe.answer and probe.kind in {"off_topic"}
    ]
    certificate = judge_certification.JudgeCertificate(
        "oil@1", "general", True, {}, {}, "for the test"
    )
    differences = probe_differences(judge, off_topic)
    assert min(differences["off_topic"]) == pytest.approx(0.8)
    return Panel((PanelJudge(judge, certificate, tuple(off_topic)),), notes=())


def embed(texts: Sequence[str]) -> np.ndarray:
    vectors = np.asarray([[len(text), text.count("o"), 1.0] for text in texts], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass
class PaidApi:
    """A simulated paid API that counts requests and may omit the usage."""

    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    reports_usage: bool = True
    status: int = 200

    def answer(self, request: Request) -> Response:
        self.requests.append(request.document)
        if self.status != 200:
            error = {"message": "no such key", "code": "invalid_api_key"}
            return Response({"error": error}, self.status)
        message = {"role": "assistant", "content": "Use oil."}
        document: dict[str, Any] = {
            "id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }  # fmt: skip
        if self.reports_usage:
            document["usage"] = {
                "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
            }  # fmt: skip
        return Response(document)


@pytest.fixture
def paid_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[PaidApi]:
    paid_api = PaidApi()
    with http_server(paid_api.answer) as url:
        monkeypatch.setenv("OPENAI_API_BASE", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield paid_api


class LabelBuyer:
    """Buys labels for Ada, and counts the answers of her own model."""

    def __init__(
        self, home: Settings, tables: Tables, *, usd_per_month: float | None = None
    ) -> None:
        self.tables = tables
        limits = SpendingLimits(purposes={"label": SpendingLimit(usd_per_month=usd_per_month)})
        self.account = SpendingAccount(open_home_state(home), limits)
        self.judge = OilJudge()
        self.panel = build_panel(self.judge)
        self.own_answer_count = 0

    def ask_own_model(self, messages: Sequence[Any]) -> Sequence[str]:
        self.own_answer_count += len(messages)
        return ["oil" if n % 2 else "nothing" for n in range(len(messages))]

    def buy(
        self, *, max_labels: int = 25, usd: float = 1.0, version: ModelVersion = VERSION
    ) -> labeling.PurchaseResult:
        purchase = labeling.build_label_purchase(
            ADA, version, self.panel, paid=MODEL, embedder="made"
        )
        return labeling.buy_labels(
            ADA,
            version,
            PROMPTS,
            self.panel,
            purchase,
            tables=self.tables,
            sources=labeling.LabelSources(
                self.ask_own_model,
                PaidModelClient(MODEL, self.account, "ada"),
                embed,
                {prompt.prompt_id: "reader" for prompt in PROMPTS[:3]},
            ),
            max_labels=max_labels,
            max_usd=usd,
            margin=0.1,
            log=lambda _: None,
        )


def test_each_label_is_bought_once_and_stored_without_text(
    home: Settings, tables: Tables, paid_api: PaidApi
) -> None:
    buyer = LabelBuyer(home, tables)
    price = answer_price_usd(MODEL, prompt_tokens=100, answer_tokens=10)
    first = buyer.buy(max_labels=12)
    assert (first.label_count, first.new_label_count, first.stop_reason[:9]) == (
        12,
        12,
        "12 labels",
    )
    assert first.probe_count >= 2
    assert first.usd == pytest.approx(12 * price)
    assert buyer.account.sum_spending(period="month", purpose="label").usd == pytest.approx(
        12 * price
    )
    assert len(paid_api.requests) == buyer.own_answer_count == 12
    assert "Oil thickens" in paid_api.requests[0]["messages"][-1]["content"]
    assert "I am [e-mail]" in paid_api.requests[0]["messages"][-1]["content"]
    assert "brookmill" not in str(paid_api.requests)
    repeated = buyer.buy(max_labels=12)
    assert (repeated.new_label_count, repeated.usd, len(paid_api.requests)) == (0, 0.0, 12)
    last = buyer.buy(max_labels=30)
    assert (last.label_count, last.new_label_count, last.stop_reason) == (
        25,
        13,
        "every prompt has been used",
    )
    rows = labeling.read_labels(tables, "ada")
    arrays = build_label_arrays(rows, last.purchase, ("general",))
    assert len(arrays) == 25
    assert set(arrays.gains[:, 0].round(6)) == {0.0, 0.8}
    assert arrays.usd.tolist() == pytest.approx([price] * 25)
    assert arrays.groups.count("reader") == 3
    assert all(-1.0 <= value <= 1.0 for value in arrays.closeness)
    strings = [name for name, kind in rows.schema.items() if kind == pl.String]
    assert "Oil thickens" not in str(rows.select(strings).to_dicts())


def test_the_next_version_reuses_paid_answers(
    home: Settings, tables: Tables, paid_api: PaidApi
) -> None:
    buyer = LabelBuyer(home, tables)
    first = buyer.buy(max_labels=12)
    labels_before = build_label_arrays(
        labeling.read_labels(tables, "ada"), first.purchase, ("general",)
    )
    second = buyer.buy(max_labels=14, version=replace(VERSION, version=2, checkpoint="c2"))
    assert (second.new_label_count, second.usd, buyer.own_answer_count) == (
        14,
        pytest.approx(first.usd / 6),
        26,
    )
    assert len(paid_api.requests) == 14, "an old prompt was paid for"
    rows = labeling.read_labels(tables, "ada")
    labels_after = build_label_arrays(rows, second.purchase, ("general",))
    assert labels_after.usd.tolist() == pytest.approx([*labels_before.usd, *labels_before.usd[:2]])
    assert set(labels_after.prompt_ids) > set(labels_before.prompt_ids)
    paid_scores = {
        (row["own"], row["prompt_id"]): score["paid"]
        for row in rows.filter(pl.col("source") != "plant").iter_rows(named=True)
        for score in row["scores"]
    }
    assert all(
        paid_scores["c2", prompt_id] == paid_scores["c1", prompt_id]
        for prompt_id in labels_before.prompt_ids
    )
    assert count_labels(rows, own="c1", paid=MODEL, embedder="made") == (12, 2)


def test_budget_and_account_limits_are_not_exceeded(
    home: Settings, tables: Tables, paid_api: PaidApi
) -> None:
    unfunded = LabelBuyer(home, tables).buy(usd=0.0)
    assert (unfunded.label_count, len(paid_api.requests)) == (0, 0)
    assert "the budget of $0" in unfunded.stop_reason
    paid = PaidModelClient(MODEL, LabelBuyer(home, tables).account, "ada")
    max_price = paid.max_usd([{"content": "x" * 1000}], max_tokens=50)
    result = LabelBuyer(home, tables, usd_per_month=3 * max_price).buy()
    assert result.stop_reason == "a limit of the account has been reached"
    assert 0 < result.label_count == len(paid_api.requests) < 25
    assert LabelBuyer(home, tables).account.sum_spending(period="month").usd <= 3 * max_price


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaidProvider]:
    """Run a simulated provider of answers and ratings that keeps a bill."""
    provider = PaidProvider(Behavior(latency_s=0.0), tmp_path / "bill.jsonl")
    provider.start()
    monkeypatch.setenv("OPENAI_API_BASE", provider.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    yield provider
    provider.end()


def create_buyer_with_paid_judge(home: Settings, tables: Tables, *, usd: float) -> LabelBuyer:
    buyer = LabelBuyer(home, tables)
    limits = SpendingLimits(purposes={"judge": SpendingLimit(usd_per_month=usd)})
    account = SpendingAccount(open_home_state(home), limits)
    judge = LanguageModelJudge(
        MODEL, terms=JudgeTerms(PurposeBudget(account, "judge", author="ada"))
    )
    [member] = buyer.panel.members
    buyer.panel = replace(buyer.panel, members=(replace(member, judge=judge),))
    return buyer


def test_the_account_matches_the_bill_for_answers_and_ratings(
    home: Settings, tables: Tables, provider: PaidProvider
) -> None:
    buyer = create_buyer_with_paid_judge(home, tables, usd=1.0)
    result = buyer.buy(max_labels=12)
    assert result.label_count == 12
    answers = buyer.account.sum_spending(period="month", purpose="label")
    ratings = buyer.account.sum_spending(period="month", purpose="judge")
    assert (answers.requests, ratings.requests) == (12, provider.bill.requests - 12)
    assert ratings.requests > 12
    assert round((answers.usd + ratings.usd) * NANO_PER_DOLLAR) == provider.bill.nano
    assert answers.reserved_usd == ratings.reserved_usd == 0.0
    assert buyer.panel.total_usage().usd == pytest.approx(ratings.usd)


def test_no_answer_is_bought_without_money_for_its_judge(
    home: Settings, tables: Tables, provider: PaidProvider
) -> None:
    result = create_buyer_with_paid_judge(home, tables, usd=0.0001).buy(max_labels=12)
    assert (result.label_count, provider.bill.requests) == (0, 0)
    assert "leaves too little money to judge" in result.stop_reason


def test_an_answer_without_usage_costs_the_whole_reservation(
    home: Settings, tables: Tables, paid_api: PaidApi
) -> None:
    paid_api.reports_usage = False
    buyer = LabelBuyer(home, tables)
    result = buyer.buy(max_labels=2)
    assert result.usd > 2 * answer_price_usd(MODEL, prompt_tokens=100, answer_tokens=10)
    assert buyer.account.sum_spending(period="month").usd == pytest.approx(result.usd)


def test_a_refused_key_costs_nothing(home: Settings, tables: Tables, paid_api: PaidApi) -> None:
    paid_api.status = 401
    buyer = LabelBuyer(home, tables)
    with pytest.raises(TwinError, match="TWIN_PAID_MODEL and its key"):
        buyer.buy(max_labels=2)
    assert buyer.account.sum_spending(period="month").usd == 0.0
    assert len(labeling.read_labels(tables, "ada")) == 0


def test_probes_reveal_a_changed_judge(home: Settings, tables: Tables, paid_api: PaidApi) -> None:
    buyer = LabelBuyer(home, tables)
    buyer.judge.oil_score = 0.0  # below the score of the probes' answers
    buyer.buy()
    rows = labeling.read_labels(tables, "ada")
    probes = rows.filter(pl.col("source") == "plant")
    assert len(probes) >= 3
    differences = [scores[0]["paid"] - scores[0]["own"] for scores in probes["scores"].to_list()]
    assert differences == pytest.approx([-0.2] * len(differences))


def test_a_purchase_requires_a_paid_model_consent_and_a_budget(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = create_instance("ada")

    def materialize() -> str:
        result = materialize_assets([routing_labels], "ada", instance)
        [event] = result.asset_materializations_for_node("routing_labels")
        return str(event.metadata["nothing_to_do"].value)

    write_author(home, Author("ada", "Ada"))
    assert "no paid model" in materialize()
    monkeypatch.setenv("TWIN_PAID_MODEL", MODEL)
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "1")
    assert "consent" in materialize()
    write_author(home, Author("ada", "Ada", paid=False))
    assert "paid = false" in materialize()
    write_author(home, ADA)
    assert "no stable version" in materialize()


def test_the_judges_determine_the_purchase() -> None:
    judge = OilJudge()
    panel = build_panel(judge)
    first = labeling.build_label_purchase(ADA, VERSION, panel, paid=MODEL, embedder="made")
    assert first.judges == (judge_id(judge),)
    judge.revision = "2"
    second = labeling.build_label_purchase(ADA, VERSION, panel, paid=MODEL, embedder="made")
    assert first.id != second.id
