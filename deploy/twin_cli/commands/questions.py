"""Send questions to the endpoint, as any program would: `twin ask` and `twin batch`.

Scope: one question with the official `openai` client, a file of questions, the output.
Out of scope: retrieval, prompts and routing (the gateway), the batch (`gateway/batches`).
Source: https://github.com/openai/openai-python
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twin_cli.commands.author_progress import EndpointAnswer
from twin_cli.commands.clock import StageClock
from twin_cli.commands.presentation import sources_text
from twin_cli.commands.subject import choose_author
from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import Answered, Journal, check_out
from twin_resources.gateway.batches.completing import BatchSum, complete
from twin_resources.gateway.batches.questions import read_questions
from twin_resources.longest_waits import MAX_WORKING_S
from twin_resources.processes.endpoints import read_endpoints
from twin_resources.processes.wording import counted
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from openai import OpenAI


def make_client(url: str, key: str) -> OpenAI:
    """Return a client of the gateway at `url` (ending in `/v1`) that ignores proxy variables."""
    import httpx
    from openai import OpenAI

    transport = httpx.Client(trust_env=False, timeout=MAX_WORKING_S)
    return OpenAI(base_url=url, api_key=key, http_client=transport, max_retries=2)


def ask(
    client: OpenAI,
    question: str,
    *,
    model: str,
    on_text: Callable[[str], object] | None = None,
) -> EndpointAnswer:
    """Ask one question.

    Args:
        model: `twin/<author>`, or one of its aliases (`@base`, `@stable`).
        on_text: a function that gets each piece of a streamed answer; without it nothing is
            streamed.

    Raises:
        TwinError: the gateway cannot be reached, or refuses the key, the model or the question.
    """
    began = time.monotonic()
    messages: Any = [{"role": "user", "content": question}]
    with _readable_errors(client, model):
        if on_text is None:
            completion = client.chat.completions.create(model=model, messages=messages)
            text = completion.choices[0].message.content or ""
            facts: dict[str, Any] = (completion.model_extra or {}).get("twin") or {}
        else:
            text, facts = _stream(client, messages, model=model, on_text=on_text)
    return EndpointAnswer(
        question=question,
        text=text.strip(),
        sources=tuple(facts.get("sources") or ()),
        trace_id=facts.get("trace_id", ""),
        version=facts.get("version", ""),
        cost_usd=facts.get("cost_usd"),
        degraded=str(facts.get("degraded") or ""),
        disclosure=facts.get("disclosure", ""),
        seconds=time.monotonic() - began,
        kind=str(facts.get("answer") or ""),
        quotes=tuple(facts.get("quotes") or ()),
        nearest=tuple(facts.get("nearest") or ()),
        release=str(facts.get("release") or ""),
        prose=dict(facts.get("prose") or {}),
        draft=facts.get("draft"),
    )


def _stream(
    client: OpenAI, messages: Any, *, model: str, on_text: Callable[[str], object]
) -> tuple[str, dict[str, Any]]:
    pieces: list[str] = []
    facts: dict[str, Any] = {}
    with client.chat.completions.create(model=model, messages=messages, stream=True) as stream:
        for chunk in stream:
            facts = (chunk.model_extra or {}).get("twin") or facts
            for choice in chunk.choices:
                if choice.delta.content:
                    pieces.append(choice.delta.content)
                    on_text(choice.delta.content)
    return "".join(pieces), facts


@contextmanager
def _readable_errors(client: OpenAI, model: str) -> Generator[None]:
    import openai

    tried = f"ask {model} at {client.base_url}"
    try:
        yield
    except openai.AuthenticationError as error:
        raise TwinError(
            tried,
            found="the gateway refuses the key (401)",
            next_step="use `gateway_key` of endpoints.json, or `source .twin/env`",
        ) from error
    except openai.APITimeoutError as error:
        raise TwinError(
            tried,
            found=f"no answer within {MAX_WORKING_S} s",
            next_step="see `twin status` and models.log; try a smaller model",
        ) from error
    except openai.APIConnectionError as error:
        raise TwinError(
            tried, found="nothing answers there", next_step="see `twin status`; run `twin up`"
        ) from error
    except openai.APIStatusError as error:
        raise TwinError(
            tried,
            found=f"{error.status_code}: {_message(error.body) or error.message}",
            next_step="do what it says; `twin versions` tells what is served",
        ) from error


def _message(body: Any) -> str:
    if isinstance(body, dict):
        facts: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        return str(facts.get("message", ""))
    return ""


def run_ask(
    settings: Settings,
    question: str,
    *,
    author: str,
    model: str,
    stream: bool,
    console: Console,
    as_json: bool = False,
) -> int:
    """Ask one question and print the answer; return the exit code.

    Args:
        model: replaces `twin/<author>`; a bare alias (`@base`) is appended to it.
        stream: whether to print the answer as it is written; `as_json` prints one object at the end
            instead.

    Raises:
        TwinError: no stack runs, the author does not exist, or the gateway refused.
    """
    endpoints = read_endpoints(settings.home)
    if not model or model.startswith("@"):
        model = f"twin/{choose_author(settings, author).slug}{model}"
    client = make_client(endpoints.gateway, endpoints.gateway_key)

    def write(piece: str) -> None:
        console.print(piece, end="", markup=False)

    streams = stream and not as_json
    answer = ask(client, question, model=model, on_text=write if streams else None)
    if as_json:
        console.print_json(data=answer_document(answer, model=model))
        return 0
    if streams:
        console.print()
    else:
        console.print(answer.text, markup=False)
    console.print()
    by_program = answer.version == FRONT_DESK  # no posts were searched
    if not by_program:
        console.print(sources_text(answer), markup=False, style="dim")
    cost = "unknown" if answer.cost_usd is None else f"${answer.cost_usd:.6f}"
    facts = [
        f"version {answer.version or 'unknown'}",
        f"{answer.seconds:.1f} s",
        f"cost {cost}",
        f"trace {answer.trace_id or 'none'}",
    ]
    if answer.degraded:
        facts.append(f"degraded: {answer.degraded}")
    console.print(", ".join(facts), markup=False, style="dim")
    if not by_program and (told := release_text(answer)):
        console.print(told, markup=False, style="dim")
    if answer.disclosure:
        console.print(answer.disclosure, markup=False, style="dim")
    return 0


def release_text(answer: EndpointAnswer) -> str:
    """Return what the version is released for, and how to get its prose where it is not shown."""
    if not answer.release:
        return ""
    told = f"released for {answer.release}"
    if answer.draft:
        return f"a draft; {told}"
    model = answer.prose.get("model")
    return f"{told}; a draft: --model @{model.rpartition('@')[2]}" if model else told


def answer_document(answer: EndpointAnswer, *, model: str) -> dict[str, Any]:
    """Return what `twin ask --json` prints; its keys are stable (deploy/docs/json.md)."""
    return {
        "question": answer.question,
        "model": model,
        "text": answer.text,
        "answer": answer.kind,
        "quotes": list(answer.quotes),
        "nearest": list(answer.nearest),
        "sources": list(answer.sources),
        "version": answer.version,
        "trace_id": answer.trace_id,
        "seconds": round(answer.seconds, 3),
        "cost_usd": answer.cost_usd,
        "degraded": answer.degraded,
        "disclosure": answer.disclosure,
        "release": answer.release,
        "prose": answer.prose,
        "draft": answer.draft,
    }


NOT_ALL = 3  # some rows have no answer
SHOWN_BROKEN = 5


def run_batch(
    settings: Settings,
    questions: Path,
    out: Path,
    *,
    author: str,
    model: str,
    width: int,
    as_json: bool,
    console: Console,
) -> int:
    """Answer the questions; return 0, or 3 if a row is broken or was refused.

    Args:
        model: replaces `twin/<author>`; a bare alias (`@base`) is appended to it.

    Raises:
        TwinError: a file cannot be read or written, no stack runs, or the gateway stopped
            answering. The same command then resumes where it stopped.
    """
    check_out(out)
    rows, broken = read_questions(questions)
    endpoints = read_endpoints(settings.home)
    if not model or model.startswith("@"):
        model = f"twin/{choose_author(settings, author).slug}{model}"
    clock = StageClock(console)
    if not as_json:
        for one in broken[:SHOWN_BROKEN]:
            clock.say(f"{one.place} is left out: {one.found}", style="yellow")
        if len(broken) > SHOWN_BROKEN:
            clock.say(f"and {len(broken) - SHOWN_BROKEN} more", style="yellow")
    with closing(Journal(out)) as journal:
        with clock.bar("batch") as bar, clock.never_silent():

            def report(done: BatchSum, row: Answered) -> None:
                left = bar.elapsed_s / (done.answered + done.failed) * (done.questions - done.done)
                if row["error"] and not as_json:
                    clock.say(f"{row['id']}: {row['error']}", style="yellow")
                bar.update(
                    f"{done.done}/{done.questions}, ${done.cost_usd:.4f}",
                    done=float(done.done),
                    total=float(done.questions),
                    left_s=left,
                )

            total = complete(
                rows,
                journal,
                url=endpoints.gateway,
                key=endpoints.gateway_key,
                model=model,
                width=width,
                on_row=report,
            )
        journal.finish(one.fingerprint(model) for one in rows)
    if as_json:
        document = {**asdict(total), "broken": [asdict(one) for one in broken], "out": str(out)}
        console.print_json(data=document)
    else:
        clock.say(_said(total, out))
    return NOT_ALL if broken or total.failed else 0


def _said(total: BatchSum, out: Path) -> str:
    parts = [f"{counted(total.answered, 'answer')} in {out}"]
    if total.kept:
        parts.append(f"{total.kept} kept of an earlier run")
    if total.failed:
        parts.append(f"{total.failed} refused (column `error`)")
    routes = ", ".join(f"{name} {count}" for name, count in sorted(total.routes.items()))
    if routes:
        parts.append(f"by route: {routes}")
    parts.append(f"${total.cost_usd:.6f}")
    if total.unpriced:
        parts.append(f"the cost of {total.unpriced} is not known")
    return "; ".join(parts)
