"""What people have installed already, against one running gateway: each of them gets an answer.

The official clients for Python and JavaScript, the AI SDK, LangChain, `llm`, LiteLLM, and the
requests of programs that cannot run here (`recorded_requests.py`). The answer of each opens with
the author's own sentence: so it came by retrieval and quoting, whatever the API was.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.gateway import recorded_requests as recorded
from tests.live.gateway.stack import PASSAGES, Stack
from twin_resources.access import keys
from twin_resources.observability.langfuse.client import LangfuseClient

pytestmark = pytest.mark.live
QUESTION = recorded.QUESTION
QUOTED = f"> {PASSAGES[0][1]}"
MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": QUESTION},
]
JAVASCRIPT = (
    *("openai@6.49.0", "ai@6.0.326", "zod@4"),
    *("@ai-sdk/openai-compatible@2.0.87", "@ai-sdk/openai@3.0.141"),
)


def test_the_official_client_chats_with_a_system_message(stack: Stack) -> None:
    answer = stack.client().chat.completions.create(
        model="twin/ann",
        messages=MESSAGES,
        n=1,
        logprobs=False,
        store=True,
        metadata={"chat": "7"},
        tools=[recorded.TOOL],  # pyright: ignore[reportArgumentType]
        tool_choice="auto",
        parallel_tool_calls=True,
    )
    assert str(answer.choices[0].message.content).startswith(QUOTED)
    twin = (answer.model_extra or {})["twin"]
    assert twin["ignored"] == [
        "metadata",
        "parallel_tool_calls",
        "store",
        "system messages",
        "tools",
    ]
    assert answer._request_id == twin["trace_id"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_responses_api_runs_the_whole_plugin(stack: Stack, *, stream: bool) -> None:
    asked: dict[str, Any] = {
        "model": "twin/ann@voice",
        "input": QUESTION,
        "instructions": "Be brief.",
    }
    client = stack.client()
    if stream:
        with client.responses.stream(**asked) as events:
            told: list[Any] = list(events)
        kinds = [event.type for event in told]
        # not `get_final_response()`: that client has none where the token limit ended the answer
        answer = told[-1].response
        assert kinds[0] == "response.created"
        assert kinds[-1] in {"response.completed", "response.incomplete"}
        assert kinds.count("response.output_text.delta") > 2
    else:
        answer = client.responses.create(**asked)
    assert answer.output_text.startswith(QUOTED)
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    twin = (answer.model_extra or {})["twin"]
    (part,) = answer.output[0].content  # pyright: ignore[reportAttributeAccessIssue]
    assert part.annotations[0].url == "https://clocks.example/0"
    assert twin["ignored"] == ["system messages"]
    assert twin["sources"][0]["document_id"] == "post-0"
    assert "Ann Bell" in twin["disclosure"]
    assert twin["cost_usd"] > 0
    assert QUESTION in str(stack.trace(twin["trace_id"]))


@pytest.mark.parametrize("stream", [False, True])
def test_the_completions_api_runs_the_whole_plugin(stack: Stack, *, stream: bool) -> None:
    answer: Any = stack.client().completions.create(
        model="twin/ann", prompt=QUESTION, stream=stream
    )
    pieces = list(answer) if stream else [answer]
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text.startswith(QUOTED)
    *_, twin = [piece.model_extra["twin"] for piece in pieces if "twin" in piece.model_extra]
    assert twin["quotes"][0]["document_id"] == "post-0"
    assert stack.trace(twin["trace_id"])


def test_two_readers_of_a_site_are_two(stack: Stack) -> None:
    store = keys.open_key_store(stack.settings)
    made = keys.add_key(store, role="site", authors=["ann"], label="a site")
    traced: dict[str, str] = {}
    for reader in ("eve", "bob"):
        body = {"model": "twin/ann", "messages": MESSAGES, "user": reader}
        twin = stack.post(body, key=made).json()["twin"]
        assert twin["ignored"] == ["system messages"]
        given = httpx.post(
            f"{stack.url}/twin/feedback",
            json={"trace_id": twin["trace_id"], "thumb": "up", "user": reader},
            headers={"Authorization": f"Bearer {made}"},
            trust_env=False,
        ).json()
        stack.trace(twin["trace_id"])
        with LangfuseClient.from_settings(stack.settings) as client:
            (span,) = client.observations(trace_id=twin["trace_id"])
        traced[reader] = span["metadata"]["twin.reader"]
        assert given["reader"] == traced[reader]
    assert len(set(traced.values())) == 2
    assert not {"eve", "bob", keys.reader_id_for_key(made)} & set(traced.values())


def test_langchain(stack: Stack) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="extra `clients` not installed")
    common = {"model": "twin/ann", "base_url": f"{stack.url}/v1", "api_key": stack.key}
    turns = [("system", "Be brief."), ("human", QUESTION)]
    chat = langchain.ChatOpenAI(**common, max_retries=0)
    assert chat.invoke(turns).content.startswith(QUOTED)
    assert "".join(str(piece.content) for piece in chat.stream(turns)).startswith(QUOTED)
    assert chat.bind_tools([recorded.TOOL]).invoke(turns).content.startswith(QUOTED)
    by_responses = langchain.ChatOpenAI(**common, max_retries=0, use_responses_api=True)
    assert by_responses.invoke(turns).text.startswith(QUOTED)


def test_llm(stack: Stack, tmp_path: Path) -> None:
    pytest.importorskip("llm", reason="extra `clients` not installed")
    # without the name of a key `llm` sends none, whatever `--key` says
    models = (
        f"- model_id: ann\n  model_name: twin/ann\n  api_base: {stack.url}/v1\n"
        "  api_key_name: twin\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
    program = str(Path(sys.executable).parent / "llm")
    for more in ([], ["--no-stream"]):
        ended = subprocess.run(
            [program, "-m", "ann", "-s", "Be brief.", "--key", stack.key, QUESTION, *more],
            env=os.environ | {"LLM_USER_PATH": str(tmp_path), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stdout.startswith(QUOTED), ended.stderr[-1000:]


def test_litellm(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    asked: dict[str, Any] = {
        "model": "openai/twin/ann",
        "api_base": f"{stack.url}/v1",
        "api_key": stack.key,
        "messages": MESSAGES,
        "num_retries": 0,
    }
    whole: Any = litellm.completion(**asked, n=1, user="eve")
    assert whole.choices[0].message.content.startswith(QUOTED)
    stream: Any = litellm.completion(**asked, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.startswith(QUOTED)


@pytest.mark.parametrize(
    ("path", "body", "ignored"),
    [
        ("chat/completions", recorded.OPEN_WEBUI, ["reasoning", "system messages"]),
        (
            "chat/completions",
            recorded.LIBRECHAT,
            ["parallel_tool_calls", "system messages", "tools", "user"],
        ),
        ("chat/completions", recorded.LM_EVAL_CHAT, ["system messages"]),
        ("completions", recorded.LM_EVAL_COMPLETION, []),
    ],
    ids=["open-webui", "librechat", "lm_eval-chat", "lm_eval-completion"],
)
def test_what_programs_send_that_cannot_run_here(
    stack: Stack, path: str, body: dict[str, Any], ignored: list[str]
) -> None:
    answer = httpx.post(
        f"{stack.url}/v1/{path}",
        json=body,
        headers={"Authorization": f"Bearer {stack.key}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    lines = answer.text.split("\n") if body.get("stream") else ["data: " + answer.text]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    *_, twin = [piece["twin"] for piece in told if "twin" in piece]
    assert twin["ignored"] == ignored
    assert twin["sources"]
    assert any(piece.get("usage") for piece in told)


@pytest.mark.parametrize("task", recorded.OPEN_WEBUI_TASKS)
def test_what_a_program_asks_for_itself_is_no_readers_question(stack: Stack, task: str) -> None:
    answer = stack.post(recorded.OPEN_WEBUI_TASKS[task]).json()
    assert json.loads(answer["choices"][0]["message"]["content"]).keys() == {task}
    assert (answer["twin"]["front_desk"], answer["twin"]["route"]) == ("housekeeping", "front_desk")
    assert answer["twin"]["sources"] == []


def test_langchains_structured_output_by_a_forced_tool(stack: Stack) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="extra `clients` not installed")
    schema = {
        "title": "oiling",
        "type": "object",
        "properties": {"drops": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["drops"],
    }
    chat = langchain.ChatOpenAI(
        model="twin/ann", base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0
    )
    structured = chat.with_structured_output(schema, method="function_calling")
    assert 1 <= structured.invoke(QUESTION)["drops"] <= 9
    bound = chat.bind_tools([schema], tool_choice="oiling")
    pieces = [piece for piece in bound.stream(QUESTION) if piece.tool_call_chunks]
    assert json.loads("".join(p.tool_call_chunks[0]["args"] for p in pieces)).keys() == {"drops"}


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients for JavaScript; skips where node or the registry is missing."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: node and npm install the clients for JavaScript")
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "package.json").write_text('{"type": "module", "private": true}', encoding="utf-8")
    ended = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *JAVASCRIPT],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode:
        pytest.skip(f"no npm: it installs nothing here: {ended.stderr.strip()[-300:]}")
    shutil.copy(Path(__file__).with_name("clients.mjs"), folder)
    return folder


def test_the_clients_for_javascript(stack: Stack, javascript: Path) -> None:
    ended = subprocess.run(
        ["node", "clients.mjs"],
        cwd=javascript,
        env=os.environ
        | {
            "GATEWAY_URL": f"{stack.url}/v1",
            "GATEWAY_KEY": stack.key,
            "READERS_QUESTION": QUESTION,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    texts: dict[str, str] = {name: one["text"] for name, one in told.items() if "text" in one}
    assert len(texts) == 9
    assert [name for name, text in texts.items() if not text.startswith(QUOTED)] == []
    for name in ("chat", "stream", "response", "responseStream"):
        assert told[name]["twin"]["sources"][0]["document_id"] == "post-0"
    assert told["chat"]["id"] == told["chat"]["twin"]["trace_id"]
    assert told["responseStream"]["same"]
    assert told["previous"]["twin"]["ignored"] == []
    second = json.loads(told["secondTurn"]["sent"])
    assert "item_reference" in [item.get("type") for item in second["input"]], "its default"
    assert told["secondTurn"]["twin"]["ignored"] == []
    assert (told["model"]["id"], told["model"]["twin"]["version"]) == ("twin/ann", "base")
