"""Endpoints for the measurements, each in a process of its own and cheap enough never to be the bottleneck."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def load_server(turns: int, latency: float) -> Iterator[str]:
    """The base URL of an endpoint with which every agent uses a tool `turns` times, then answers."""
    command = [sys.executable, "-m", "benchmarks.servers.load", "--turns", str(turns), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def health(url: str) -> dict[str, float]:
    """What the endpoint counts itself: `calls`, `agents` (calls of agents), `peak`, `cpu_s`, and by `time.monotonic`
    when the `first` call came since the last such question."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url.removesuffix("/v1") + "/health", timeout=30) as answer:
        told: dict[str, float] = json.load(answer)
    return told
