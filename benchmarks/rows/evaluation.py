"""The row about evaluations: what the harness itself costs for each instance."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.record import Figure
from benchmarks.shape import ROOT, Competitor, Measure, Place, Row, Taken, child
from benchmarks.workers.evaluation import PEER, repository, script


@contextmanager
def _endpoint(policy: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "swarm", "endpoint", "--port", "0", "--policy", f"script:{policy}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.kill()


@contextmanager
def _open(place: Place) -> Iterator[Measure]:
    sizes = ("2", "4") if place.quick else ("4", "24")
    folder = place.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    repo = repository(folder)
    with _endpoint(script(folder)) as url:
        told = json.dumps({"url": url, "repo": str(repo), "environment": str(place.cache / PEER)})

        def measure(competitor: Competitor, number: int) -> Taken:
            # It is mini-swe-agent's command that runs in its environment: what counts its time runs in ours.
            ours = Competitor(competitor.name, competitor.title, competitor.kind)
            words = ("benchmarks.workers.evaluation", competitor.name, "bubblewrap", told, *sizes)
            return child(place, ours, words)

        yield measure


def _bwrap(place: Place) -> str:
    return "" if shutil.which("bwrap") else "bubblewrap is not installed"


ROWS = (
    Row(
        "evaluation",
        "An evaluation's own cost for each instance: bubblewrap, a scripted model, seven or eight calls",
        "The same repository, the same scripted model in its own process, the same six commands and a submission; 4 "
        "and 24 instances, the difference by instance. CPU counts all that was started. `start`: imports and the like. "
        "Ours on the event loop that `swarm[speed]` brings. Much of it is the disk: both make hundreds of files.",
        (
            Figure("cpu_ms", "CPU ms / instance"),
            Figure("wall_ms", "wall ms / instance"),
            Figure("start_s", "start, CPU s"),
        ),
        (
            Competitor("swarm", "swarm eval", "ours", missing=_bwrap),
            Competitor(PEER, "mini-swe-agent (mini-extra swebench)", "peer", PEER, _bwrap),
        ),
        _open,
        rounds=3,
    ),
)
