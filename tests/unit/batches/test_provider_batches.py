"""Batches at the simulated provider: paid once, to the cent, whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from twin_cli.commands.demo.paid_provider import PaidProvider
from twin_cli.commands.demo.provider_answers import Behaviour, read_bill

from twin_resources.access.account import SpendingAccount
from twin_resources.access.account_rows import NANO
from twin_resources.access.keys import Key, KeyLimits
from twin_resources.access.paid_budget import batch_price_of, price_of
from twin_resources.access.provider_batch_rows import BatchRow, BatchRows
from twin_resources.access.spending_limits import OverLimit, SpendingLimit, SpendingLimits
from twin_resources.errors import TwinError
from twin_resources.gateway.batches.provider_batches import ProviderBatches, batch_provider
from twin_resources.gateway.batches.provider_lines import batch_files, most_usd, read_ends
from twin_resources.storage.state.state import State

MODEL = "openai/gpt-4o-mini"
PROMPT_USD, ANSWER_USD = 75e-9, 300e-9
KEY = Key("r", "reader", frozenset({"*"}), "mine", "k1", KeyLimits(usd_per_day=0.01))


class Killed(BaseException):
    """Stands for the kill of a run."""


def row(number: int, question: str = "How much oil?", *, author: str = "ada") -> BatchRow:
    return BatchRow(
        key=KEY.id,
        fingerprint=f"{number:032x}",
        author=author,
        trace_id=f"{number:032x}",
        reader=KEY.reader,
        request={
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 20,
            "temperature": 0.5,
        },
        record="{}",
    )


@dataclass
class World:
    """A state store, an account, a provider, and what was said."""

    state: State
    account: SpendingAccount
    provider: PaidProvider
    said: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.rows = BatchRows(self.state)

    def batches(self, key: Key = KEY) -> ProviderBatches:
        return ProviderBatches(
            self.state, self.account, key, MODEL, "openai", self.said.append, poll_s=0.01
        )

    def answer(self, *rows: BatchRow, key: Key = KEY) -> None:
        for one in rows:
            found = self.rows.find(one.key, one.fingerprint)
            if found is None or found.status == "waiting":
                self.rows.put_off(one)
        asyncio.run(self.batches(key).answer({one.fingerprint for one in rows}))

    def found(self, one: BatchRow) -> BatchRow:
        found = self.rows.find(one.key, one.fingerprint)
        assert found is not None
        return found

    def spent(self) -> tuple[int, int]:
        """Nano-dollars that are settled, and that are held."""
        spent = self.account.spent()
        return round(spent.usd * NANO), round(spent.reserved_usd * NANO)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    state = State.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    provider = PaidProvider(Behaviour(batch_s=0.0), tmp_path / "bill.jsonl")
    provider.start()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-provider")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    limits = SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=1.0)})
    yield World(state, SpendingAccount(state, limits), provider)
    provider.end()
    state.close()


def test_a_batch_is_answered_billed_and_cleared_away(world: World) -> None:
    rows = [row(number) for number in range(3)]
    world.answer(*rows)
    assert [world.found(one).status for one in rows] == ["answered"] * 3
    usage = [(world.found(one).answer or {})["usage"] for one in rows]
    for one, used in zip(rows, usage, strict=True):
        usd = used["prompt_tokens"] * PROMPT_USD + used["completion_tokens"] * ANSWER_USD
        assert world.found(one).usd == pytest.approx(usd)
    assert world.spent() == (world.provider.bill.nano, 0)
    assert world.provider.bill.nano > 0
    assert {line["outcome"] for line in read_bill(world.provider.bill.path)} == {"batch"}
    assert world.provider.batches.files == {}, "questions and answers were deleted there"
    assert "3 rows for openai/gpt-4o-mini" in world.said[0]
    assert "by the price of batches; within 24 hours" in world.said[0]
    world.answer(*rows)
    assert len(world.provider.batches.batches) == 1, "nothing is submitted twice"


@pytest.mark.parametrize(
    "moment", ["reserve", "acreate_file", "acreate_batch", "submitted", "wait"]
)
def test_a_death_at_any_moment_submits_and_pays_once(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import litellm

    rows = [row(1), row(2)]

    async def dies(*_: Any, **__: Any) -> None:
        raise Killed

    def dies_now(*_: Any, **__: Any) -> None:
        raise Killed

    made = litellm.acreate_batch

    async def made_then_dies(**asked: Any) -> None:
        await made(**asked)
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "reserve":
            patch.setattr(world.account, "reserve", dies_now)
        elif moment == "submitted":
            patch.setattr(litellm, "acreate_batch", made_then_dies)
        elif moment == "wait":
            patch.setattr(litellm, "aretrieve_batch", dies)
        else:
            patch.setattr(litellm, moment, dies)
        with pytest.raises(Killed):
            world.answer(*rows)
    assert world.found(rows[0]).status == "submitted"
    world.answer(*rows)
    was_there = moment in {"submitted", "wait"}
    assert world.found(rows[0]).status == ("answered" if was_there else "waiting")
    world.answer(*rows)  # what was cut off before is asked anew
    assert [world.found(one).status for one in rows] == ["answered"] * 2
    assert len(world.provider.batches.batches) == 1
    assert world.spent() == (world.provider.bill.nano, 0)
    assert world.provider.bill.requests == 2


def test_each_row_that_has_no_answer_says_why_and_costs_what_it_cost(world: World) -> None:
    good, failed, lost, silent = (
        row(1), row(2, "Oil? (500)"), row(3, "Oil? (lost line)"), row(4, "Oil? (no usage)"),
    )  # fmt: skip
    world.answer(good, failed, lost, silent)
    assert world.found(good).status == world.found(silent).status == "answered"
    assert "the provider failed (500): try again later" in world.found(failed).error
    assert world.found(failed).usd == 0
    assert "neither an answer nor an error" in world.found(lost).error
    for unknown in (lost, silent):
        assert world.found(unknown).usd == most_usd(unknown, MODEL)[0], "counts in full"
    settled, held = world.spent()
    assert held == 0
    assert world.provider.bill.nano < settled
    assert settled == round(
        sum(world.found(one).usd for one in (good, failed, lost, silent)) * NANO
    )


def test_an_expired_batch_keeps_and_pays_what_was_answered(world: World) -> None:
    good, late = row(1), row(2, "Oil? (expired)")
    world.answer(good, late)
    assert world.found(good).status == "answered"
    assert "batch_expired" in world.found(late).error
    assert world.spent() == (world.provider.bill.nano, 0)


def test_a_refused_batch_costs_nothing_and_each_row_says_why(world: World) -> None:
    rows = row(1), row(2, "Oil? (refused)")
    world.answer(*rows)
    for one in rows:
        assert "refused the batch (failed): a line of it is refused" in world.found(one).error
    assert world.spent() == (0, 0) == (world.provider.bill.nano, 0)


def test_a_batch_that_is_cancelled_there_ends_here(world: World) -> None:
    world.provider.behaviour = replace(world.provider.behaviour, batch_s=1000.0)
    one = row(1)

    def cancel(text: str) -> None:
        world.said.append(text)
        for batch in world.provider.batches.batches.values():
            batch.status = "cancelled"

    batches = world.batches()
    batches.say = cancel
    world.rows.put_off(one)
    asyncio.run(batches.answer({one.fingerprint}))
    assert "cancelled at the provider" in world.found(one).error
    assert world.spent() == (0, 0)


def test_a_batch_that_the_provider_knows_no_more_counts_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm

    async def dies(*_: Any, **__: Any) -> None:
        raise Killed

    one = row(1)
    with monkeypatch.context() as patch:
        patch.setattr(litellm, "aretrieve_batch", dies)
        with pytest.raises(Killed):
            world.answer(one)
    world.provider.batches.batches.clear()
    world.answer(one)
    assert world.found(one).status == "failed"
    assert world.spent()[0] == round(most_usd(one, MODEL)[0] * NANO)


def test_what_does_not_fit_a_limit_is_not_sent(world: World) -> None:
    poor = replace(KEY, limits=KeyLimits(usd_per_day=1e-6))
    one = row(1)
    with pytest.raises(OverLimit, match=r"limit of \$0.0000010 a day of the key k1"):
        world.answer(one, key=poor)
    assert (world.found(one).status, world.found(one).batch) == ("waiting", "")
    assert world.provider.batches.files == {} == world.provider.batches.batches
    assert world.spent() == (0, 0)
    world.answer(one)
    assert world.found(one).status == "answered"


def test_a_provider_that_takes_no_file_leaves_nothing_reserved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(TwinError, match="run the same batch again"):
        world.answer(row(1))
    assert world.spent() == (0, 0)
    assert world.found(row(1)).status == "waiting"


def test_authors_and_sizes_part_files(world: World) -> None:
    rows = [row(1), row(2, author="bob"), row(3), row(4)]
    files = batch_files(rows, MODEL, most_rows=2)
    assert [[one.fingerprint[-1] for one in file.rows] for file in files] == [
        ["1", "3"], ["4"], ["2"],
    ]  # fmt: skip
    line = json.loads(files[2].content)
    assert (line["custom_id"], line["url"]) == (rows[1].fingerprint, "/v1/chat/completions")
    assert line["body"] == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "How much oil?"}],
        "max_tokens": 20,
        "temperature": 0.5,
    }
    assert len(batch_files(rows[:1] * 3, MODEL, most_bytes=len(files[2].content))) == 3


def test_a_file_that_was_cut_is_not_read() -> None:
    with pytest.raises(TwinError, match=r"output file.*line 1"):
        read_ends("completed", output=b'{"custom', errors=b"", rows=[row(1)], model=MODEL)


def test_the_price_of_batches_is_the_map_s_or_the_named_one() -> None:
    half, known = batch_price_of(MODEL, prompt_tokens=1000, answer_tokens=100)
    assert known
    assert half == pytest.approx(price_of(MODEL, prompt_tokens=1000, answer_tokens=100) / 2)
    named, known = batch_price_of("openai/gpt-4", prompt_tokens=10, answer_tokens=1)
    assert not known
    assert named == price_of("openai/gpt-4", prompt_tokens=10, answer_tokens=1)


def test_where_there_is_no_batch_endpoint_it_is_said_in_one_sentence() -> None:
    assert batch_provider(MODEL) == "openai"
    with pytest.raises(TwinError, match=r"none for groq .* leave --provider-batch out"):
        batch_provider("groq/openai/gpt-oss-20b")
    with pytest.raises(TwinError, match="no paid model"):
        batch_provider("")
