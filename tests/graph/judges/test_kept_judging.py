"""Kept answers judged anew each day by a language model over HTTP, and what it may cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from tests.graph.judges.test_judged_interactions import promote
from tests.queued_notices import queued_notices
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behaviour, read_bill
from tests.unit.judges.rating_server import RatingServer, serving
from twin_assets.feedback.judged_interactions import COLUMNS
from twin_assets.feedback.judging_traces import score_name
from twin_assets.feedback.kept_judging import RecordedAnswers, judge_anew
from twin_resources.access.account import SpendingAccount
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.authors import Author, write_author
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, digest, identity
from twin_resources.quality.judges.language_model import LanguageModelJudge
from twin_resources.quality.judges.panel import Panel, PanelJudge
from twin_resources.quality.judges.terms import JudgeTerms
from twin_resources.quality.ledger.interactions_frame import columns
from twin_resources.quality.retraining.judge_reference_set import YOUNG_DAYS
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.statistics.judge_drift import FEWEST_DAYS, FIRST_SCORES
from twin_resources.statistics.judges import JudgeCertificate
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import kept_answers, kept_scores, lowered_floors

FIRST_DAY = datetime(2026, 5, 20, 12, tzinfo=UTC)
KNOWN = FIRST_SCORES + FEWEST_DAYS  # days after which a move can be seen


@dataclass
class Mood:
    """Rates an answer by its digit; `less` is what it takes away."""

    less: int = 0

    def __call__(self, answer: str) -> str:
        digit = next(int(mark) for mark in answer if mark.isdigit())
        return f'{{"rating": {max(1, digit - self.less)}}}'


@dataclass
class Asked:
    """Ann's twin with answers, and a day that a test turns."""

    registry: Registry
    day: int = 0
    answers: int = 60
    version: str = "v1"
    age: timedelta = field(default_factory=lambda: timedelta(days=2))

    def now(self) -> datetime:
        return FIRST_DAY + timedelta(days=self.day)

    def recorded(self, *judges: Judge) -> RecordedAnswers:
        """Answers of the day, of both classes, judged by these."""
        row = dict.fromkeys(columns()) | {
            "author": "ann", "version": self.version, "question": "What about the spring?",
            "started_at": self.now() - self.age, "chunk_ids": ["c1"], "degraded": "",
            "simulated": False,
        }  # fmt: skip
        rows = [
            row
            | {
                "trace_id": f"trace-{number:02}",
                "answer": f"rate {number % 3 + 3}: the spring drives wheel {number}.",
                "prompt_class": "short" if number % 2 else "long",
            }
            for number in range(self.answers)
        ]
        names = ",".join(score_name(judge) for judge in judges)
        judged = [
            {"trace_id": one["trace_id"], "version": self.version, "judges": names} for one in rows
        ]
        return RecordedAnswers(
            pl.DataFrame(rows, schema=dict(columns())),
            pl.DataFrame(judged, schema=COLUMNS),
            {"c1": "The spring drives the wheel."},
        )

    def anew(self, judge: Judge, *, most: int = 40, may_move: bool = True) -> list[str]:
        return judge_anew(
            self.registry, "ann", panel(judge, may_move=may_move), self.recorded(judge), most=most
        )

    def kept(self) -> dict[str, int]:
        """Trace id → scores that it has been given anew."""
        with self.registry.state.reading() as connection:
            held = connection.execute(sa.select(kept_answers.c.trace_id)).scalars().all()
            rows = connection.execute(sa.select(kept_scores.c.trace_id)).scalars().all()
        return {str(one): rows.count(one) for one in held}


def panel(judge: Judge, *, may_move: bool = True) -> Panel:
    certificate = JudgeCertificate(identity(judge), judge.claim, True, {}, {}, "for the test")
    return Panel((PanelJudge(judge, certificate, (), may_move),), unseen=True, notes=())


