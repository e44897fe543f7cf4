"""`swarm completion` in real shells, and `swarm init`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swarm.cli.discovery import with_gate
from swarm.cli.main import main
from swarm.config import load_config

ROOT = Path(__file__).parents[2]
BASH = """
source "$1"
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _swarm; echo "${COMPREPLY[*]}"; }
complete_line swarm re
complete_line swarm run --mode ""
complete_line swarm run --sandb
complete_line swarm show 2026
complete_line swarm run --record scr
complete_line swarm run @scr
complete_line swarm run --test ""
complete_line swarm image b
complete_line swarm run --mode = p
complete_line swarm run --mode =
complete_line swarm run @ scr
complete_line swarm run --model emb
"""
FISH = "source $argv[1]; for line in 'swarm re' 'swarm run --mode ' 'swarm show 2026' 'swarm run --record scr'; " \
       "echo (complete -C $line | string replace -r '\\t.*' ''); end; complete -C 'swarm run --mode p'"  # fmt: skip
ZSH = """
fpath=(${1:h} $fpath); autoload -Uz compinit; compinit -u -d ${1:h}/dump
whence -w _swarm; echo $_comps[swarm]
_describe() { print -rl -- $found }; _files() { echo files }; compset() { }; autoload +X _swarm; source $1
complete_line() { typeset -ga words=("$@"); CURRENT=$#; _swarm }
complete_line swarm run --mode p
complete_line swarm run --record scr
complete_line swarm sho
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    path = folder / ("_swarm" if shell == "zsh" else f"script.{shell}")
    path.write_text(capsys.readouterr().out)
    return str(path)


def said(shell: str, code: str, path: str, folder: Path) -> list[str]:
    (folder / "runs/20260101-1-ab").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/swarm").write_text(f'#!/bin/sh\nexec {sys.executable} -S -m swarm "$@"\n')
    (folder / "bin/swarm").chmod(0o755)
    env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "SWARM_HOME": str(folder)}
    env["PYTHONPATH"] = str(ROOT)
    words = {"bash": ["bash", "-c", code, "bash"], "fish": ["fish", "-c", code], "zsh": ["zsh", "-fc", code, "zsh"]}
    done = subprocess.run([*words[shell], path], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    commands, modes, sandbox, runs, files, task, nothing, image, *broken = said("bash", BASH, path, tmp_path)
    assert {"resume", "report"} <= set(commands.split())
    assert modes == "plan parl single"
    assert sandbox == "--sandbox"
    assert runs == "20260101-1-ab"
    assert (files, task, nothing) == ("script.bash", "@script.bash", "")
    assert image == "build"
    assert broken == ["plan parl", "plan parl single", "@script.bash", "embedded"]


def test_fish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    commands, modes, runs, files, *values = said("fish", FISH, script("fish", tmp_path, capsys), tmp_path)
    assert "resume" in commands.split()
    assert sorted(modes.split()) == ["parl", "plan", "single"]
    assert (runs, files) == ("20260101-1-ab", "script.fish")
    assert sorted(values) == ["parl", "plan"]  # without the option's help beside each


def test_zsh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    found = said("zsh", ZSH, script("zsh", tmp_path, capsys), tmp_path)
    assert found[1:] == ["_swarm", "plan", "parl", "files", "show:tell what happened in a run"]


def test_it_is_instant() -> None:
    heavy = {"pydantic", "rich", "anyio", "httpx", "openai", "langgraph", "asyncio", "json"}
    line = ["completion", "words", "run", "--mode", "p"]
    code = f"import sys; from swarm.cli.main import main; main({line}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.split() == ["plan", "parl"]
    assert {name.partition(".")[0] for name in done.stderr.split()} & heavy == set()


# -- swarm init --------------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "Makefile").write_text("test:\n\ttrue\n")
    for args in (["init", "-q"], ["add", "."], ["-c", "user.name=T", "-c", "user.email=t@e", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(folder), *args], check=True)
    return folder


def test_init_writes_what_it_found_and_never_over_what_is_there(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.cli.discovery.which", lambda program, path: program)
    assert main(["init", "--repo", str(repo)]) == 0
    out, told = capsys.readouterr()
    assert out == f"{repo / 'swarm.toml'}\n"
    assert "test: make test (found by Makefile: test)" in told
    text = (repo / "swarm.toml").read_text()
    assert tomllib.loads(text) == {"mode": "plan", "sandbox": "auto"}
    assert '\n# test = "make test"\n' in text
    kept = with_gate(load_config({}, {}, repo), repo, repo)  # found by each run: it may turn out to test nothing
    assert (kept.test, kept.test_found) == ("make test", "Makefile: test")
    (repo / "swarm.toml").write_text("seed = 1\n")
    assert main(["init", "--repo", str(repo)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (repo / "swarm.toml").read_text() == "seed = 1\n"
    assert main(["init", "--repo", str(repo), "--force", "--test", 'say "x"']) == 0
    assert tomllib.loads((repo / "swarm.toml").read_text())["test"] == 'say "x"'
    assert [path.name for path in repo.iterdir() if "swarm" in path.name] == ["swarm.toml"]


def test_init_needs_no_commit_but_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--repo", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "is not in a git repository" in told
    assert "--no-repo" not in told
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert main(["init", "--repo", str(tmp_path)]) == 0
    assert (tmp_path / "swarm.toml").is_file()


def test_each_key_that_init_shows_is_one_and_may_stand_there(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--repo", str(repo)]) == 0
    shown = [line[2:] for line in (repo / "swarm.toml").read_text().splitlines() if line.startswith("# ")]
    keys = [line for line in shown if " = " in line and "..." not in line and not line.startswith("test =")]
    assert len(keys) > 5
    (repo / "swarm.toml").write_text("\n".join(keys))
    load_config({}, {}, repo)
