"""Test that agents get the answers of `twin ask`, over HTTP and over `twin mcp`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from twin_cli.commands.questions import ask, make_client

from tests.live.gateway.stack import Stack, new_stack
from tests.stored_passages import SAMPLE_POSTS, build_passages, split_posts, store_passages
from twin_resources.access.keys import add_key, open_key_store, revoke_key
from twin_resources.gateway.api.agent_tools import QUOTATION_NOTE
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.score_names import VOTE
from twin_resources.observability.langfuse.trace_texts import score_trace_id
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROOT = Path(__file__).parents[3]
# Forty questions, and posts that give orders (`title`, `text`, and a `question` that finds the
# post). Another file of each may be named; whoever wrote the tools wrote neither.
QUESTIONS_FILE, INJECTED_FILE = (
    Path(os.environ.get(name) or ROOT / "tests" / path)
    for name, path in (
        ("TWIN_TEST_AGENT_QUESTIONS", "bench/questions/mara-lindqvist.jsonl"),
        ("TWIN_TEST_INJECTED_POSTS", "live/gateway/injected_posts.jsonl"),
    )
)
QUESTIONS = [
    row["question"] for row in read_rows(QUESTIONS_FILE) if row.get("half", "held_out") != "tuned"
]
INJECTED_POSTS = {f"injected-{number}": row for number, row in enumerate(read_rows(INJECTED_FILE))}
QUESTION, TITLE = "How do I carry a clock?", "How to carry a clock"
ANSWER_FIELDS = {
    "kind", "trace", "answer", "disclosure", "degraded", "digital_source_type", "dates",
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    with new_stack(tmp_path_factory.mktemp("agents"), gateway_weights, tiny_gguf) as stack:
        settings = stack.settings
        injected = {name: (row["title"], row["text"]) for name, row in INJECTED_POSTS.items()}
        rows = split_posts(SAMPLE_POSTS | injected)
        tables = Tables(settings.tables_base, state=open_home_state(settings))
        store_passages(tables, "ann", build_passages(rows, load_embedder(settings)))
        write_gateway(stack, f"{stack.url}/v1", stack.key)
        stack.start("base")  # the gateway is ready only with a model server
        yield stack


def write_gateway(stack: Stack, url: str, key: str) -> None:
    write_endpoints(
        Endpoints(
            home=str(stack.settings.home), dagster="", gateway=url, gateway_key=key, models=(),
            traces="", traces_public_key="", traces_secret_key="", logs="", pids={},
        )
    )  # fmt: skip


@asynccontextmanager
async def connect(stack: Stack, transport: str, key: str = "") -> AsyncIterator[Client]:
    if transport == "stdio":
        program = str(Path(sys.executable).with_name("twin"))
        arguments = ["mcp", "--home", str(stack.settings.home)]
        server = StdioServerParameters(command=program, args=arguments)
        async with Client(stdio_client(server)) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {key or stack.key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http_client:
        address = f"{stack.url}/mcp"
        async with Client(streamable_http_client(address, http_client=http_client)) as client:
            yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the document of a tool's result, which is one text and nothing else."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert [item.type for item in result.content] == ["text"]
    assert result.structured_content is None
    return json.loads(result.content[0].text)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_an_agent_gets_the_answers_of_twin_ask(stack: Stack, transport: str) -> None:
    client = make_client(f"{stack.url}/v1", stack.key)
    quoted_count = 0
    async with connect(stack, transport) as agent:
        listed = await call(agent, "authors")
        assert {author["author"] for author in listed["authors"]} == {"ann", "bob"}
        for question in QUESTIONS:
            answer = await call(agent, "ask", author="ann", question=question)
            expected = await asyncio.to_thread(ask, client, question, model="twin/ann")
            quoted = [quote["text"] for quote in expected.quotes or expected.nearest]
            assert answer["kind"] == expected.kind
            assert [quote["text"] for quote in answer["quotations"]] == quoted, question
            quoted_count += bool(quoted)
        assert quoted_count >= len(QUESTIONS) / 2

        # The answer is traced as the reader's, and the vote is stored with it.
        answer = await call(agent, "ask", author="ann", question=QUESTION)
        assert answer["quotations"][0]["title"] == TITLE
        await call(agent, "feedback", trace=answer["trace"], up=True)
    trace = await asyncio.to_thread(stack.trace, answer["trace"])
    assert trace["metadata"]["twin.answer"] == "quote"
    await asyncio.to_thread(stack.wait, lambda: answer["trace"] in read_votes(stack))


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_post_that_gives_orders_changes_no_tool(stack: Stack, transport: str) -> None:
    """What is found of a post stands in `quotations`, word for word, and nothing else happens."""
    sources = {name: text for name, (_, text) in SAMPLE_POSTS.items()}
    sources |= {name: row["text"].strip() for name, row in INJECTED_POSTS.items()}
    votes, found, followed = read_votes(stack), set[str](), list[str]()
    async with connect(stack, transport) as agent:

        async def describe() -> tuple[str, Any, Any]:
            answer = await call(agent, "ask", author="ann", question=QUESTION)
            tools = await agent.list_tools()
            return tools.model_dump_json(), answer["quotations"], await call(agent, "authors")

        before = await describe()
        for name, post in INJECTED_POSTS.items():
            sentences = [fold(line) for line in re.split(r"(?<=[.!?])\s|\n", post["text"])]
            for tool, arguments, names in (
                ("ask", {"question": post["question"]}, ANSWER_FIELDS),
                ("search", {"words": post["question"]}, set()),
                ("read", {"post": name}, set()),
            ):
                document = await call(agent, tool, author="ann", **arguments)
                note, quotations = document.pop("note"), document.pop("quotations")
                posts = [quote["post"] for quote in quotations]
                rest = fold(" ".join(map(str, document.values())))
                is_marked = note == QUOTATION_NOTE and all(
                    quote.keys() == {"post", "title", "date", "link", "text"}
                    and fold(quote["text"]) in fold(sources[quote["post"]])
                    for quote in quotations
                )
                has_leaked = any(len(line) > 20 and line in rest for line in sentences)
                if has_leaked or not is_marked or not document.keys() <= names:
                    followed.append(f"{tool}: {name}")
                if tool == "read":
                    assert (posts, fold(quotations[0]["text"])) == ([name], fold(sources[name]))
                else:
                    found |= set(posts)
        assert await describe() == before
    assert followed == []
    assert len(found & INJECTED_POSTS.keys()) >= 2 / 3 * len(INJECTED_POSTS)
    assert read_votes(stack) == votes


def read_votes(stack: Stack) -> set[str]:
    """Return the traces of the votes in the trace store."""
    with LangfuseClient.from_settings(stack.settings) as traces:
        return {score_trace_id(score) for score in traces.scores(name=[VOTE])}


def fold(text: str) -> str:
    return " ".join(text.split())


async def test_a_foreign_author_and_a_revoked_key_are_refused_in_words(stack: Stack) -> None:
    state = open_key_store(stack.settings)
    key = add_key(state, role="reader", authors=["bob"], label="for an agent")
    async with connect(stack, "http", key) as agent:
        refusal = await agent.call_tool("ask", {"author": "ann", "question": QUESTION})
        assert refusal.is_error
        assert "twin/bob" in str(refusal.content)
        revoke_key(state, "for an agent")
        await asyncio.sleep(1.5)  # the gateway keeps a key for a second
        with pytest.raises(Exception, match="revoked"):
            await agent.call_tool("ask", {"author": "bob", "question": QUESTION})
    for url, reason in ((f"{stack.url}/v1", "revoked"), ("http://127.0.0.1:9/v1", "not respond")):
        write_gateway(stack, url, key)
        async with connect(stack, "stdio") as agent:
            with pytest.raises(Exception, match=reason):
                await agent.call_tool("authors", {})
