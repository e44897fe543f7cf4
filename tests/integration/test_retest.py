"""Tests are run once more with a Python that has pytest, though nobody activated its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from swarm.config import RunConfig
from swarm.evals.repair.retest import failing
from swarm.sandboxes.toolchain import with_module

OWN = str(Path(sys.prefix) / "bin")


def fake_python(folder: Path, *modules: str) -> Path:
    """A Python as far as what it says of itself, and its folder, tell."""
    (folder / "bin").mkdir(parents=True)
    for module in modules:
        (folder / "lib/python3/site-packages" / module).mkdir(parents=True)
    program = folder / "bin/python3"
    program.write_text(f'#!/bin/sh\necho \'["{folder}", "{folder}", "{program}"]\'\n')
    program.chmod(0o755)
    return program.parent


def test_a_python_has_the_module_or_ours_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it, without = fake_python(tmp_path / "a", "pytest"), fake_python(tmp_path / "b", "other")
    found = {}
    for name, path in (("none", tmp_path / "empty"), ("without", without), ("with", with_it)):
        monkeypatch.setenv("PATH", str(path))
        found[name] = anyio.run(with_module, "pytest")[1][0]
    assert found == {"none": OWN, "without": OWN, "with": str(with_it)}


def test_tests_are_run_where_no_environment_is_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "bash", "git", "env"):
        for folder in ("/usr/bin", "/bin"):
            if (program := Path(folder, name)).exists() and not (bare / name).exists():
                (bare / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(bare))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "test_it.py").write_text("def test_red():\n    assert False\n\n\ndef test_green():\n    pass\n")
    test = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q -p no:cacheprovider"
    config = RunConfig.model_validate({"sandbox": "process"})
    assert anyio.run(failing, tree, test, config, tmp_path / "home") == frozenset({"test_it.py::test_red"})
    assert os.environ["PATH"] == str(bare)
