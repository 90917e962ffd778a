"""Build requests of Ann's readers, and the request path that prepares them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices, Usage

from twin_resources.access.keys import Key
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.compose import Composer
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import ThroughputMeter
from twin_resources.gateway.exchange.exchange import (
    AnswerCall,
    Exchange,
    FixedText,
    RequestRecord,
)
from twin_resources.gateway.hooks.canary_watch import CanaryWatch
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.gateway.request.request_body import (
    ChatRequest,
    RequestParameters,
    read_question,
    split_body,
)
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.models.quotes.answer_text import AnswerOpening
from twin_resources.models.retrieval.retrieval import Passage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.settings import Settings, load_settings

KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all")
DAY = date(2026, 3, 1)
PUBLISHED_AT = datetime(2024, 5, 1, tzinfo=UTC)
PASSAGE = Passage("c1", "d1", "On oil", "https://x/oil", PUBLISHED_AT, "Oil sparingly.", 0.5, 4)
ANN = Author("ann", "Ann", answer="voice", max_tokens=77, context_tokens=256)
SERVER = Server("http://127.0.0.1:1/v1", "base", "", ready=True, engine="llama 1")


@dataclass
class FakeRetrieval:
    """The fields of a retrieval result that the gateway reads."""

    passages: tuple[Passage, ...] = ()
    nearest: tuple[Passage, ...] = ()
    vector: Any = None
    reason: str = ""
    embedder: str = "made"
    ranked: tuple[Passage, ...] = ()
    languages: tuple[str, ...] = ()
    known_languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.ranked = self.ranked or self.passages

    @property
    def evidence(self) -> float:
        return max((passage.evidence for passage in self.ranked), default=0.0)


def find_passage() -> FakeRetrieval:
    return FakeRetrieval((PASSAGE,))


class FakeRetriever:
    """A retriever that returns the result of a function and records the questions."""

    embedder_revision = "made"

    def __init__(self, find_passages: Callable[[], FakeRetrieval] = FakeRetrieval) -> None:
        self.find_passages = find_passages
        self.questions: list[tuple[str, str]] = []
        self.token_budget = 0

    def retrieve(
        self, author: str, question: str, *, token_budget: int, **dates: datetime | None
    ) -> FakeRetrieval:
        del dates
        self.questions.append((author, question))
        self.token_budget = token_budget
        return self.find_passages()

    def embed(self, texts: Sequence[str]) -> Any:
        raise AssertionError(f"no sentence is judged here: {texts}")

    def read_following(self, author: str, passage: Passage) -> list[Passage]:
        del author, passage
        return []


def served_version(version: int = 3, checkpoint: str = "hash3", **fields: Any) -> ServedVersion:
    """Return a version with the default template and released prose, changed by the fields."""
    served = ServedVersion(
        version, checkpoint, DEFAULT_TEMPLATE.hash, "", None, "", "", ProseRelease("")
    )
    return replace(served, **fields)


def policy_with_stable(**fields: Any) -> Policy:
    """Return a policy with one stable version of Ann's twin, changed by the given fields."""
    versions = AuthorPolicy(stable=served_version(**fields), weights={"stable": 1.0})
    return Policy(authors={"ann": versions})


def create_path(
    home: Settings,
    retriever: Any,
    *,
    author: Author = ANN,
    options: Mapping[str, Any] = MappingProxyType({}),
    quoter: Any = None,
    **fields: Any,
) -> RequestPath:
    """Return a request path for one author, with a base model and Ann's stable version.

    Args:
        retriever: a retriever, or a function that opens one.
        options: further arguments of `RequestPath`.
        fields: fields of the snapshot that differ.
    """
    live_config = LiveConfig(home)
    servers = {"base": SERVER, "ann/v3": SERVER}
    defaults: dict[str, Any] = {"policy": policy_with_stable(), "servers": servers}
    live_config.current = Snapshot({author.slug: author}, **defaults | fields)
    open_retriever: Any = retriever if callable(retriever) else lambda: retriever
    finder = PassageFinder(open_retriever, quoter)
    return RequestPath(live_config, finder, usd_per_hour=0.02, **options)


def change_snapshot(path: RequestPath, **fields: Any) -> None:
    """Replace fields of a request path's snapshot."""
    path.live_config.current = replace(path.live_config.current, **fields)


async def prepare(
    path: RequestPath, *turns: str, model: str = "twin/ann", **fields: Any
) -> RequestRecord:
    """Prepare a conversation that starts with a reader's turn, by default "Which oil?"."""
    messages = [
        {"role": ("user", "assistant")[index % 2], "content": turn}
        for index, turn in enumerate(turns or ("Which oil?",))
    ]
    chat_request = read_chat({"model": model, "messages": messages} | fields)
    return await path.prepare(chat_request, KEY, today=DAY)


