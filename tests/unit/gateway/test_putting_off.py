"""Answers that wait for a provider's batch: what is kept of them, and who gets them when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from twin_resources.access.account import SpendingAccount
from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.access.paid_budget import PaidBudget
from twin_resources.access.provider_batch_rows import BatchRows, ProviderBatch, RowEnd, at_providers
from twin_resources.access.refusals import Refused
from twin_resources.access.spending_limits import SpendingLimits
from twin_resources.authors import Author
from twin_resources.authors.guard_settings import Guards
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.plan import is_put_off
from twin_resources.erasure.state_store import StateStore
from twin_resources.errors import TwinError
from twin_resources.gateway.canary_watch import CanaryWatch
from twin_resources.gateway.found_passages import Passages
from twin_resources.gateway.guard_record import GuardRecord
from twin_resources.gateway.live_config import LiveConfig
from twin_resources.gateway.putting_off import PuttingOff, recorded, restored
from twin_resources.gateway.request_body import admitted, read_question
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.request_record import RequestRecord
from twin_resources.gateway.routing.decision import RouteDecision, RoutingNote
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.models.quotes.answer_text import quoting
from twin_resources.models.quotes.quoter import Quote
from twin_resources.models.retrieval.search import Passage
from twin_resources.registry.route_names import PAID
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

ROW = "0123456789abcdef" * 2
KEY = Key("r" * 16, "reader", frozenset({"*"}), "mine", "k1")
WHEN = datetime(2024, 5, 1, tzinfo=UTC)
POST = Passage("chunk-0001", "d1", "On oil", "https://x/oil", WHEN, "Oil sparingly.", 0.5, 4)
QUOTE = Quote("Oil sparingly.", "d1", "On oil", "https://x/oil", WHEN, 0, 14, 0.7)
ANN = Author("ann", "Ann")
COMPLETION = {"choices": [{"message": {"content": "A drop."}}], "usage": {"total_tokens": 9}}


def asked(**sent: Any) -> Any:
    body = {
        "model": "twin/ann",
        "messages": [{"role": "user", "content": "Which oil?"}],
        "metadata": {"twin.batch": "true", "twin.batch_row": ROW},
    }
    return read_question(admitted(body | sent))


def routed() -> RequestRecord:
    return RequestRecord(
        asked=asked(temperature=0.5, user="eve"),
        author=ANN,
        chosen=RouteDecision(PAID, PAID, "", "", "routed:paid", 0.9, degraded=("margin not held",)),
        reader=KEY.reader,
        prompt_class="question",
        template="t",
        sources=(POST,),
        degraded=("margin not held",),
        usd_per_hour=0.1,
        meter=None,
        answer="quote_and_voice",
        opening=quoting([QUOTE], before_prose=True),
        quotes=(QUOTE,),
        nearest=(POST,),
        cited=(POST,),
        ignored=("store",),
        routing=RoutingNote("gain .1", 0.1, "own", 0.2),
        guarded=(GuardRecord("input", "email", "personal", "mask", 1),),
        provider="openai/gpt-4o-mini",
        provider_saw="question, 1 passages",
        quote_score=0.7,
        quote_threshold=0.5,
        own_usd=0.001,
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield opened
    opened.close()


async def put_off(state: State, answering: RequestRecord) -> Refused:
    sampling = {"max_tokens": 24, "temperature": 0.5}
    messages = [{"role": "user", "content": "On oil\nOil sparingly.\n\nWhich oil?"}]
    putting_off = PuttingOff(lambda: state)
    return await putting_off.put_off(answering, KEY, messages=messages, sampling=sampling)


def submitted(state: State) -> tuple[BatchRows, ProviderBatch]:
    rows = BatchRows(state)
    batch = ProviderBatch("b1", KEY.id, "ann", "openai/gpt-4o-mini")
    rows.make(batch, rows.of(KEY.id, {ROW}))
    return rows, batch


def test_an_answer_that_comes_later_is_the_one_that_was_asked_for() -> None:
    before = routed()
    after = restored(recorded(before), ANN)
    assert (before.asked.user, before.asked.search_text) == ("eve", "Which oil?")
    assert after.asked == replace(before.asked, user="", search_text=""), "nobody needs them now"
    left_out = {"asked", "usd_per_hour", "call_id", "sampling"}  # nothing of ours answers; set anew
    for field in fields(RequestRecord):
        if field.name not in left_out:
            assert getattr(after, field.name) == getattr(before, field.name), field.name
    for record in (before, after):
        record.begin()
        record.end(9, paid_usd=0.002)
    assert after.cost_usd == pytest.approx(0.003), "the own answer before it is counted"
    assert after.twin_field() == before.twin_field()
    assert after.trace_metadata() == before.trace_metadata()


async def test_it_is_put_off_until_its_batch_has_ended_and_then_given_again_and_again(
    state: State,
) -> None:
    putting_off, question = PuttingOff(lambda: state), asked()
    assert await putting_off.find(question, KEY, ANN) is None
    told = await put_off(state, first := routed())
    assert (told.status, told.code) == (202, "put_off")
    assert await putting_off.find(question, KEY, ANN) is None, "never submitted: decided anew"
    await put_off(state, second := routed())
    rows, batch = submitted(state)
    with pytest.raises(Refused, match="batch b1, which has not ended") as later:
        await putting_off.find(question, KEY, ANN)
    assert later.value.status == 202
    rows.ended(batch, {ROW: RowEnd(COMPLETION, "", 0.25), "f" * 32: RowEnd(None, "gone", 0.0)})
    early = await putting_off.find(question, KEY, ANN)
    assert early is not None
    await putting_off.told(early.row)
    late = await putting_off.find(question, KEY, ANN)  # he was killed before he had kept it
    assert late is not None
    assert late.answering.trace_id == second.trace_id != first.trace_id
    assert late.answering.trace_metadata()["twin.provider_batch"] == "b1"
    assert (late.usd, late.completion) == (0.25, COMPLETION)
    assert late.sampling == {"max_tokens": 24, "temperature": 0.5}
    other = replace(KEY, id="k2")
    assert await putting_off.find(question, other, ANN) is None, "a row belongs to its key"


async def test_an_error_is_told_once_with_what_to_do_and_then_asked_anew(state: State) -> None:
    await put_off(state, routed())
    rows, batch = submitted(state)
    rows.ended(batch, {ROW: RowEnd(None, "that it did not come to it (expired)", 0.0)})
    putting_off = PuttingOff(lambda: state)
    with pytest.raises(Refused, match=r"expired.*run the batch again") as refused:
        await putting_off.find(asked(), KEY, ANN)
    assert refused.value.status == 422
    assert await putting_off.find(asked(), KEY, ANN) is None


async def test_what_a_provider_was_sent_is_forgotten_here_and_counted_there(
    home: Settings,
) -> None:
    there = Installation.of(home)
    state = there.state
    await put_off(state, routed())
    assert at_providers(state) == [], "nobody was sent it yet"
    rows, batch = submitted(state)
    [(model, row)] = at_providers(state)
    assert model == "openai/gpt-4o-mini"
    post = ErasureTarget(ErasureSubject("post", "ann", "p"), ids=frozenset({"chunk-0001"}))
    assert is_put_off(row, post)
    assert not is_put_off(row, replace(post, ids=frozenset({"chunk-0002"})))
    assert not is_put_off(
        row, ErasureTarget(ErasureSubject("post", "bob", "p"), ids=frozenset({"chunk-0001"}))
    )
    assert is_put_off(row, ErasureTarget(ErasureSubject("reader", "", KEY.reader)))
    assert is_put_off(row, ErasureTarget(ErasureSubject("author", "ann", "ann")))
    gone = replace(post, ids=frozenset({"chunk-0001", row.trace_id}))
    assert StateStore(there).erase(gone) == 1
    assert rows.of(KEY.id, {ROW}) == [] == rows.of_batch(batch.batch)
    rows.ended(batch, {ROW: RowEnd(COMPLETION, "", 0.25)})
    assert rows.find(KEY.id, ROW) is None, "its answer is not kept when it comes"


async def test_through_litellm_it_is_an_answer_like_any_other(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin's hooks as the proxy calls them, the provider's answer between them."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks up GitHub
    import litellm

    from twin_resources.gateway.authentication import user_of
    from twin_resources.gateway.early_opening import EarlyOpening, current
    from twin_resources.gateway.plugin import TwinPlugin

    state = State.open(home.state_address)
    model = "openai/gpt-4o-mini"
    budget = PaidBudget(SpendingAccount(state, SpendingLimits()), model=model)
    words = Guards((("words", "answer", "mask"),), ("rust",))
    live = LiveConfig(home)
    live.current = Snapshot({"ann": replace(ANN, guards=words)}, None, {}, has_paid_route=True)

    def nothing() -> Any:
        raise TwinError("retrieve", found="no table", next_step="import")

    path = RequestPath(live, Passages(nothing), usd_per_hour=0.1)
    plugin = TwinPlugin(
        path, budget, watch=CanaryWatch(live, lambda *_: None), find_router=lambda: None,
        putting_off=PuttingOff(lambda: state),
    )  # fmt: skip
    key = replace(KEY, limits=NO_LIMITS)
    user = user_of(key)
    body = {
        "model": "twin/ann@paid",
        "messages": [{"role": "user", "content": "Which oil? I am jo@clocks.io"}],
        "metadata": {"twin.batch": "true", "twin.batch_row": ROW},
        "max_tokens": 24,
    }

    async def nobody(message: Any) -> None:
        raise AssertionError("nothing is streamed")

    async def ask() -> dict[str, Any]:
        sent = admitted(body)
        prepared = await plugin.prepare(read_question(sent), key)
        data = sent | {"litellm_call_id": "c", "metadata": {}, "proxy_server_request": {}}
        current.set(EarlyOpening(nobody, prepared))
        return await plugin.async_pre_call_hook(user, None, data, "acompletion")

    for _ in range(2):
        with pytest.raises(Refused) as later:
            await ask()
        assert (later.value.status, later.value.code) == (202, "put_off")
    rows = BatchRows(state)
    [row] = rows.of(KEY.id, {ROW})
    assert "jo@clocks.io" not in str(row.request) + row.record, "as the provider may see it"
    assert row.request["max_tokens"] == 24
    _, batch = submitted(state)
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    completion = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "finish_reason": "stop", "logprobs": None,
             "message": {"role": "assistant", "content": "Oil and rust.", "refusal": None}}
        ],
        "usage": usage, "service_tier": "default",
    }  # fmt: skip
    rows.ended(batch, {ROW: RowEnd(completion, "", 0.25)})
    data = await ask()
    assert data["messages"] == row.request["messages"]
    sent = {name: data[name] for name in ("messages", "mock_response", "max_tokens")}
    response = await litellm.acompletion(model=model, **sent)
    answered: Any = await plugin.async_post_call_success_hook(data, user, response)
    assert answered.choices[0].message.content == "Oil and […]."
    assert answered.usage.total_tokens == 110
    told = answered.twin
    assert (told["route"], told["version"], told["cost_usd"]) == ("alias:paid", "paid", 0.25)
    assert told["trace_id"] == row.trace_id
    assert budget.account.spent().requests == 0, "the batch's own reservation was settled"
    budget.flush()
    state.close()
