"""What one model call costs on the client's side: ours, the `openai` package by itself, aiohttp, a bare socket.

    python -m benchmarks.studies.model_client [--agents 10 100 1000] [--rounds 5] [--peers]

Agents make five tool calls and give an answer, at once, against canned answers of a server in its own process. Each
competitor runs in a process of its own, all in turn, `rounds` times: medians of CPU milliseconds and calls per second
(with the smallest and the largest), and Python calls per model call at 10 agents, counted by the interpreter.
`--peers` makes a virtual environment for aiohttp and orjson; without one its row is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.environments import make

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".cache/bench/floors/bin/python"

NAMES = {
    "governed": "ours: conversation, governor, journal",
    "ours": "ours: the client alone",
    "tuned": "AsyncOpenAI, post of JSON bytes",
    "documented": "AsyncOpenAI as documented",
    "aiohttp": "aiohttp + orjson",
    "raw": "asyncio protocol, canned request (a bound)",
}


class ChildFailed(Exception):
    """A competitor did not come to its end."""


def main(agents: list[int], rounds: int) -> None:
    server = subprocess.Popen([sys.executable, str(HERE / "canned_server.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        print(
            f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {rounds} rounds, Python {sys.version.split()[0]}"
        )
        names = [name for name in NAMES if name != "aiohttp" or PEERS.exists()]
        counts = {name: _child(name, url, "count", 10)["python_calls"] for name in names}
        for size in agents:
            _table(names, url, size, rounds, counts)
        _turns(url, rounds)
        _streams(url, rounds)
    finally:
        server.kill()
        server.wait()


def _table(names: list[str], url: str, agents: int, rounds: int, counts: dict[str, float]) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            try:
                found[name].append(_child(name, url, "time", agents))
            except ChildFailed as failed:
                found[name] = []
                print(f"{NAMES[name]}: calls failed: {failed}")
    print(f"\n{agents} agents x 6 calls")
    print(f"{'client':44} {'CPU ms/call':>24} {'calls/s':>9} {'Python calls':>13}")
    for name, runs in found.items():
        if not runs:
            print(f"{NAMES[name]:44} {'calls failed':>24}")
            continue
        cpu = [run["cpu_ms"] for run in runs]
        rate = statistics.median(run["rate"] for run in runs)
        spread = f"{statistics.median(cpu):.3f} ({min(cpu):.3f}-{max(cpu):.3f})"
        print(f"{NAMES[name]:44} {spread:>24} {rate:9.0f} {counts[name]:13.0f}")


def _turns(url: str, rounds: int) -> None:
    print(f"\n{'one trajectory of 200 turns':44} {'ms at turn 5':>13} {'at turn 200':>13} {'ratio':>7}")
    for name in ("governed", "ours", "tuned"):
        runs = [_child(name, url, "turns", 8) for _ in range(rounds)]
        early, late = (statistics.median(run[key] for run in runs) for key in ("early", "late"))
        print(f"{NAMES[name]:44} {early:13.3f} {late:13.3f} {late / early:7.2f}")


def _streams(url: str, rounds: int) -> None:
    print(f"\n{'streams of 500 events, 20 at once':44} {'ms/event':>13} {'one by one':>13}")
    for name in ("ours", "documented"):
        runs = [_child(name, url, "stream", 20) for _ in range(rounds)]
        burst, paced = (statistics.median(run[key] for run in runs) for key in ("burst", "paced"))
        print(f"{NAMES[name]:44} {burst:13.4f} {paced:13.4f}")


def _child(name: str, url: str, what: str, agents: int) -> dict[str, Any]:
    python = str(PEERS) if name == "aiohttp" else sys.executable
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env["PYTHONPATH"] = str(HERE.parents[1])
    command = [python, str(HERE / "model_client_worker.py"), name, url, what, str(agents)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
    if done.returncode:
        lines = [line.strip(" |+") for line in done.stderr.splitlines()]
        raise ChildFailed(
            next((line for line in lines if "Error: " in line or "timed out" in line), done.stderr[-300:])
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="make the virtual environment of the peers first")
    options = parser.parse_args()
    if options.peers:
        make(PEERS.parents[2], "floors")
    main(options.agents, options.rounds)
