"""What a user waits for: help and lists start without the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "openai",
    "langgraph",
    "langchain_core",
    "docker",
    "httpx",
    "httpx2",
    "genai_prices",
    "tiktoken",
    "jsonschema",
    "starlette",
    "uvicorn",
    "pydantic",
    "rich",
    "requests",
}


def imported_by(arguments: list[str], home: Path) -> set[str]:
    """Top-level modules that `swarm ARGUMENTS` loads, as the interpreter itself reports them."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "SWARM_HOME": str(home)}
    command = [sys.executable, "-X", "importtime", "-m", "swarm", *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]], ids=" ".join)
def test_help_is_light(arguments: list[str], tmp_path: Path) -> None:
    loaded = imported_by(arguments, tmp_path)
    assert "swarm" in loaded
    assert not loaded & HEAVY


def test_a_command_loads_no_other(tmp_path: Path) -> None:
    code = "import sys; from swarm.cli.main import main; main(['gc', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert "swarm.cli.gc" in loaded
    assert not loaded & {f"swarm.cli.{name}" for name in ("run", "doctor", "image", "completion")}


def test_what_a_command_leaves_behind_is_not_gone_through_at_its_end(tmp_path: Path) -> None:
    code = (
        "import gc, sys; from swarm.cli.main import command; sys.argv = ['swarm', 'runs', '--json']\n"
        "before = gc.get_freeze_count(); done = command(); print(done, before, gc.get_freeze_count())"
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SWARM_HOME": str(tmp_path)}
    root = Path(__file__).parents[2]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True).stdout
    done, before, frozen = map(int, told.split())
    assert (done, before) == (0, 0)
    assert frozen > 5000


def test_listing_runs_needs_no_model_library(tmp_path: Path) -> None:
    loaded = imported_by(["runs"], tmp_path)
    assert not loaded & {"openai", "langgraph", "langchain_core", "docker", "httpx", "httpx2", "starlette", "uvicorn"}


def modules_of(code: str, home: Path) -> set[str]:
    """All that is loaded when a program, which prints no line of its own, has come to its end."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "SWARM_HOME": str(home)}
    code += "\nimport sys\nprint(*sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


def test_what_a_program_imports_is_little(tmp_path: Path) -> None:
    loaded = modules_of("from swarm import Parts, RunConfig, Swarm\nSwarm(config=RunConfig())", tmp_path)
    assert {"swarm.runtime", "swarm.parts", "pydantic"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY - {"pydantic"})
    ours = sorted(name for name in loaded if name.startswith("swarm."))
    assert len(ours) <= 20, ours


def test_the_class_of_an_error_needs_next_to_nothing(tmp_path: Path) -> None:
    loaded = modules_of("from swarm import SwarmError", tmp_path)
    assert not loaded & {"pydantic", "anyio", "asyncio"}


FIRST_ANSWER = """
import asyncio, json, os, sys
from swarm import RunConfig, Swarm

loaded = []

async def answer(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    lines = head.lower().split(b"\\r\\n")
    size = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    if b"What is it?" in await reader.readexactly(size):
        loaded.append(set(sys.modules))
    message = {"role": "assistant", "content": "It is 42." if MODE == "single" else "no plan"}
    body = json.dumps({"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    head = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\nconnection: close\\r\\n"
    writer.write(head + b"content-length: %d\\r\\n\\r\\n" % len(body) + body)
    await writer.drain()
    writer.close()

async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        known = {"tools": True, "parallel_tools": True, "structured": "json_schema", "stream_usage": True}
        config = RunConfig(model="m", base_url=url, mode=MODE, sandbox="process", stream=False, capabilities=known)
        async with Swarm(config=config) as swarm:
            result = await swarm.run("What is it?")
        assert result.answer == "It is 42." or MODE == "plan", result
        assert "langgraph.graph.state" in sys.modules, "the loop was gone through"

asyncio.run(main())
"""
AT_THE_FIRST_CALL = (
    """
import swarm.session

async def nothing():
    pass

swarm.session.look_ahead = nothing  # which loads while the model thinks: how much, nobody knows
"""
    + FIRST_ANSWER
    + """
print(*loaded[0], flush=True)
os._exit(0)
"""
)


def test_a_first_answer_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """What an agent needs for one answer: the endpoint's client and LangGraph, each without what else it brings."""
    loaded = modules_of("MODE = 'single'\n" + FIRST_ANSWER, tmp_path)
    assert {"openai", "langgraph.graph.state", "langsmith.run_trees", "swarm.graph"} <= loaded
    asides = {"langgraph_sdk.client", "langsmith.types.run", "openai.types.responses.response", "openai.types.beta"}
    asides |= {"openai.types.chat.chat_completion", "swarm.merging.queue", "swarm.gating.gate"}
    asides |= {"swarm.sandboxes.docker.backend", "swarm.sandboxes.git.repository", "swarm.models.router", "swarm.teams"}
    asides |= {"swarm.orchestrators.parl", "swarm.documents.audit"}
    assert not loaded & asides
    unused = HEAVY - {"openai", "langgraph", "langchain_core", "httpx2", "pydantic", "requests"}
    unused |= {"click", "websockets", "pygments", "pyarrow", "uvloop", "xml.etree.ElementTree"}
    assert not {name.partition(".")[0] for name in loaded} & unused
    assert len(loaded) < 1250, len(loaded)


@pytest.mark.parametrize(("mode", "most"), [("plan", 800), ("single", 850)])
def test_a_model_is_asked_before_the_graph_is_loaded(mode: str, most: int, tmp_path: Path) -> None:
    """That is done while it thinks, whoever it is that asks first: a planner or an agent."""
    loaded = modules_of(f"MODE = {mode!r}\n{AT_THE_FIRST_CALL}", tmp_path)
    assert {"openai", "swarm.loop", f"swarm.orchestrators.{mode}"} <= loaded
    assert not loaded & {"swarm.graph", "langgraph.graph", "langsmith", "langchain_core", "requests"}
    assert len(loaded) < most, len(loaded)


def test_no_check_of_a_record_is_made_before_it_is_wanted(tmp_path: Path) -> None:
    code = (
        "from swarm import events, RunConfig\n"
        "kinds = [getattr(events, name) for name in events.__all__]\n"
        "kinds = [kind for kind in kinds if isinstance(kind, type)]\n"
        "made = [kind.__name__ for kind in kinds if kind.__pydantic_complete__]\n"
        "assert len(kinds) > 30 and not made and not events.ANY_EVENT.pydantic_complete, (len(kinds), made)\n"
        'line = b\'{"type": "notice", "message": "hello"}\'\n'
        "assert events.ANY_EVENT.validate_json(line).message == 'hello'\n"
        "assert b'hello' in events.Notice(message='hello').model_dump_json().encode()\n"
    )
    assert "swarm.events" in modules_of(code, tmp_path)
