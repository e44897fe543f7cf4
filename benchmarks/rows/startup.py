"""Rows about starting: what an import costs, how soon the first model call is made, how soon help is told."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.environments import OURS
from benchmarks.record import Figure
from benchmarks.rows.agents import COMPETITORS as AGENTS
from benchmarks.rows.agents import QUIET
from benchmarks.servers import health, load_server
from benchmarks.shape import ROOT, Competitor, Measure, Place, Row, Taken, child

IMPORTS = {
    "swarm": "import swarm; swarm.Swarm, swarm.RunConfig",
    "swarm-given": "import swarm; swarm.Swarm, swarm.RunConfig, swarm.Parts",
    "raw": "import asyncio, orjson, uvloop",
    "aiohttp": "import aiohttp, orjson",
    "openai-tuned": "import openai, uvloop; openai.AsyncOpenAI",
    "openai": "import openai; openai.AsyncOpenAI",
    "agent-framework": "from agent_framework import Agent; "
    "from agent_framework.openai import OpenAIChatCompletionClient",
    "autogen": "from autogen_agentchat.agents import AssistantAgent; "
    "from autogen_ext.models.openai import OpenAIChatCompletionClient",
    "langgraph": "from langchain.agents import create_agent; from langchain_openai import ChatOpenAI; "
    "from langgraph.graph import StateGraph",
    "openai-agents": "from agents import Agent, Runner",
    "smolagents": "from smolagents import OpenAIModel, ToolCallingAgent",
    "pydantic-ai": "from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel",
    "deepagents": "from deepagents import create_deep_agent; from langchain_openai import ChatOpenAI",
    "crewai": "from crewai import Agent, Crew, Task",
}
"""What a user of each must import before the first line of work."""
_TIMED = "import time\n{}\nprint(time.process_time())"
COMPETITORS = tuple(
    replace(each, environment=OURS) if each.kind == "ours" else each for each in AGENTS if each.name != "swarm-speed"
)
_HELP = (
    Competitor("swarm", "swarm --help", "ours", OURS),
    Competitor("python", "python3 -c pass", "floor"),
    Competitor("mini-swe-agent", "mini --help", "peer", "mini-swe-agent"),
    Competitor("crewai", "crewai --help", "peer", "crewai"),
)


@contextmanager
def _start(place: Place) -> Iterator[Measure]:
    """Each in a fresh process: CPU seconds of the interpreter and the import; wall seconds until an agent's answer."""
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env = {**clean, **QUIET, "PYTHONPATH": str(ROOT), "HOME": str(place.folder)}
    with load_server(0, 0.0) as url:

        def measure(competitor: Competitor, number: int) -> Taken:
            code = _TIMED.format(IMPORTS[competitor.name].replace("; ", "\n"))
            command = [str(place.python(competitor.environment)), "-c", code]
            done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=place.folder, timeout=120)
            if done.returncode:
                return Taken(failed=1, of=1, error=done.stderr.strip()[-200:])
            words = ("benchmarks.workers.agents", competitor.name, url, "1", "--first")
            if number == 1:  # what is compiled, or asked of an endpoint, once and for all
                child(place, competitor, words, env=QUIET)
            health(url)
            began = time.monotonic()
            first = child(place, competitor, words, env=QUIET)
            took = 1000 * (time.monotonic() - began)
            if first.failed:
                return Taken({}, first.failed, first.of, first.error)
            imported, called = json.loads(done.stdout.splitlines()[-1]), health(url)["first"] - began
            return Taken({"import_ms": 1000 * imported, "call_ms": 1000 * called, "first_ms": took}, 0, 1)

        yield measure


@contextmanager
def _help(place: Place) -> Iterator[Measure]:
    env = {**os.environ, **QUIET, "HOME": str(place.folder), "SWARM_HOME": str(place.folder)}
    env["MSWEA_GLOBAL_CONFIG_DIR"] = str(place.folder)
    env["MSWEA_CONFIGURED"] = "true"
    commands = {
        "swarm": ["-m", "swarm", "--help"],
        "python": ["-c", "pass"],
        "mini-swe-agent": ["-m", "minisweagent.run.mini", "--help"],
        "crewai": ["-m", "crewai_cli.cli", "--help"],
    }

    def measure(competitor: Competitor, number: int) -> Taken:
        ours = {"PYTHONPATH": str(ROOT)} if competitor.kind == "ours" else {}
        command = [str(place.python(competitor.environment)), *commands[competitor.name]]
        began = time.perf_counter()
        done = subprocess.run(command, env=env | ours, capture_output=True, text=True, cwd=place.folder, timeout=120)
        took = 1000 * (time.perf_counter() - began)
        if done.returncode or (competitor.kind != "floor" and "help" not in done.stdout):
            return Taken(failed=1, of=1, error=(done.stderr or done.stdout).strip()[-200:])
        return Taken({"wall_ms": took}, 0, 1)

    yield measure


STARTUP = Row(
    "startup",
    "Start-up: import, the first model call and the first answer of an agent in a fresh process",
    "In round 1 each has run once before. Import: CPU of interpreter and import. First model call: from the start of "
    "the process until the endpoint has the first request (in our whole run the planner's, in all others an agent's). "
    "First answer: until one agent has its answer from an endpoint without latency and the process has ended.",
    (
        Figure("import_ms", "import, CPU ms"),
        Figure("call_ms", "first model call, ms"),
        Figure("first_ms", "first answer, and the end, ms"),
    ),
    COMPETITORS,
    _start,
)
HELP = Row("help", "Help on the command line", "Wall time of the process.", (Figure("wall_ms", "ms"),), _HELP, _help, 7)
ROWS = (STARTUP, HELP)
