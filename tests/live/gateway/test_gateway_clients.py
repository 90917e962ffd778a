"""Test common clients against a running gateway.

These are the official clients for Python and JavaScript, the AI SDK, LangChain, `llm`, LiteLLM, and
the requests of lm_eval. Each answer must start with the author's sentence, which shows that
retrieval and quoting ran. `test_gateway_sessions.py` tests the requests of chat programs.
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

from tests.live.gateway.recorded_sessions import OIL as QUESTION
from tests.live.gateway.recorded_sessions import TOOL
from tests.live.gateway.stack import PASSAGES, Stack
from twin_resources.access import keys
from twin_resources.observability.langfuse.client import LangfuseClient

pytestmark = pytest.mark.live
QUOTATION = f"> {PASSAGES[0][1]}"
MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": QUESTION},
]
JAVASCRIPT_PACKAGES = (
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
        tools=[TOOL],  # pyright: ignore[reportArgumentType]
        tool_choice="auto",
        parallel_tool_calls=True,
    )
    assert str(answer.choices[0].message.content).startswith(QUOTATION)
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
def test_the_responses_api_is_quoted_traced_and_priced(stack: Stack, *, stream: bool) -> None:
    request: dict[str, Any] = {
        "model": "twin/ann@voice",
        "input": QUESTION,
        "instructions": "Be brief.",
        # With a limit of the client's, a stream holds back no repetition of the tiny model.
        "max_output_tokens": 24,
    }
    client = stack.client()
    if stream:
        with client.responses.stream(**request) as events:
            documents: list[Any] = list(events)
        event_types = [event.type for event in documents]
        # `get_final_response()` fails if the token limit ended the answer.
        answer = documents[-1].response
        assert event_types[0] == "response.created"
        assert event_types[-1] in {"response.completed", "response.incomplete"}
        assert event_types.count("response.output_text.delta") > 2
    else:
        answer = client.responses.create(**request)
    assert answer.output_text.startswith(QUOTATION)
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
def test_the_completions_api_is_quoted_and_traced(stack: Stack, *, stream: bool) -> None:
    answer: Any = stack.client().completions.create(
        model="twin/ann", prompt=QUESTION, stream=stream
    )
    chunks = list(answer) if stream else [answer]
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text.startswith(QUOTATION)
    *_, twin = [chunk.model_extra["twin"] for chunk in chunks if "twin" in chunk.model_extra]
    assert twin["quotes"][0]["document_id"] == "post-0"
    assert stack.trace(twin["trace_id"])


def test_readers_of_a_site_are_distinguished(stack: Stack) -> None:
    store = keys.open_key_store(stack.settings)
    site_key = keys.add_key(store, role="site", authors=["ann"], label="a site")
    reader_ids: dict[str, str] = {}
    for reader in ("eve", "bob"):
        body = {"model": "twin/ann", "messages": MESSAGES, "user": reader}
        twin = stack.post(body, key=site_key).json()["twin"]
        assert twin["ignored"] == ["system messages"]
        feedback = httpx.post(
            f"{stack.url}/twin/feedback",
            json={"trace_id": twin["trace_id"], "thumb": "up", "user": reader},
            headers={"Authorization": f"Bearer {site_key}"},
            trust_env=False,
        ).json()
        stack.trace(twin["trace_id"])
        with LangfuseClient.from_settings(stack.settings) as client:
            (span,) = client.observations(trace_id=twin["trace_id"])
        reader_ids[reader] = span["metadata"]["twin.reader"]
        assert feedback["reader"] == reader_ids[reader]
    assert len(set(reader_ids.values())) == 2
    assert not {"eve", "bob", keys.reader_id_for_key(site_key)} & set(reader_ids.values())


def test_langchain_receives_quotations(stack: Stack) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="extra `clients` not installed")
    common = {"model": "twin/ann", "base_url": f"{stack.url}/v1", "api_key": stack.key}
    turns = [("system", "Be brief."), ("human", QUESTION)]
    chat = langchain.ChatOpenAI(**common, max_retries=0)
    assert chat.invoke(turns).content.startswith(QUOTATION)
    assert "".join(str(chunk.content) for chunk in chat.stream(turns)).startswith(QUOTATION)
    assert chat.bind_tools([TOOL]).invoke(turns).content.startswith(QUOTATION)
    responses_chat = langchain.ChatOpenAI(**common, max_retries=0, use_responses_api=True)
    assert responses_chat.invoke(turns).text.startswith(QUOTATION)


def test_llm_receives_quotations(stack: Stack, tmp_path: Path) -> None:
    pytest.importorskip("llm", reason="extra `clients` not installed")
    # Without `api_key_name`, `llm` ignores `--key`.
    models = (
        f"- model_id: ann\n  model_name: twin/ann\n  api_base: {stack.url}/v1\n"
        "  api_key_name: twin\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
    program = str(Path(sys.executable).parent / "llm")
    for options in ([], ["--no-stream"]):
        completed = subprocess.run(
            [program, "-m", "ann", "-s", "Be brief.", "--key", stack.key, QUESTION, *options],
            env=os.environ | {"LLM_USER_PATH": str(tmp_path), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert completed.stdout.startswith(QUOTATION), completed.stderr[-1000:]


def test_litellm_receives_quotations(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    request: dict[str, Any] = {
        "model": "openai/twin/ann",
        "api_base": f"{stack.url}/v1",
        "api_key": stack.key,
        "messages": MESSAGES,
        "num_retries": 0,
    }
    complete: Any = litellm.completion(**request, n=1, user="eve")
    assert complete.choices[0].message.content.startswith(QUOTATION)
    stream: Any = litellm.completion(**request, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.startswith(QUOTATION)


@pytest.mark.parametrize(
    ("path", "question", "ignored"),
    [
        ("chat/completions", {"messages": [MESSAGES[0], MESSAGES[1] | {"type": "text"}]},
         ["system messages"]),
        ("completions", {"prompt": [QUESTION]}, []),
    ],
    ids=["local-chat-completions", "local-completions"],
)  # fmt: skip
def test_requests_of_lm_eval_are_answered(
    stack: Stack, path: str, question: dict[str, Any], ignored: list[str]
) -> None:
    """The bodies are those of lm_eval/models/openai_completions.py, 0.4.9."""
    body = {"model": "twin/ann", "max_tokens": 16, "temperature": 0, "stop": ["\n\n\n\n"]}
    answer = stack.post(body | question | {"seed": 1234}, path=path)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["twin"]["ignored"] == ignored
    assert document["twin"]["sources"]
    assert document["usage"]


def test_langchains_structured_output_matches_its_schema(stack: Stack) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="extra `clients` not installed")
    schema = {
        "title": "oiling",
        "type": "object",
        "properties": {"drops": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["drops"],
    }
    chat = langchain.ChatOpenAI(
        model="twin/ann", base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0,
        max_tokens=120,  # the tiny model writes blanks between the tokens of a document
    )  # fmt: skip
    structured = chat.with_structured_output(schema, method="json_schema")
    assert 1 <= structured.invoke(QUESTION)["drops"] <= 9


@pytest.fixture(scope="session")
def javascript_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the JavaScript clients into a folder; skip the test without npm or its registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: node and npm install the clients for JavaScript")
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "package.json").write_text('{"type": "module", "private": true}', encoding="utf-8")
    completed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *JAVASCRIPT_PACKAGES],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if completed.returncode:
        pytest.skip(f"no npm: it installs nothing here: {completed.stderr.strip()[-300:]}")
    shutil.copy(Path(__file__).with_name("clients.mjs"), folder)
    return folder


def test_the_javascript_clients_receive_quotations(stack: Stack, javascript_folder: Path) -> None:
    completed = subprocess.run(
        ["node", "clients.mjs"],
        cwd=javascript_folder,
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
    assert completed.returncode == 0, completed.stderr[-2000:]
    documents = json.loads(completed.stdout.splitlines()[-1])
    texts: dict[str, str] = {
        name: document["text"] for name, document in documents.items() if "text" in document
    }
    assert len(texts) == 9
    assert [name for name, text in texts.items() if not text.startswith(QUOTATION)] == []
    for name in ("chat", "stream", "response", "responseStream"):
        assert documents[name]["twin"]["sources"][0]["document_id"] == "post-0"
    assert documents["chat"]["id"] == documents["chat"]["twin"]["trace_id"]
    assert documents["responseStream"]["same"]
    assert documents["previous"]["twin"]["ignored"] == []
    second = json.loads(documents["secondTurn"]["sent"])
    assert "item_reference" in [item.get("type") for item in second["input"]], (
        "the default of the AI SDK"
    )
    assert documents["secondTurn"]["twin"]["ignored"] == []
    assert (documents["model"]["id"], documents["model"]["twin"]["version"]) == ("twin/ann", "base")