@pytest.fixture
def asked(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    write_author(home, Author("ann", "Ann"))
    promote(home)
    with contextlib.closing(State.open(home.state_address)) as state:
        made = Asked(Registry(state, policy_path=home.policy_path))
        monkeypatch.setattr(State, "now", lambda _state, _connection: made.now().timestamp())
        yield made


@pytest.fixture
def mood() -> Mood:
    return Mood()


@pytest.fixture
def model(mood: Mood, monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    with serving(mood, monkeypatch) as server:
        yield server


def test_a_judge_scores_its_kept_answers_once_a_day(asked: Asked, model: RatingServer) -> None:
    judge = LanguageModelJudge("openai/judge")
    [line] = asked.anew(judge)
    assert line == f"{identity(judge)}: 40 of 40 kept answers judged anew"
    assert len(model.prompts) == 40
    assert asked.anew(judge) == []
    asked.day = 1
    assert asked.anew(judge) == [line]
    assert len(model.prompts) == 80, "the same answers"
    drawn = sorted((f"trace-{n:02}" for n in range(60)), key=lambda one: digest("kept", one))
    assert asked.kept() == dict.fromkeys(drawn[:40], 2)


def test_a_provider_that_changes_its_model_is_seen_and_set_aside(
    asked: Asked, model: RatingServer, mood: Mood
) -> None:
    judge = LanguageModelJudge("openai/judge")
    for asked.day in range(KNOWN):
        assert "has moved" not in asked.anew(judge)[0]
    mood.less = 1  # of five: .25
    asked.day = KNOWN
    assert "which has not moved: it gives 0.250 ± " in asked.anew(judge)[0], "not by one day"
    asked.day += 1
    [line] = asked.anew(judge)

    assert "40 of 40 kept answers judged anew, which has moved and is set aside" in line
    assert ".250 ± " in line
    told = queued_notices(asked.registry.state, author="ann")
    [notice] = [one for one in told if one.event == "judge_changed"]
    assert notice.title == f"The judge {identity(judge)} of ann has moved"
    with asked.registry.state.reading() as connection:
        [floor] = connection.execute(sa.select(lowered_floors)).mappings()
    assert (floor["author"], floor["stream"]) == ("ann", score_name(judge))
    assert asked.kept() == {}
    asked.day += 1
    assert asked.anew(judge) == [f"{identity(judge)}: 40 of 40 kept answers judged anew"]


def test_a_judge_whose_revision_tells_all_is_not_asked_again(
    asked: Asked, model: RatingServer
) -> None:
    judge = LanguageModelJudge("openai/judge")
    assert asked.anew(judge, may_move=False) == []
    assert asked.anew(judge, most=0) == []
    assert model.prompts == []
    assert asked.kept() == {}
    asked.anew(judge)
    assert len(asked.kept()) == 40
    assert asked.anew(judge, most=0) == []
    assert asked.kept() == {}, "nothing stays of a judge that keeps none any more"


@pytest.mark.parametrize("change", ["version", "age", "nobody"])
def test_kept_are_young_answers_of_the_stable_version_that_it_has_judged(
    asked: Asked, model: RatingServer, change: str
) -> None:
    judge = LanguageModelJudge("openai/judge")
    if change == "version":
        asked.version = "v7"
    if change == "age":
        asked.age = timedelta(days=YOUNG_DAYS + 1)
    others = [] if change == "nobody" else [judge]
    assert judge_anew(asked.registry, "ann", panel(judge), asked.recorded(*others), most=40) == []
    assert model.prompts == []


class TestPaid:
    """A judge with a price, and its share of the account."""

    @pytest.fixture
    def provider(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaidProvider]:
        provider = PaidProvider(Behaviour(latency_s=0.0), tmp_path / "bill.jsonl")
        provider.start()
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield provider
        provider.end()

    def judge(self, asked: Asked, usd: float) -> LanguageModelJudge:
        limits = SpendingLimits(purposes={"judge": SpendingLimit(usd_per_month=usd)})
        account = SpendingAccount(asked.registry.state, limits)
        terms = JudgeTerms(PurposeBudget(account, "judge", author="ann"))
        return LanguageModelJudge("openai/gpt-4o-mini", terms=terms)

    def test_with_less_money_fewer_are_scored_and_it_is_said(
        self, asked: Asked, provider: PaidProvider
    ) -> None:
        rows = asked.recorded().interactions
        texts = [JudgedAnswer(*one) for one in rows.select("question", "answer").iter_rows()]
        all_of_it = self.judge(asked, 1.0).most_usd(texts[:40])

        [line] = asked.anew(self.judge(asked, all_of_it / 4))
        scored = {one for one, count in asked.kept().items() if count}

        found = int(line.split(": ")[1].split(" of 40")[0])
        assert 5 <= found <= 11
        assert len(scored) == len(read_bill(provider.bill.path)) == found
        asked.day = 1
        [line] = asked.anew(self.judge(asked, 0.0))
        assert line.endswith("none of 40 kept answers judged anew")
        assert len(read_bill(provider.bill.path)) == found
        asked.day = 2
        asked.anew(self.judge(asked, 2 * all_of_it / 4))
        again = len(read_bill(provider.bill.path)) - found
        twice = [one for one, count in asked.kept().items() if count == 2]
        assert len(twice) == min(found, again) > 0, "the same ones first"
