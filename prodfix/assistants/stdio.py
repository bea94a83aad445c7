"""The Model Context Protocol over stdin and stdout, by its official SDK. Nothing else of this process writes to stdout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import Any

import anyio
import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from prodfix.assistants.assistant_calls import AssistantCalls, input_schema, output_schema
from prodfix.assistants.tools import UNTRUSTED, AssistantTool, ToolRefused
from prodfix.process.native import under_gevent

INSTRUCTIONS = (
    "What a Flask service on MongoDB has recorded of its errors, requests, queries and incidents. Begin with list_errors, or "
    "with get_request if you have the ID of a request. `scope` is `instance` while MongoDB cannot be asked. "
    + UNTRUSTED
)


def serve(calls: AssistantCalls) -> None:
    """Until stdin ends. Calls are answered one after the other."""
    server = made(calls)

    async def run() -> None:
        with _wire() as (read, write):
            async with stdio_server(anyio.wrap_file(read), anyio.wrap_file(write)) as (messages, answers):
                await server.run(messages, answers, server.create_initialization_options())

    anyio.run(run)


def made(calls: AssistantCalls) -> Server[Any]:
    """The server itself, without a transport."""

    async def list_tools(context: Any, parameters: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in calls.tools])

    async def call_tool(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
        return _called(calls, parameters.name, parameters.arguments or {})

    return Server(
        "prodfix",
        version=_version(),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _version() -> str:
    try:
        return version("prodfix")
    except PackageNotFoundError:  # its sources, which nobody has installed
        return "0"


def _described(tool: AssistantTool) -> types.Tool:
    hints = types.ToolAnnotations(
        title=tool.title,
        read_only_hint=not tool.changes,
        destructive_hint=tool.changes,  # what was decided or noted before is replaced
        idempotent_hint=True,
        open_world_hint=False,
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=input_schema(tool),
        output_schema=output_schema(tool),
        annotations=hints,
    )


def _called(calls: AssistantCalls, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    try:
        answer = calls.call(name, arguments)
    except ToolRefused as refusal:
        return types.CallToolResult(content=[types.TextContent(text=str(refusal))], is_error=True)
    text = orjson.dumps(answer, default=str).decode()
    # The same as text, for clients that know no structured content.
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=orjson.loads(text))


@contextmanager
def _wire() -> Iterator[tuple[Any, Any]]:
    """stdin and stdout for the protocol alone: what is printed meanwhile goes to stderr, and whoever reads finds nothing."""
    read, write = os.dup(0), os.dup(1)
    try:
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        yield _reader(read), TextIOWrapper(os.fdopen(write, "wb", closefd=False), encoding="utf-8")
    finally:
        os.dup2(read, 0)
        os.dup2(write, 1)


def _reader(descriptor: int) -> Any:
    """Lines of text. Under gevent the SDK's threads are greenlets, and a read would hold up all of them: there it is a native
    thread that waits."""
    if under_gevent():
        from gevent.fileobject import FileObjectThread

        return FileObjectThread(descriptor, "r", encoding="utf-8", errors="replace", closefd=False)
    return TextIOWrapper(os.fdopen(descriptor, "rb", closefd=False), encoding="utf-8", errors="replace")
