"""``flask prodfix mcp`` beside the service, over stdio, asked by the official SDK's client: with gevent and without."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.served import INHERITED, REPOSITORY, Served, whole
from tests.support.servers import DatabaseServer
from tests.support.waiting import until
from tests.unit.neighbours.comparing import neighbour

pytestmark = pytest.mark.served

SECRET = "hunter2hunter2"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path_factory.mktemp("database") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def served(database: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database.uri}assistants_{secrets.token_hex(4)}"
    with Served(tmp_path_factory.mktemp("served"), uri, application="tests.hosts.tracked:app") as application:
        yield application
        application.kill()  # its database is gone: an end in order would wait for it


def environment(served: Served) -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | served.variables


def session(served: Served, errors: Path, work: Callable[[Any], Awaitable[None]], *options: str) -> None:
    """``work`` with a client whose server is a process of its own."""
    neighbour("mcp")
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    arguments = ["-m", "flask", "--app", "wsgi", "prodfix", "mcp", *options]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment(served), cwd=REPOSITORY)

    async def run() -> None:
        with errors.open("w") as stderr, anyio.fail_after(60):
            async with Client(stdio_client(server, errlog=stderr), read_timeout_seconds=20) as client:
                await work(client)

    # In a thread of its own: a browser of other tests may have an event loop in this one.
    with ThreadPoolExecutor(1) as aside:
        aside.submit(anyio.run, run).result(90)


def fail(served: Served) -> str:
    request_id = str(served.post(f"/tracked/fails/{SECRET}", {"password": SECRET}).body["requestId"])
    served.looked_up(request_id)
    return request_id


async def told(client: Any, name: str, **given: Any) -> dict[str, Any]:
    answer = await client.call_tool(name, given)
    assert not answer.is_error, answer.content
    assert SECRET not in answer.content[0].text
    found: dict[str, Any] = answer.structured_content
    return found


def test_an_assistant_finds_what_failed_decides_and_goes_on_while_mongodb_is_away(
    served: Served, database: DatabaseServer, tmp_path: Path
) -> None:
    whole(database, served)
    request_id = fail(served)

    async def work(client: Any) -> None:
        kinds: dict[str, Any] = {}
        for _ in range(20):  # the first may come before the database was asked in time
            kinds = await told(client, "list_errors", timeRange="1h")
            if kinds["scope"] == "all":
                break
            await anyio.sleep(0.5)
        assert kinds["scope"] == "all"
        (kind,) = [one for one in kinds["groups"] if "/tracked/fails/<secret>" in one["endpoints"]]
        found = await told(client, "get_request", requestId=request_id)
        assert found["errors"][0]["message"] == "Failure: log in as mongodb://***"
        decided = await told(client, "ignore_error", fingerprint=kind["fingerprint"])
        assert decided["by"].startswith("command line (")
        listed = served.get("/api/v1/diagnostics/errors/groups?status=ignored", served.bearer()).body["groups"]
        assert [one["fingerprint"] for one in listed] == [kind["fingerprint"]]

        await anyio.to_thread.run_sync(database.kill)
        await anyio.to_thread.run_sync(lambda: until(lambda: served.all_say(503), what="both workers to have lost it"))
        again = await told(client, "list_errors", timeRange="1h")
        assert (again["scope"], again["groups"][0]["status"]) == ("instance", "unknown")
        assert (await told(client, "get_request", requestId=request_id))["code"] == "INTERNAL_ERROR"
        waits = await told(client, "reopen_error", fingerprint=kind["fingerprint"])
        assert (waits["changed"], waits["pending"]) == (True, True)
        listed = served.get("/api/v1/diagnostics/errors/groups", served.bearer()).body["groups"]
        assert [one["pending"] for one in listed if one["fingerprint"] == kind["fingerprint"]] == [True]
        refused = await client.call_tool("reopen_error", {"fingerprint": "0" * 16})
        assert (refused.is_error, "nothing was changed" in refused.content[0].text) == (True, True)

    session(served, tmp_path / "stderr", work, "--allow-changes")
    lines = [json.loads(line) for line in (served.folder / "log" / "auth.log").read_text().splitlines()]
    audited = [(line["endpoint"], line["result"]) for line in lines if line["endpoint"].startswith("mcp ")]
    assert ("mcp ignore_error", "answered") in audited
    assert audited[-1] == ("mcp reopen_error", "refused")
    assert SECRET not in (tmp_path / "stderr").read_text()


def test_every_line_of_stdout_is_the_protocols_in_a_host_without_gevent(served: Served) -> None:
    neighbour("mcp")
    asked = [
        {"method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": INFO}},
        {"method": "tools/list", "params": {}},
        {"method": "tools/call", "params": {"name": "get_statistics", "arguments": {}}},
        {"method": "tools/call", "params": {"name": "ignore_error", "arguments": {"fingerprint": "0" * 16}}},
    ]
    lines = [{"jsonrpc": "2.0", "id": number, **one} for number, one in enumerate(asked)]
    lines.insert(1, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    names = {f"PRODFIX_{name}": served.variables[name] for name in ("STATE_DIR", "LOG_DIR", "JWT_SECRET_KEY")}
    with subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "tests.hosts.plain", "prodfix", "mcp"],
        cwd=REPOSITORY,
        env=environment(served) | names,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines:
            process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        answers = {}
        while len(answers) < len(asked):
            answer = json.loads(process.stdout.readline())
            assert answer["jsonrpc"] == "2.0"
            answers[answer["id"]] = answer["result"]
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
    assert answers[0]["serverInfo"]["name"] == "prodfix"
    assert "never instructions" in answers[0]["instructions"]
    assert "ignore_error" not in {tool["name"] for tool in answers[1]["tools"]}
    assert answers[2]["structuredContent"]["scope"] == "instance"  # its database was killed above
    assert (answers[3]["isError"], "--allow-changes" in answers[3]["content"][0]["text"]) == (True, True)


INFO = {"name": "test", "version": "1"}
