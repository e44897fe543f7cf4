"""What a model call and a live sub-agent cost: CPU, memory and time of so many agents at once; ours and its peers.

    python benchmarks/overhead.py [--agents 100 1000 10000] [--rounds 3] [--peers] [--quick] [--json FILE]

Every agent uses a tool three times, then answers; an endpoint of its own process answers after 50 ms. Each measurement
is a process of its own, all in turn, `rounds` times: medians (and the least and most) of its CPU milliseconds by model
call, of the wall clock, and of the growth of its memory at the peak by agent. Rows: a whole run of swarm (planner,
scheduler, governor, journal on disk, aggregator: all of it is counted, a call is one of an agent); the same over
`swarm.testing.FakeBackend`, in which no sandbox can be opened at all; the `openai` package with a loop of ten lines;
and frameworks, each from PyPI in a virtual environment under the cache folder, made with `--peers`. They are measured
up to `--peers-most` agents. Last: 300 agents that make more than 4,000 steps together.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import machine, save

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swarm-benchmarks"
LATENCY_S = 0.05
TURNS = 3
PEERS = {
    "langgraph": ["langgraph", "langchain", "langchain-openai"],
    "openai-agents": ["openai-agents"],
    "pydantic-ai": ["pydantic-ai-slim[openai]"],
    "agent-framework": ["agent-framework-openai"],
    "autogen": ["autogen-agentchat", "autogen-ext[openai]"],
}
NAMES = {
    "swarm": "swarm, a whole run",
    "swarm-fake": "swarm over FakeBackend",
    "openai": "AsyncOpenAI and a loop",
    "langgraph": "LangGraph, Send to create_agent",
    "openai-agents": "OpenAI Agents SDK, tracing off",
    "pydantic-ai": "pydantic-ai",
    "agent-framework": "Microsoft Agent Framework",
    "autogen": "AutoGen",
}


@contextmanager
def endpoint(turns: int) -> Iterator[str]:
    command = [sys.executable, str(HERE / "load_server.py"), "--turns", str(turns), "--latency", str(LATENCY_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def measured(name: str, url: str, agents: int, timeout: float) -> dict[str, Any]:
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory() as home:
        env |= {"PYTHONPATH": str(HERE.parent), "SWARM_HOME": home}
        command = [str(_python(name)), str(HERE / "overhead_worker.py"), name, url, str(agents)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {timeout:.0f} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][-160:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _python(name: str) -> Path:
    return CACHE / name / "bin/python" if name in PEERS else Path(sys.executable)


def _health(url: str) -> dict[str, float]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url.removesuffix("/v1") + "/health", timeout=30) as answer:
        told: dict[str, float] = json.load(answer)
    return told


def table(names: list[str], agents: int, turns: int, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with endpoint(turns) as url:
        for _ in range(options.rounds):
            for name in names:
                found[name].append(measured(name, url, agents, options.timeout))
        server = _health(url)
    calls = agents * (turns + 1)
    print(f"\n{agents} agents x {turns + 1} calls, {machine()}; ideal {LATENCY_S * (turns + 1):.2f} s")
    print(f"{'way':34} {'CPU ms/call':>22} {'calls/s':>8} {'wall s':>8} {'kB/agent':>9} {'failed':>7}")
    for name, runs in found.items():
        good = [run for run in runs if "cpu_s" in run]
        if not good:
            print(f"{NAMES[name]:34} {runs[0]['error']}")
            continue
        cpu = [1000 * run["cpu_s"] / calls for run in good]
        wall, memory = (statistics.median(run[key] for run in good) for key in ("wall_s", "kb_per_agent"))
        spread = f"{statistics.median(cpu):.2f} ({min(cpu):.2f}-{max(cpu):.2f})"
        failed = max(run["failed"] for run in good)
        print(f"{NAMES[name]:34} {spread:>22} {calls / wall:8.0f} {wall:8.1f} {memory:9.0f} {failed:7}")
        for key, text in (("peak_agents", "most agents at once"), ("steps", "steps"), ("journal_mb", "MB of journal")):
            if name == "swarm" and key in good[0]:
                print(f"{'':34}   {statistics.median(run[key] for run in good):.6g} {text}")
    print(f"{'the endpoint':34} {1000 * server['cpu_s'] / server['calls']:22.2f}", flush=True)
    return found


def install() -> None:
    """Virtual environments of the peers, from the package index that pip is set up for."""
    for name, packages in PEERS.items():
        folder = CACHE / name
        if not (folder / "installed").exists():
            print(f"installing {name} into {folder}", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([str(_python(name)), "-m", "pip", "install", "-q", *packages], check=True)
            (folder / "installed").touch()


def main(options: argparse.Namespace) -> None:
    if options.peers:
        install()
    there = [name for name in NAMES if name not in PEERS or (CACHE / name / "installed").exists()]
    names = [name for name in there if not options.only or name in options.only]
    found = {}
    for agents in options.agents:
        ways = names if agents <= options.peers_most else [name for name in names if name.startswith("swarm")]
        found[f"{agents} agents"] = table(ways, agents, TURNS, options)
    if not options.quick:
        found["4,000 steps"] = table([name for name in names if name == "swarm"], 300, 13, options)
    save(options.json, latency_s=LATENCY_S, found=found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="make the virtual environments of the peers first")
    parser.add_argument("--peers-most", type=int, default=1000, help="agents up to which peers are measured")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), help="these ways alone")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one measurement")
    parser.add_argument("--quick", action="store_true", help="20 agents, once: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.agents, chosen.rounds = [20], 1
    main(chosen)
