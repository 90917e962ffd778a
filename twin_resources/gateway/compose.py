"""Compose one answer: the opening, the prose that a model writes below it, its price, its trace.

`request_path.py` decides what to answer; LiteLLM calls the models.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import CancelScope

from twin_resources.access.keys import Key
from twin_resources.access.paid_budget import PaidBudget, PaidCall
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.config.proxy_config import REQUEST_TIMEOUT_S
from twin_resources.gateway.exchange.answer_ending import ProseFilter
from twin_resources.gateway.exchange.exchange import AnswerCall, Exchange, RequestRecord
from twin_resources.gateway.hooks.canary_watch import TIMEOUT_S, CanaryWatch
from twin_resources.gateway.hooks.failed_calls import refusal_for_error
from twin_resources.gateway.hooks.prefetch import PrefetchStream
from twin_resources.gateway.hooks.trace_logger import TraceLogger
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.request_path import RequestPath
from twin_resources.models.serving.template_sampling import reply_ban
from twin_resources.registry.route_names import PAID

# For a paid model or an older version, whose speed the stable version's window does not measure.
ROUTED_TIMEOUT_S = 60.0
# The first attempt fails if llama.cpp has closed an idle connection. Three retries within about two
# seconds cover the restart of a small model's server.
RETRIES = 3
FIRST_PAUSE_S, MAX_PAUSE_S = 0.25, 1.0
# The retries take about five seconds. The client cannot retry, because it has already received the
# beginning of the answer.
BROKEN_STREAM_RETRIES = 6
DISCONNECT_NOTE = "the reader disconnected before the prose"
READER_LEFT = "ReaderLeft"


@dataclass
class Composer:
    """The services that compose a gateway's answers.

    Attributes:
        request_path: prepares requests.
        admission: limits the requests to each model server.
        counter: counts the requests of keys with a limit.
        tracer: writes the trace of an answer.
        watch: takes a failing version on a ramp back.
        budget: reserves money for paid calls; None without a paid route.
        complete: LiteLLM's `acompletion`, which calls the models.
    """

    request_path: RequestPath
    admission: AdmissionControl
    counter: KeyRequestCounter
    tracer: TraceLogger
    watch: CanaryWatch
    budget: PaidBudget | None
    complete: Callable[..., Awaitable[Any]]

    async def answer(self, request: ChatRequest, call: AnswerCall) -> AsyncGenerator[str, None]:
        """Yield the text of an answer in pieces; `call.record` has its facts from the first on.

        The key's place is free, the money is settled and the answer can be referred to when the
        generator ends.

        Raises:
            RefusedError: see `RequestPath.prepare`; also if a limit is reached or the model fails.
        """
        started_at = time.monotonic()
        async with self.counter.count(call.key):
            record = call.record = await self._prepare(request, call.key)
            pieces: list[str] = []
            with ExitStack() as places:
                if record.exchange.fixed_answer:
                    answer = self._read_fixed(record, started_at)
                else:
                    places.enter_context(self._admit_to_server(record))
                    answer = self._write(record)
                async with aclosing(answer):
                    async for piece in answer:
                        pieces.append(piece)
                        yield piece
            if call.store is not None:
                await asyncio.to_thread(call.store, record.trace_id, "".join(pieces))

    async def _read_fixed(self, record: RequestRecord, started_at: float) -> AsyncGenerator[str]:
        """Yield an answer that no model writes: quotations, the front desk, a refused topic."""
        record.shown_text = record.prefix + record.exchange.fixed_answer
        record.begin(started_at=started_at)
        record.end(0)
        self.tracer.log(record)
        yield record.shown_text

    @contextmanager
    def _admit_to_server(self, record: RequestRecord) -> Generator[None]:
        try:
            with self.admission.admit_to_server(record.decision.server_key):
                yield
        finally:
            if record.paid_call is not None and not record.is_sent:
                record.paid_call.settle_unsent()

    async def _prepare(self, request: ChatRequest, key: Key) -> RequestRecord:
        """Run the stages, and reserve the maximum cost if the paid model is to write.

        If that fails, a request that did not name the paid model is prepared again without it.
        """
        try:
            record = await self.request_path.prepare(request, key)
            if self.budget is None or record.decision.server_key != PAID or record.is_fixed:
                return record
            try:
                record.paid_call = await self.budget.reserve(
                    key,
                    request.author,
                    record.exchange.messages,
                    max_tokens=int(record.exchange.sampling["max_tokens"]),
                )
            except RefusedError as error:
                if request.has_named_version:
                    raise
                problem = "budget used up" if error.status == 429 else "budget unreadable"
                return await self.request_path.prepare(request, key, paid_problem=problem)
            return record
        except RefusedError:
            raise
        except Exception as error:
            sys.stderr.write(traceback.format_exc())
            message = f"The gateway failed ({type(error).__name__}); report the error in its log."
            raise RefusedError(500, "gateway_failed", message) from error

    async def _write(self, record: RequestRecord) -> AsyncGenerator[str]:
        """Yield the opening and the prose of an answer, and record its end, whatever it is."""
        prose, above = ProseFilter(record), record.prefix
        error_name, first_token_ns = READER_LEFT, None
        record.begin()
        try:
            if record.chat_request.stream and above:
                record.is_opened = True
                yield above
            async with aclosing(self._read_prose(record, prose)) as texts:
                async for text in texts:
                    if first_token_ns is None:
                        first_token_ns = time.time_ns()
                        yield above * (not record.is_opened) + record.heading + text
                    else:
                        yield text
            error_name = ""
            if first_token_ns is None:
                sentences = record.prose_note.supported_sentences
                if sentences is not None:  # too few of them are supported
                    record.record_as_quotation(sentences.describe_loss())
                    record.shown_text = record.exchange.opening.text
                if above and not record.is_opened:
                    yield above
        except Exception as error:
            failure = refusal_for_error(record, error)
            sys.stderr.write(f"{type(error).__name__}: {failure}\n")
            error_name = type(error).__name__
            if record.has_prose or not record.is_opened:
                raise failure from error
            problem = "refused the prompt" if failure.status < 500 else "does not answer"
            server_key = record.decision.server_key
            record.record_missing_prose(f"no prose: the model server {server_key!r} {problem}")
        finally:
            if error_name:
                prose.close()
            if error_name == READER_LEFT and record.is_opened and not prose.shown_text:
                record.record_missing_prose(DISCONNECT_NOTE)
            if record.paid_call is not None and record.is_sent:  # settles it if nothing has
                is_ended = not error_name and not record.is_fallback
                paid_call = record.paid_call
                paid_call.settle_empty() if is_ended else paid_call.settle_interrupted()
            record.shown_text = (
                prose.shown_text or record.shown_text or (above if record.is_opened else "")
            )
            record.end(record.usage.get("total", 0))
            self.tracer.log(
                record,
                first_token_ns=first_token_ns if record.chat_request.stream else None,
                error="" if record.shown_text else error_name,
            )
            self.watch.count_request(record, is_answered=not error_name)

    async def _read_prose(self, record: RequestRecord, prose: ProseFilter) -> AsyncGenerator[str]:
        """Yield what the reader may see of the model's text."""
        async with aclosing(self._read_model(record)) as texts:
            async for text in texts:
                if shown := await prose.feed(text):
                    yield shown
        if shown := await prose.finish():
            yield shown

    async def _read_model(self, record: RequestRecord) -> AsyncGenerator[str]:
        """Yield the text of the model, or of the version that answers when it fails.

        If a stream breaks off, the stable version restarts a canary's answer; any other version
        restarts its own, because its server restarts in about a second. The new answer follows the
        partial one. An answer in JSON is not restarted after its first text, because the result
        would not be valid.
        """
        has_broken_off, separator = False, ""
        while True:
            stream: Any = None
            try:
                stream = await self._call_model(record, has_broken_off=has_broken_off)
                async for chunk in stream:
                    if getattr(chunk, "usage", None):
                        record.usage = token_counts(chunk.usage)
                    for choice in chunk.choices:
                        record.finish_reason = choice.finish_reason or record.finish_reason
                        if choice.delta is not None and choice.delta.content:
                            record.has_prose = True
                            yield separator + choice.delta.content
                            separator = ""
                return
            except Exception as error:
                if record.paid_call is not None:
                    record.paid_call.settle_failed(error)
                fallback, route = record.exchange.fallback, record.decision.route
                can_continue = not (record.has_prose and record.is_json)
                # A second attempt is free on a server of this home.
                is_free = record.paid_call is None and not record.decision.is_elsewhere
                if can_continue and fallback is not None:
                    other = fallback.decision
                    how = (
                        f"broke off: answered again by {other.route}"
                        if stream is not None
                        else f"failed ({type(error).__name__}): answered by {other.route}"
                    )
                    meter = self.request_path.meter(other.server_key)
                    record.record_fallback(f"{route} {how}", meter)
                elif can_continue and stream is not None and is_free and not has_broken_off:
                    record.restart_count += 1
                    record.degraded = (*record.degraded, f"{route} broke off: answered again")
                else:
                    if record.replaced_decision is not None and not record.has_prose:
                        note = f"{record.replaced_decision.route} failed, and so did {route}"
                        record.degraded = (*record.degraded[:-1], note)
                    raise
                server_key = record.decision.server_key
                sys.stderr.write(f"{type(error).__name__} of {route}: {server_key} answers\n")
                has_broken_off |= stream is not None
                separator = "\n\n" if record.has_prose else ""
            finally:
                if stream is not None:
                    with CancelScope(shield=True):
                        await stream.aclose()

    async def _call_model(self, record: RequestRecord, *, has_broken_off: bool) -> Any:
        """Call the version that answers, and return LiteLLM's stream.

        A server may restart between two attempts, at another address.
        """
        exchange, decision, paid_call = record.exchange, record.decision, None
        retries, timeout_s = RETRIES, REQUEST_TIMEOUT_S
        sampling, response_format = dict(exchange.sampling), record.chat_request.response_format
        if exchange.fallback is not None:
            retries = 0  # the reader would wait for the retries
            if not decision.is_elsewhere:  # a large model may be slow, and its speed is unknown
                timeout_s = TIMEOUT_S if decision.route == "canary" else ROUTED_TIMEOUT_S
        if not record.is_fallback and record.paid_call is not None:
            paid_call, retries = record.paid_call, 0  # the provider would charge for each
        if has_broken_off:
            retries = BROKEN_STREAM_RETRIES
        if response_format is None and not record.chat_request.has_named_version:
            sampling |= reply_ban(exchange.template.hash, decision.engine)
        record.is_sent = True
        for attempt in range(retries + 1):
            try:
                stream = await self.complete(
                    **self._find_target(exchange, decision.server_key),
                    messages=[dict(message) for message in exchange.messages],
                    # A server notices that the reader has left only when it writes the next chunk.
                    stream=True,
                    stream_options={"include_usage": True},
                    response_format=response_format and dict(response_format),
                    max_retries=0,
                    timeout=timeout_s,
                    **sampling,
                )
                return (
                    stream
                    if paid_call is None
                    else PrefetchStream(stream, partial(_count, paid_call))
                )
            except Exception as error:
                status = int(getattr(error, "status_code", None) or 503)
                if attempt == retries or not (status >= 500 or status == 429):
                    raise
                await asyncio.sleep(min(FIRST_PAUSE_S * 2**attempt, MAX_PAUSE_S))
        raise AssertionError("the last attempt returns or raises")

    def _find_target(self, exchange: Exchange, server_key: str) -> dict[str, str]:
        """Return LiteLLM's name and address of a model now."""
        if server_key == PAID:
            return {"model": self.request_path.paid_model}
        servers = self.request_path.live_config.current.servers
        server = servers.get(server_key) or exchange.snapshot.get_server(server_key)
        if not server.url:  # without an address, LiteLLM would ask OpenAI
            raise ConnectionError(f"no server {server_key}")
        return {
            "model": f"openai/{server.alias}",
            "api_base": server.url,
            "api_key": server.key or "none",
        }


def _count(paid_call: PaidCall, chunk: Any) -> None:
    """Count one chunk of a paid stream when it arrives."""
    for choice in chunk.choices:
        if choice.delta is not None and choice.delta.content:
            paid_call.record_text(choice.delta.content)
    if getattr(chunk, "usage", None):
        paid_call.settle_answer(chunk.usage)


def token_counts(usage: Any) -> dict[str, int]:
    """Return the token counts `input`, `output` and `total` of LiteLLM's usage."""
    counts = {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "total": usage.total_tokens,
    }
    return {name: int(count) for name, count in counts.items() if count is not None}
