"""The blind judge is the served base model: weak, and nothing stands in.

Its server holds it to the schema, asked by itself and through the gateway, so that every reply is a
rating; a judge that cannot tell styles apart is found out (135M parameters give everybody the
same).
"""

from __future__ import annotations

import pytest

from tests.live.gateway.stack import Stack
from tests.live.gateway.test_gateway_teaches import MODEL
from twin_assets.evaluation.judged.blind_judge import FEWEST, BlindJudge, lines
from twin_assets.evaluation.measures.blind_rating import rated
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.quality.judges.asking import RubricRater
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.language_model import RUBRIC
from twin_resources.quality.judges.terms import FREE
from twin_resources.quality.judges.texts import bundled_hands

pytestmark = pytest.mark.live

HEDGED = "Certainly! There are many important factors to consider when it comes to number {}."


def beginnings(author: str) -> list[str]:
    """Of the passages of a bundled author."""
    [hand] = [hand for hand in bundled_hands(without=[]) if hand.name == author]
    return [" ".join(text.split()[:25]) for _, text in hand.passages]


@pytest.mark.parametrize(
    "asked_of", ["its server", pytest.param("the gateway", marks=pytest.mark.long)]
)
def test_the_base_model_rates_a_gates_answers(
    base_model: Stack, monkeypatch: pytest.MonkeyPatch, asked_of: str
) -> None:
    server = base_model.servers["base"]
    by_gateway = asked_of == "the gateway"
    monkeypatch.setenv("OPENAI_API_BASE", f"{base_model.url}/v1" if by_gateway else server["url"])
    monkeypatch.setenv("OPENAI_API_KEY", base_model.key if by_gateway else server["key"])
    own, other = beginnings("mara-lindqvist"), beginnings("tomas-okafor")
    positions = range(FEWEST)
    asked = PromptSet(
        questions=[f"What about {text[:30]}?" for text in own[:FEWEST]],
        documents=[str(number) for number in positions],
        own=own[:FEWEST],
        passages=[(text,) for text in own[:FEWEST]],
        prompts=[],
        held_out=positions,
        red_team=range(0),
        unanswerable=range(0),
        with_posts=range(0),
    )
    said = PromptAnswers(
        candidate={at: ServedAnswer(other[at], (), ()) for at in positions},
        base={at: HEDGED.format(at) for at in positions},
        wall_s=1.0,
        at_once=1,
    )

    model, samples = MODEL if by_gateway else "openai/base", own[FEWEST : FEWEST + 2]
    found = rated(asked, said, model, samples, terms=FREE)

    assert found.unreadable == 0
    assert {one.writer: one.answers for one in found.writers} == dict.fromkeys(
        ("candidate", "base", "author"), FEWEST
    )
    for one in found.writers:
        for figure in (one.accuracy, one.style):
            assert 0.0 <= figure.low <= figure.value <= figure.high <= 1.0
    assert found.usd == 0.0  # nobody has a price for it
    style = {one.writer: one.style.value for one in found.writers}
    blind_to_style = any("its ratings of style say nothing" in line for line in lines(found))
    assert blind_to_style is not found.tells_styles_apart
    assert blind_to_style or style["author"] > style["base"]


def test_through_the_gateway_it_rates_each_writer(
    base_model: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison above is made of, by the rubric that it goes by."""
    monkeypatch.setenv("OPENAI_API_BASE", f"{base_model.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", base_model.key)
    own, other = beginnings("mara-lindqvist"), beginnings("tomas-okafor")
    judge = BlindJudge(MODEL, samples=own[1:3])
    answers = (other[0], HEDGED.format(0), own[0])

    found = judge.rate([JudgedAnswer("What about clocks?", said, (own[0],)) for said in answers])

    spent = judge._rater.spent  # pyright: ignore[reportPrivateUsage]
    assert (spent.calls, spent.unreadable) == (len(answers), 0)
    for one in found:
        assert one is not None
        assert 0.0 <= one.accuracy <= 1.0
        assert 0.0 <= one.style <= 1.0


def test_through_the_gateway_every_reply_is_read_at_once(
    base_model: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", f"{base_model.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", base_model.key)
    rater = RubricRater(MODEL, RUBRIC, demanded=False)
    one = JudgedAnswer(
        "How is a clock oiled?", "With one drop on each pivot.", ("One drop of oil.",)
    )

    found = rater.rate([one])

    assert (rater.spent.calls, rater.spent.unreadable) == (1, 0)
    rating = found[one]
    assert rating is not None
    assert 0.0 <= rating <= 1.0
