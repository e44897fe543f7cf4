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


def test_listing_runs_needs_no_model_library(tmp_path: Path) -> None:
    loaded = imported_by(["runs"], tmp_path)
    assert not loaded & {"openai", "langgraph", "langchain_core", "docker", "httpx", "httpx2", "starlette", "uvicorn"}
