"""Test that a paid judge's account equals the provider's bill, and when it may be used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.simulated_provider import paid_provider
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior, read_bill
from tests.unit.judges.rating_server import run_rating_server
from twin_resources.access.account import NANO_PER_DOLLAR, RESERVATION_TIMEOUT_S, SpendingAccount
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit, SpendingLimits
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.quality.judges import language_model
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.language_model import PROMPT, LanguageModelJudge
from twin_resources.quality.judges.terms import FREE_TERMS, JudgeTerms, determine_judge_terms
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

MODEL = "openai/gpt-4o-mini"
ADA = Author("ada", "Ada", consent="2026-01-01: by mail")
ANSWERS = [JudgedAnswer("Which oil?", f"Use thin oil, case {n}.", ("Oil.",)) for n in range(6)]


@dataclass
class PaidJudgeSetup:
    """A simulated provider and the spending account of the home that uses it."""

    provider: PaidProvider
    state: State

    def account(self, limit_usd: float | None = None) -> SpendingAccount:
        limits = SpendingLimits(purposes={"judge": SpendingLimit(usd_per_month=limit_usd)})
        return SpendingAccount(self.state, limits)

    def judge(self, limit_usd: float, *, timeout_s: float = 20.0) -> LanguageModelJudge:
        budget = PurposeBudget(self.account(limit_usd), "judge", author="ada")
        return LanguageModelJudge(MODEL, terms=JudgeTerms(budget), timeout_s=timeout_s)

    def spent_nano(self) -> int:
        spending = self.account().sum_spending(period="month", purpose="judge", author="ada")
        assert spending.reserved_usd == 0.0
        return round(spending.usd * NANO_PER_DOLLAR)

    def outcomes(self) -> list[str]:
        return [line["outcome"] for line in read_bill(self.provider.bill.path)]


@pytest.fixture
def judge_setup(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PaidJudgeSetup]:
    monkeypatch.setattr(language_model, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(paid_provider, "RETRY_AFTER_S", 0)
    provider = PaidProvider(Behavior(latency_s=0.0), tmp_path / "bill.jsonl")
    provider.start()
    monkeypatch.setenv("OPENAI_API_BASE", provider.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with contextlib.closing(open_home_state(home)) as state:
        yield PaidJudgeSetup(provider, state)
    provider.end()


def test_the_account_equals_the_bill_to_the_nano_dollar(judge_setup: PaidJudgeSetup) -> None:
    judge = judge_setup.judge(1.0)
    scores = judge.score_all([*ANSWERS, ANSWERS[0]])
    assert scores[0] == scores[-1]
    assert all(score in {0.0, 0.25, 0.5, 0.75, 1.0} for score in scores)
    assert judge_setup.outcomes() == ["whole"] * 6
    assert judge_setup.spent_nano() == judge_setup.provider.bill.nano > 0
    assert judge.usage.calls == 6
    assert round(judge.usage.usd * NANO_PER_DOLLAR) == judge_setup.provider.bill.nano


@pytest.mark.parametrize("refusal", ["429", "500"])
def test_a_rejected_request_is_retried_and_costs_nothing(
    judge_setup: PaidJudgeSetup, refusal: str
) -> None:
    with pytest.raises(TwinError, match="unset TWIN_JUDGE_MODEL"):
        judge_setup.judge(1.0).score_all([JudgedAnswer(f"Which oil? ({refusal})", "Thin oil.")])
    assert judge_setup.outcomes() == [refusal] * 3
    assert judge_setup.spent_nano() == judge_setup.provider.bill.nano == 0


def test_a_request_that_times_out_counts_as_paid(judge_setup: PaidJudgeSetup) -> None:
    judge = judge_setup.judge(1.0, timeout_s=0.2)
    slow_answer = JudgedAnswer("Which oil? (hang)", "Thin oil.")
    with pytest.raises(TwinError, match="rate 1 answers"):
        judge.score_all([slow_answer])
    assert judge_setup.spent_nano() == pytest.approx(
        3 * judge.max_cost_usd([slow_answer]) * NANO_PER_DOLLAR, abs=3
    )
    assert judge_setup.spent_nano() >= judge_setup.provider.bill.nano > 0


def test_nothing_is_sent_without_money_for_the_whole_batch(judge_setup: PaidJudgeSetup) -> None:
    max_cost_usd = judge_setup.judge(1.0).max_cost_usd(ANSWERS)
    with pytest.raises(OverLimitError, match="TWIN_JUDGE_BUDGET_PER_MONTH"):
        judge_setup.judge(0.9 * max_cost_usd).score_all(ANSWERS)
    assert (judge_setup.outcomes(), judge_setup.spent_nano()) == ([], 0)
    # The budget suffices for the maximum cost, and the actual cost is below that.
    assert len(judge_setup.judge(1.1 * max_cost_usd).score_all(ANSWERS)) == 6
    assert 0 < judge_setup.spent_nano() / NANO_PER_DOLLAR < max_cost_usd
    assert judge_setup.judge(1.1 * max_cost_usd).remaining_usd == pytest.approx(
        1.1 * max_cost_usd - judge_setup.spent_nano() / NANO_PER_DOLLAR
    )


def test_the_reservation_of_a_killed_judge_counts_as_spent(judge_setup: PaidJudgeSetup) -> None:
    limits = judge_setup.account(1.0).limits
    # In the middle of a month, since a reservation counts in the month in which it was made.
    killed_at = datetime(2026, 11, 15, tzinfo=UTC).timestamp()
    account = SpendingAccount(judge_setup.state, limits, clock=lambda: killed_at)
    budget = PurposeBudget(account, "judge", author="ada")
    budget.reserve(0.3)  # the process is then killed
    assert budget.remaining_usd() == pytest.approx(0.7)
    reopened = SpendingAccount(
        judge_setup.state, limits, clock=lambda: killed_at + RESERVATION_TIMEOUT_S + 1
    )
    reopened.settle(reopened.reserve(purpose="judge", author="ada", key="", max_usd=0.1), 0.1)
    assert reopened.sum_spending(period="month", purpose="judge").usd == pytest.approx(0.4)


LOCAL_SERVER = {"OPENAI_API_BASE": "http://127.0.0.1:8000/v1"}
OTHER_MACHINE = {"OPENAI_API_BASE": "http://192.168.1.7:8000/v1"}


@pytest.mark.parametrize(
    ("author", "model", "budget", "environ", "refusal"),
    [
        (ADA, MODEL, 1.0, {}, ""),
        (ADA, MODEL, None, {}, "there is no budget"),
        (Author("ada", "Ada"), MODEL, 1.0, {}, "no line `consent`"),
        (Author("ada", "Ada", paid=False, consent=ADA.consent), MODEL, 1.0, {}, "paid = false"),
        (ADA, "anthropic/some-model", 1.0, {}, "no price"),
        # a local model costs nothing
        (Author("ada", "Ada", paid=False), "openai/my-own", None, LOCAL_SERVER, ""),
        (Author("ada", "Ada"), "ollama/llama3", None, {}, ""),
        # a model on another machine costs nothing but needs consent
        (ADA, "openai/my-own", None, OTHER_MACHINE, ""),
        (Author("ada", "Ada"), "openai/my-own", None, OTHER_MACHINE, "no line `consent`"),
        (ADA, "hosted_vllm/my-own", None, {"HOSTED_VLLM_API_BASE": "https://a.example.org"}, ""),
        (ADA, "hosted_vllm/my-own", None, {}, "no price"),
        # an address of another provider
        (Author("ada", "Ada"), "claude-3-5-haiku-latest", 1.0, LOCAL_SERVER, "no line `consent`"),
        (Author("ada", "Ada"), "gpt-4o-mini", 1.0, {}, "no line `consent`"),
        (Author("ada", "Ada"), "mistral/x", 1.0,
         {"MISTRAL_API_BASE": LOCAL_SERVER["OPENAI_API_BASE"]}, "no line `consent`"),
        (ADA, "openai/my-own", None, {"OPENAI_BASE_URL": "https://gateway.example.org"},
         "no price"),
    ],
)  # fmt: skip
def test_a_judge_needs_consent_and_a_budget(
    home: Settings,
    author: Author,
    model: str,
    budget: float | None,
    environ: dict[str, str],
    refusal: str,
) -> None:
    settings = home.model_copy(update={"judge_model": model, "judge_budget_per_month": budget})
    with contextlib.closing(open_home_state(home)) as state:
        terms = determine_judge_terms(settings, author, state, environ=environ)
    assert (refusal in terms.refusal_reason, bool(terms.refusal_reason)) == (True, bool(refusal))
    assert (terms.budget is not None) == (model == MODEL and not refusal)
    if not refusal:
        assert (terms.redaction_language is None) == (
            environ is LOCAL_SERVER or model.startswith("ollama")
        )
    else:
        with pytest.raises(TwinError) as error:
            LanguageModelJudge(model, terms=terms).score_all(
                [JudgedAnswer("Which oil?", "Thin oil.")]
            )
        assert terms.next_step
        assert terms.next_step in str(error.value)


def test_a_priced_model_without_a_budget_is_never_called(judge_setup: PaidJudgeSetup) -> None:
    with pytest.raises(TwinError, match="TWIN_JUDGE_BUDGET_PER_MONTH"):
        LanguageModelJudge(MODEL).score_all([JudgedAnswer("Which oil?", "Thin oil.")])
    assert judge_setup.outcomes() == []


def test_a_home_without_a_judge_has_no_terms(home: Settings) -> None:
    with contextlib.closing(open_home_state(home)) as state:
        assert determine_judge_terms(home, Author("ada", "Ada"), state) is FREE_TERMS


def test_questions_and_answers_are_redacted_only_if_the_terms_require_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged_answer = JudgedAnswer(
        "I am ann@brookmill.net, which oil?", "Thin oil, ann@brookmill.net.", ("By Ada.",)
    )
    with run_rating_server(lambda _: '{"rating": 4}', monkeypatch) as server:
        LanguageModelJudge("openai/judge").score_all([judged_answer])
        LanguageModelJudge("openai/judge", terms=JudgeTerms(redaction_language="en")).score_all(
            [judged_answer]
        )
    original_prompt, redacted_prompt = server.prompts
    texts = {"question": judged_answer.question, "answer": judged_answer.answer}
    assert original_prompt == PROMPT.format(passages="By Ada.", **texts)
    assert "brookmill" not in redacted_prompt
    assert redacted_prompt.count("[e-mail]") == 2
    assert "By Ada." in redacted_prompt