def read_chat(body: Mapping[str, Any]) -> ChatRequest:
    """Read a client's body as the allow-list and the provider do."""
    fields, parameters = split_body(body)
    return read_question(fields.get("model"), fields.get("messages"), parameters)


def create_exchange(
    *, body: dict[str, Any] | None = None, author: Author = ANN, **fields: Any
) -> Exchange:
    """Return the exchange of a question to Ann's twin before the first stage."""
    turns = [{"role": "user", "content": "Which oil?"}]
    return Exchange(
        chat_request=read_chat({"model": "twin/ann", "messages": turns} | (body or {})),
        key=Key("r", "reader", frozenset({"*"}), "a reader"),
        snapshot=Snapshot({"ann": author}, None, {}),
        day=DAY,
        **fields,
    )


def create_record(
    *,
    author: Author = ANN,
    withheld: str = "",
    opening: str = "",
    **body: Any,
) -> RequestRecord:
    """Create the record of an answer with prose, below an opening if one is given."""
    exchange = create_exchange(
        body=body,
        author=author,
        opening=AnswerOpening(opening),
        fixed_text=FixedText(guard_refusal=withheld),
    )
    sampling = {"max_tokens": 200, **exchange.chat_request.sampling}
    exchange = replace(exchange, sampling=sampling)
    decision = RouteDecision("base", "base", "", "", "base", 1.0)
    answer_form = "quote_and_voice" if opening else "voice"
    return RequestRecord(exchange, decision, answer_form, 0.1)


class FakeRouter:
    """LiteLLM, whose models answer, in turn, with chunks or with an error.

    Attributes:
        answers: for each call, an exception, or pieces of text that may end with an exception or
            with a finish reason such as `length`.
        calls: the arguments of each call.
    """

    def __init__(self, *answers: Exception | Sequence[str | Exception], reason: str = "stop"):
        self.answers = list(answers)
        self.reason = reason
        self.calls: list[dict[str, Any]] = []
        self.closed_count = 0

    async def acompletion(self, **arguments: Any) -> AsyncGenerator[Any]:
        self.calls.append(arguments)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self._stream(answer)

    async def _stream(self, parts: Sequence[str | Exception]) -> AsyncGenerator[Any]:
        try:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield create_chunk(part)
            yield create_chunk(None, self.reason)
            usage = create_chunk(None)
            usage.usage = Usage(prompt_tokens=5, completion_tokens=2, total_tokens=7)
            yield usage
        finally:
            self.closed_count += 1


@dataclass
class FakePath:
    """A request path that has prepared one record, or fails."""

    prepared: RequestRecord | Exception
    live_config: LiveConfig
    paid_model: str = "openai/gpt-4o-mini"

    def meter(self, server_key: str) -> ThroughputMeter:
        return ThroughputMeter(name=server_key)

    async def prepare(self, request: Any, key: Key, **_: Any) -> RequestRecord:
        if isinstance(self.prepared, Exception):
            raise self.prepared
        return self.prepared


class FakeTracer:
    """A tracer that keeps the text and the error of each answer."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []

    def log(self, record: RequestRecord, *, first_token_ns: Any = None, error: str = "") -> None:
        self.answers.append((record.shown_text, error))


def create_composer(
    prepared: RequestRecord | Exception,
    router: FakeRouter | None = None,
    *,
    open_state: Any = None,
) -> Composer:
    """Return a composer of one prepared answer; `tracer.answers` tells what was traced."""
    live_config = LiveConfig(load_settings())
    keys = ("base", "ann/v1", "ann/v2")
    live_config.current = Snapshot({}, None, {key: replace(SERVER, alias=key) for key in keys})
    watch = CanaryWatch(live_config, lambda *_: None)
    path = FakePath(prepared, live_config)
    parts: Any = (path, AdmissionControl(32, 64), KeyRequestCounter(open_state))
    tracer: Any = FakeTracer()
    return Composer(*parts, tracer, watch, None, router.acompletion if router else None)


def create_call(key: Key = KEY) -> AnswerCall:
    return AnswerCall(key, "twin/ann", RequestParameters())


async def compose(
    record: RequestRecord, router: FakeRouter | None = None
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the pieces of an answer, and the traced answers with their errors."""
    composer = create_composer(record, router)
    call = create_call()
    pieces = [piece async for piece in composer.answer(record.chat_request, call)]
    tracer: Any = composer.tracer
    return pieces, tracer.answers


def create_chunk(text: str | None, reason: str | None = None) -> ModelResponseStream:
    delta = Delta(role="assistant", content=text)
    return ModelResponseStream(choices=[StreamingChoices(finish_reason=reason, delta=delta)])
