"""What `swarm doctor` tells of sandboxes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarm.sandboxes.limits.known import LIMITS


def doctor(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarm", "doctor", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"SWARM_HOME": str(home)} | env,
        stdin=subprocess.DEVNULL,
    )


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_which_limits_hold(tmp_path: Path, bubblewrap_box: None) -> None:
    done = doctor(tmp_path, "--json")
    found = findings(done)
    bubblewrap = found["sandbox bubblewrap"]
    assert bubblewrap["ok"] is True
    assert "bubblewrap 0." in bubblewrap["details"]["about"]
    assert set(bubblewrap["details"]) == {"about"} | {f"limit {name}" for name in LIMITS}
    assert bubblewrap["details"]["limit pids"] == "holds"
    assert "watch" in bubblewrap["details"]["limit disk"]
    assert found["working copies"]["details"]["kind"] in ("overlay", "reflink", "copy")
    assert list((tmp_path / "leases").glob("[!.]*")) == []


def test_the_engine(tmp_path: Path, docker_box: str) -> None:
    told = findings(doctor(tmp_path, "--json"))["sandbox docker"]
    assert told["ok"] is True
    for word in ("engine ", "storage ", "cgroup version "):
        assert word in told["details"]["about"]
    assert [told["details"][f"limit {name}"] for name in ("memory", "pids", "cpu", "file-size")] == ["holds"] * 4


def test_what_is_missing_and_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    done = doctor(tmp_path, PATH=str(tmp_path / "bin"), DOCKER_HOST=f"unix://{tmp_path}/none", COLUMNS="100")
    assert done.returncode == 3  # git is missing too
    assert "NO  sandbox bubblewrap" in done.stdout
    assert "sudo apt-get install bubblewrap" in done.stdout
    assert "sudo systemctl start docker" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
