"""The wheel: built without the network, whole, and at work in a folder that knows nothing of the checkout."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.evals.packages import unpack

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, kind: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [result] = into.iterdir()
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Path:
    require(importlib.util.find_spec("hatchling"), "hatchling is not installed")
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def names(path: Path) -> set[str]:
    return set(zipfile.ZipFile(path).namelist())


def sources() -> set[str]:
    """What the wheel must hold: every module and data file of the package, the linked folders included."""
    found = set()
    for folder in ("swarm", "swarm/tools", "swarm/sandboxes", "swarm/evals"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_it_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    held = names(wheel)
    modules = {name for name in held if ".dist-info/" not in name}
    assert modules == sources()
    assert {"swarm/py.typed", "swarm/tools/__init__.py", "swarm/evals/faults.py", "swarm/models/providers.toml"} <= held
    assert any(name.startswith("swarm/prompts/") and name.endswith(".md") for name in held)
    assert {name.split("/")[0].split("-")[0] for name in held} == {"swarm"}


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as tar:
        assert all(member.isfile() for member in tar.getmembers()), "links do not survive everywhere"
    unpack(archive, tmp_path / "unpacked")
    again = build(tmp_path / "unpacked", "wheel", tmp_path / "again")
    assert names(again) == names(wheel)
    assert again.read_bytes() == wheel.read_bytes(), "who builds it can change it"


def test_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path, require: Callable[[object, str], None]) -> None:
    """Installed into an environment of its own, with the libraries of this one lent to it."""
    require(importlib.util.find_spec("pip"), "pip is not installed")
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=300)
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120, cwd=empty)
    [packages] = environment.glob("lib/python*/site-packages")
    # Plain folder on the path: the editable install's own .pth file is not read from it.
    env = {"PATH": os.environ["PATH"], "HOME": str(empty), "PYTHONPATH": sysconfig.get_path("purelib")}

    run = subprocess.run([environment / "bin/swarm", "--help"], cwd=empty, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "usage: swarm" in run.stdout

    code = "import swarm.tools.registry, swarm.sandboxes, swarm.evals.faults; print(swarm.__file__)"
    where = subprocess.run([python, "-c", code], cwd=empty, env=env, capture_output=True, text=True)
    assert where.stdout.strip() == str(packages / "swarm/__init__.py"), where.stderr
