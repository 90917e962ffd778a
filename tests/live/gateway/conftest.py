"""Fixtures of the gateway tests, which share one stack because LiteLLM takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.gateway.stack import Stack, embed_passages, new_stack
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from tests.prepared_embedder import prepare_weights
from twin_resources.models.serving.model_server import ServerProcess


@pytest.fixture(scope="session")
def gateway_weights() -> Path:
    return prepare_weights()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a fast model that answers nonsense with the embedded base model's tokens."""
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_gguf(folder / "tiny.gguf", tokenizer_from=base_gguf())


@pytest.fixture(scope="session")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    """Run the base model, two versions of Ann, one of Bob, and traces, with providers' keys set."""
    provider_keys = {
        "OPENAI_API_KEY": "sk-found-by-chance",
        "ANTHROPIC_API_KEY": "sk-ant-found-by-chance",
    }
    folder = tmp_path_factory.mktemp("gateway")
    with new_stack(folder, gateway_weights, tiny_gguf, environ=provider_keys) as stack:
        embed_passages(stack.settings, "ann")
        stack.start("base", "ann/v1", "ann/v2", "bob/v1")
        yield stack


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """Return the running stack with nothing released and killed servers restarted."""
    for name in running_stack.servers.keys() - running_stack.models.keys():
        running_stack.unlist(name)
        running_stack.start_model(name)
    running_stack.reset()
    return running_stack


@pytest.fixture(scope="session")
def base_server(running_stack: Stack) -> Iterator[ServerProcess]:
    """Run the real base model's server, which the gateway does not use yet."""
    process = ServerProcess(running_stack.settings, base_gguf(), alias="base")
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture
def base_stack(stack: Stack, base_server: ServerProcess) -> Iterator[Stack]:
    """Yield the stack with the real base model instead of the tiny one."""
    try:
        stack.serve_base_with(base_server)
        yield stack
    finally:
        stack.serve_base_with(stack.models["base"])
