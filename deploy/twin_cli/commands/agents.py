"""Run `twin mcp`: pass an agent's messages from standard input to the gateway's `POST /mcp`.

The gateway has the tools, so both transports give the same answers. Each message has its own
connection, so a restarted gateway does not end the agent's session.
Protocol: https://modelcontextprotocol.io/specification
"""
# pyright: strict

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twin_resources.processes.endpoints import find_gateway
from twin_resources.settings import Settings
from twin_resources.wait_limits import MAX_WORKING_S

if TYPE_CHECKING:
    from mcp.client import Client

SERVER_NAME = "llm-twin"


def run_mcp(settings: Settings) -> int:
    """Serve MCP on standard input and output until the input ends; return the exit code.

    Raises:
        TwinError: no stack is running.
    """
    import anyio

    find_gateway(settings)
    anyio.run(_serve, settings)
    return 0


async def _serve(settings: Settings) -> None:
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp.types import CallToolResult, ListToolsResult

    async def list_tools(_context: Any, _parameters: Any) -> ListToolsResult:
        async with _connect(settings) as client:
            return await client.list_tools()

    async def call_tool(_context: Any, parameters: Any) -> CallToolResult:
        async with _connect(settings) as client:
            return await client.call_tool(parameters.name, parameters.arguments)

    server = Server(SERVER_NAME, on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


@asynccontextmanager
async def _connect(settings: Settings) -> AsyncGenerator[Client]:
    """Connect to the gateway that runs now.

    Raises:
        MCPError: the gateway is stopped or refuses the key; the message says so.
    """
    import httpx2
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.exceptions import MCPError
    from mcp.types import INTERNAL_ERROR

    from twin_resources.errors import TwinError

    try:
        url, key = find_gateway(settings)
    except TwinError as error:
        raise MCPError(INTERNAL_ERROR, str(error)) from error
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with httpx2.AsyncClient(
            headers=headers, timeout=MAX_WORKING_S, trust_env=False
        ) as http_client:
            address = f"{url.removesuffix('/v1')}/mcp"
            transport = streamable_http_client(address, http_client=http_client)
            async with Client(transport) as client:
                yield client
    except BaseExceptionGroup as group:  # the client's task groups wrap every error
        error: Any = group
        while isinstance(error, BaseExceptionGroup):
            error = cast(Any, error).exceptions[0]
        if isinstance(error, MCPError):
            raise error from group
        if isinstance(error, httpx2.TransportError):
            sentence = "the gateway does not respond; see `twin status`, or start it: `twin up`"
            raise MCPError(INTERNAL_ERROR, sentence) from group
        raise


def format_agent_lines(home: Path) -> str:
    """Return what Claude Code, VS Code, Claude Desktop and Cursor take to start `twin mcp`."""
    program = str(Path(sys.executable).with_name("twin"))
    server = {"command": program, "args": ["mcp", "--home", str(home.resolve())]}
    command = shlex.join([program, *server["args"]])
    named_server = shlex.quote(json.dumps({"name": SERVER_NAME, **server}))
    return "\n".join(
        [
            "an agent asks the twin with (MCP):",
            f"  Claude Code: claude mcp add {SERVER_NAME} -- {command}",
            f"  VS Code: code --add-mcp {named_server}",
            "  Claude Desktop, Cursor: in claude_desktop_config.json, ~/.cursor/mcp.json: "
            + json.dumps({"mcpServers": {SERVER_NAME: server}}),
        ]
    )
